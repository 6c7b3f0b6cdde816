//! Which of several disks that hold the same go on together.
//!
//! What is judged is read before the keys are open: it keeps a disk that was away from being taken for the newer one, and
//! nothing else. Whether somebody changed it shows when they are.

use crate::init::record::Stage;
use serde_json::{Value, json};

/// Members that were left behind and are remembered.
const LEFT_MAX: usize = 8;

/// The identifiers of a member's partitions, as text. They were drawn when the disk became a member, so they name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids {
    /// Of the keyring.
    pub keyring: String,
    /// Of the data.
    pub data: String,
}

/// Two disks that hold the same. Both have the same text of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// Drawn at the set-up.
    pub id: String,
    /// Sectors of 512 bytes that the array has.
    pub sectors: u64,
    /// The members, in dm-raid's order.
    pub members: [Ids; 2],
    /// The member without which the box went on.
    pub without: Option<usize>,
    /// Members of before, by the identifiers of their data, without which the box went on.
    pub left: Vec<String>,
}

fn ids(value: &Value) -> Option<Ids> {
    let text = |key: &str| value.get(key)?.as_str().map(str::to_owned);
    Some(Ids {
        keyring: text("keyring")?,
        data: text("data")?,
    })
}

impl Mirror {
    /// Reads it out of a record.
    pub fn parse(value: &Value) -> Option<Self> {
        let [first, second] = value.get("members")?.as_array()?.as_slice() else {
            return None;
        };
        let without = match value.get("without") {
            None | Some(Value::Null) => None,
            Some(number) => Some(usize::try_from(number.as_u64()?).ok().filter(|number| *number < 2)?),
        };
        let left = value.get("left")?.as_array()?.iter().take(LEFT_MAX);
        Some(Self {
            id: value.get("id")?.as_str()?.to_owned(),
            sectors: value.get("sectors")?.as_u64()?,
            members: [ids(first)?, ids(second)?],
            without,
            left: left.map(|id| id.as_str().map(str::to_owned)).collect::<Option<_>>()?,
        })
    }

    /// As it is recorded.
    pub fn json(&self) -> Value {
        let members = self
            .members
            .each_ref()
            .map(|ids| json!({"keyring": ids.keyring, "data": ids.data}));
        json!({
            "id": self.id,
            "sectors": self.sectors,
            "members": members,
            "without": self.without,
            "left": self.left,
        })
    }

    /// Which half these partitions are.
    pub fn position(&self, ids: &Ids) -> Option<usize> {
        self.members.iter().position(|member| member == ids)
    }

    /// The member without which the box went on, by the identifier of its data.
    fn went_without(&self) -> Option<&str> {
        let member = self.members.get(self.without?)?;
        Some(&member.data)
    }

    /// Puts another disk in a member's place; the one that was there is left behind.
    pub fn exchange(&mut self, position: usize, ids: Ids) {
        if let Some(member) = self.members.get_mut(position) {
            let old = std::mem::replace(member, ids);
            self.left.push(old.data);
            let more = self.left.len().saturating_sub(LEFT_MAX);
            self.left.drain(..more);
        }
        self.without = None;
    }
}

/// Which disks of one mirror go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// These, by their place in the list that was judged: one or both halves.
    Go(Vec<usize>),
    /// Two went on without each other.
    Parted(usize, usize),
    /// None has everything.
    Incomplete,
}

/// Judges the disks that are there, each of which has a record of the same mirror and is one of its members.
pub fn judge(seen: &[(Ids, Stage, Mirror)]) -> Verdict {
    let went_on = |one: &(Ids, Stage, Mirror), other: &(Ids, Stage, Mirror)| {
        let (mirror, id) = (&one.2, other.0.data.as_str());
        let without = mirror.went_without();
        // Also without a disk with which the other one goes on now.
        without == Some(id)
            || mirror.left.iter().any(|left| left == id)
            || (other.2.position(&one.0).is_none()
                && without.is_some_and(|without| other.2.members.iter().any(|member| member.data == without)))
    };
    let mut current = Vec::new();
    for (at, one) in seen.iter().enumerate() {
        let mut others = seen.iter().enumerate().filter(|(other, _)| *other != at);
        if let Some((other, _)) = others
            .clone()
            .find(|(_, other)| went_on(one, other) && went_on(other, one))
        {
            return Verdict::Parted(at.min(other), at.max(other));
        }
        // Left behind; or one that was to be added, which the one that it was to be added to does not know of.
        let is_left = others
            .any(|(_, other)| went_on(other, one) || (one.1 == Stage::Filling && other.2.position(&one.0).is_none()));
        if !is_left {
            current.push(at);
        }
    }
    if !current
        .iter()
        .any(|at| seen.get(*at).is_some_and(|one| one.1 == Stage::Done))
    {
        return Verdict::Incomplete;
    }
    Verdict::Go(current)
}

#[cfg(test)]
mod tests;
