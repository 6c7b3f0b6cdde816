//! Which disks are the box's.

use super::halves::{Verdict, judge};
use super::member::Member;
use super::{DiskError, Found};
use crate::init::record::Stage;
use lamchat_machine::gpt;
use std::path::{Path, PathBuf};

/// Finds the disks: those that are set up, else those with the image's partitions.
pub fn find() -> Result<Found, DiskError> {
    among(gpt::disks())
}

/// The same among these.
fn among(disks: Vec<PathBuf>) -> Result<Found, DiskError> {
    let (mut all, mut refused) = (Vec::new(), None);
    for disk in disks {
        match look_at(&disk) {
            Ok(Some(found)) => all.push(found),
            // One of ours, and not as it was.
            Err(error @ (DiskError::Changed(_) | DiskError::Record(_) | DiskError::Later(_))) => refused = Some(error),
            // A disk of somebody else's, or none that can be read.
            Ok(None) | Err(_) => {}
        }
    }
    if all.is_empty() {
        return Err(refused.unwrap_or(DiskError::Absent));
    }
    let (used, fresh): (Vec<_>, Vec<_>) = all.into_iter().partition(is_in_use);
    match (used.is_empty(), fresh.len()) {
        (false, _) => choose(used),
        (true, 1 | 2) => Ok(Found::new(fresh, None, false)),
        (true, _) => Err(several(&fresh)),
    }
}

/// Whether it has or had data.
fn is_in_use(member: &Member) -> bool {
    matches!(member.stage, Stage::Done | Stage::Filling | Stage::Erasing)
}

fn several(members: &[Member]) -> DiskError {
    let names: Vec<String> = members.iter().map(|member| member.disk.display().to_string()).collect();
    DiskError::Several(names.join(", "))
}

/// Of the disks that are in use.
fn choose(used: Vec<Member>) -> Result<Found, DiskError> {
    if let [member] = used.as_slice()
        && member.record.mirror.is_none()
    {
        let is_set_up = member.stage == Stage::Done;
        return Ok(Found::new(used, None, is_set_up));
    }
    let halves = used
        .iter()
        .filter_map(|member| Some((member.ids.clone(), member.stage, member.record.mirror.clone()?)));
    let halves: Vec<_> = halves.collect();
    let first = halves.first().map(|(_, _, mirror)| mirror.id.clone());
    let is_twice = |at: usize, ids| halves.iter().skip(at + 1).any(|(other, _, _)| other == ids);
    // Boxes of their own, several mirrors, or a copy of a disk.
    if halves.len() < used.len()
        || halves.iter().any(|(_, _, mirror)| Some(&mirror.id) != first.as_ref())
        || halves.iter().enumerate().any(|(at, (ids, _, _))| is_twice(at, ids))
    {
        return Err(several(&used));
    }
    // What has begun goes on, on all of them.
    if used.iter().any(|member| member.stage == Stage::Erasing) {
        return Ok(Found::new(used, None, false));
    }
    let disk = |at: usize| used.get(at).map(|member| member.disk.clone()).unwrap_or_default();
    let current = match judge(&halves) {
        Verdict::Go(current) => current,
        Verdict::Parted(one, other) => return Err(DiskError::Parted(disk(one), disk(other))),
        Verdict::Incomplete => return Err(DiskError::Incomplete(disk(0))),
    };
    // One that has everything knows best who the members are.
    let done = current
        .iter()
        .filter_map(|at| halves.get(*at))
        .find(|(_, stage, _)| *stage == Stage::Done);
    let Some((_, _, mirror)) = done.cloned() else {
        return Err(several(&used));
    };
    let (mut members, mut left) = (Vec::new(), Vec::new());
    for (at, member) in used.into_iter().enumerate() {
        if current.contains(&at) && mirror.position(&member.ids).is_some() {
            members.push(member);
        } else {
            left.push(member);
        }
    }
    members.sort_by_key(|member| mirror.position(&member.ids));
    let mut found = Found::new(members, Some(mirror), true);
    found.left = left;
    Ok(found)
}

fn look_at(disk: &Path) -> Result<Option<Member>, DiskError> {
    let Some(mut member) = Member::at(disk)? else {
        return Ok(None);
    };
    // A set-up whose power was cut while the table was written.
    gpt::mend(disk)?;
    member.look()?;
    if matches!(member.stage, Stage::Done | Stage::Filling) {
        // Types and labels can be copied; these identifiers were drawn when this disk was set up.
        let mirror = member.record.mirror.as_ref();
        let is_member = mirror.is_none_or(|mirror| mirror.position(&member.ids).is_some());
        if member.record.ids() != member.ids || !is_member || (mirror.is_some() && member.metadata.is_none()) {
            return Err(DiskError::Changed(disk.to_owned()));
        }
    }
    Ok(Some(member))
}

#[cfg(test)]
mod tests;
