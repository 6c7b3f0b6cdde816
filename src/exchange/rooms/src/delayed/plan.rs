//! When which event is due. In memory; bounded by what may wait.

use lamchat_base::UserNum;
use ruma::{OwnedRoomId, RoomId};
use std::collections::{BTreeSet, HashMap};

/// A room, a type and a state key.
type StateKey = (OwnedRoomId, String, String);

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Planned {
    /// When it is sent, in milliseconds since the Unix epoch.
    pub(super) due_ms: u64,
    /// Whose it is.
    pub(super) user: UserNum,
    /// What it sets.
    pub(super) state: Option<StateKey>,
}

/// All of them. One that was taken out still counts, until it is put back or released.
#[derive(Debug, Default)]
pub(super) struct Plan {
    planned: HashMap<String, Planned>,
    by_due: BTreeSet<(u64, String)>,
    by_state: HashMap<StateKey, Vec<String>>,
    counts: HashMap<UserNum, usize>,
    count: usize,
}

impl Plan {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Counts one more of a user, if there may be one.
    pub(super) fn reserve(&mut self, user: UserNum, own_max: usize, all_max: usize) -> bool {
        let own = self.counts.get(&user).copied().unwrap_or(0);
        if own >= own_max || self.count >= all_max {
            return false;
        }
        self.counts.insert(user, own + 1);
        self.count += 1;
        true
    }

    /// Counts one less of a user.
    pub(super) fn release(&mut self, user: UserNum) {
        if let Some(own) = self.counts.get_mut(&user) {
            *own -= 1;
            self.count -= 1;
            if *own == 0 {
                self.counts.remove(&user);
            }
        }
    }

    /// Adds one that is not counted yet.
    pub(super) fn add(&mut self, id: String, planned: Planned) {
        if self.reserve(planned.user, usize::MAX, usize::MAX) {
            self.put(id, planned);
        }
    }

    /// Adds one that is counted.
    pub(super) fn put(&mut self, id: String, planned: Planned) {
        self.by_due.insert((planned.due_ms, id.clone()));
        if let Some(state) = &planned.state {
            self.by_state.entry(state.clone()).or_default().push(id.clone());
        }
        self.planned.insert(id, planned);
    }

    /// Takes one out.
    pub(super) fn take(&mut self, id: &str) -> Option<Planned> {
        let planned = self.planned.remove(id)?;
        self.by_due.remove(&(planned.due_ms, id.to_owned()));
        if let Some(state) = &planned.state
            && let Some(ids) = self.by_state.get_mut(state)
        {
            ids.retain(|other| other != id);
            if ids.is_empty() {
                self.by_state.remove(state);
            }
        }
        Some(planned)
    }

    /// Takes the first out if it is due.
    pub(super) fn take_due(&mut self, now_ms: u64) -> Option<(String, Planned)> {
        let (_, id) = self.by_due.first().filter(|(due, _)| *due <= now_ms)?.clone();
        let planned = self.take(&id)?;
        Some((id, planned))
    }

    /// When the first is due.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.by_due.first().map(|(due, _)| *due)
    }

    /// The ids of a user's, the first that is due first.
    pub(super) fn of_user(&self, user: UserNum) -> Vec<String> {
        if !self.counts.contains_key(&user) {
            return Vec::new();
        }
        let own = self.planned.iter().filter(|(_, planned)| planned.user == user);
        let mut own: Vec<(u64, String)> = own.map(|(id, planned)| (planned.due_ms, id.clone())).collect();
        own.sort_unstable();
        own.into_iter().map(|(_, id)| id).collect()
    }

    /// The ids of those that set a state and are not `but`'s.
    pub(super) fn for_state(&self, room: &RoomId, event_type: &str, state_key: &str, but: UserNum) -> Vec<String> {
        if self.by_state.is_empty() {
            return Vec::new();
        }
        let key = (room.to_owned(), event_type.to_owned(), state_key.to_owned());
        let ids = self.by_state.get(&key).map(Vec::as_slice).unwrap_or_default();
        let of_others = |id: &&String| self.planned.get(*id).is_some_and(|planned| planned.user != but);
        ids.iter().filter(of_others).cloned().collect()
    }
}
