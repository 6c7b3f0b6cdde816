//! Which state events an answer carries for a room.

use crate::answer::{Scene, comma};
use crate::syncer::{Given, StateAfter};
use crate::timeline::{Timeline, write_pruned};
use lamchat_base::{Position, RoomNum, UserNum};
use lamchat_rooms::event::EventRow;
use lamchat_rooms::log;
use lamchat_rooms::state::{self, StateMap};
use lamchat_rooms::view::View;
use lamchat_store::{Key, KeyRange, ReadError};
use std::collections::BTreeSet;

const MEMBER: &str = "m.room.member";

/// Where the state at the end of the timeline is found.
pub(crate) enum End<'a> {
    /// It is the current state.
    Now,
    /// The user left: it is the state at that time.
    Then(&'a StateMap),
}

/// What state is to be told.
pub(crate) struct Delta<'a> {
    pub(crate) room: RoomNum,
    /// Changes after this; `None`: all of it.
    pub(crate) since: Option<Position>,
    /// The events that the answer carries.
    pub(crate) timeline: &'a Timeline,
    /// The state at their end.
    pub(crate) end: End<'a>,
    /// Users who matter besides the senders: oneself, heroes.
    pub(crate) also: BTreeSet<String>,
}

impl Delta<'_> {
    /// The positions of the events, in order.
    pub(crate) fn positions(mut self, scene: &Scene<'_>) -> Result<Vec<Position>, ReadError> {
        let is_after = scene.request.state_after != StateAfter::No;
        let mut found = Vec::new();
        let is_lazy = scene.request.filter.is_lazy();
        if self.since.is_some() && self.timeline.is_complete {
            if is_after {
                self.add_current_of_timeline(scene, &mut found)?;
            }
        } else {
            self.add_changes(scene, is_lazy, &mut found)?;
        }
        if is_lazy {
            self.add_members(scene, &mut found)?;
        }
        found.sort_unstable();
        found.dedup();
        if is_after {
            return Ok(found);
        }
        // "state: Updates to the state, between the time indicated by the since parameter, and the start of the timeline":
        // of what changed within the timeline, what was there at its start.
        let start = self.timeline.start();
        let mut before = Vec::with_capacity(found.len());
        for position in found {
            if position < start {
                before.push(position);
            } else if let Some(older) = self.replaced_before(scene, position, start)?
                && self.since.is_none_or(|since| older > since)
            {
                before.push(older);
            }
        }
        before.sort_unstable();
        before.dedup();
        Ok(before)
    }

    /// The newest event before `start` that the state event at `position` replaced, directly or through others.
    fn replaced_before(
        &self,
        scene: &Scene<'_>,
        mut position: Position,
        start: Position,
    ) -> Result<Option<Position>, ReadError> {
        // Most of these events are in the timeline, so they need not be read again.
        while position >= start
            && let Some(entry) = self.timeline.entry(position)
        {
            match entry.row()?.replaces.filter(|older| *older < position) {
                Some(older) => position = older,
                None => return Ok(None),
            }
        }
        log::replaced_until(scene.read, position, Position(start.0.saturating_sub(1)))
    }

    fn add_current_of_timeline(&self, scene: &Scene<'_>, found: &mut Vec<Position>) -> Result<(), ReadError> {
        for entry in &self.timeline.entries {
            let row = entry.row()?;
            if let Some(state_key) = row.state_key
                && self.position(scene, row.event_type, state_key)? == Some(entry.position)
            {
                found.push(entry.position);
            }
        }
        Ok(())
    }

    fn position(&self, scene: &Scene<'_>, event_type: &str, state_key: &str) -> Result<Option<Position>, ReadError> {
        match self.end {
            End::Now => state::current(scene.read, self.room, event_type, state_key),
            End::Then(state) => Ok(state.get(&(event_type.to_owned(), state_key.to_owned())).copied()),
        }
    }

    /// What changed since; lazily loaded members are left out of a whole state, but never out of the changes in a gap:
    /// the client would take who left for a member.
    fn add_changes(&self, scene: &Scene<'_>, is_lazy: bool, found: &mut Vec<Position>) -> Result<(), ReadError> {
        let skip_members = is_lazy && self.since.is_none();
        match self.end {
            End::Then(state) => {
                for ((event_type, _), position) in state {
                    if self.since.is_none_or(|since| *position > since) && !(skip_members && event_type == MEMBER) {
                        found.push(*position);
                    }
                }
            }
            End::Now => {
                let room = Key::new().u32(self.room.0);
                let members = KeyRange::prefix(&room.clone().str(MEMBER));
                let all = KeyRange::prefix(&room);
                let ranges = if skip_members {
                    let tail = KeyRange {
                        start: members.end.clone().unwrap_or_default(),
                        end: all.end.clone(),
                    };
                    vec![
                        KeyRange {
                            start: all.start,
                            end: Some(members.start),
                        },
                        tail,
                    ]
                } else {
                    vec![all]
                };
                for range in ranges {
                    log::each_current(scene.read, &range, &mut |_, _, position| {
                        if self.since.is_none_or(|since| position > since) {
                            found.push(position);
                        }
                    })?;
                }
            }
        }
        Ok(())
    }

    /// The members who sent what the answer carries, and those who matter otherwise, unless the device has them.
    fn add_members(&mut self, scene: &Scene<'_>, found: &mut Vec<Position>) -> Result<(), ReadError> {
        for entry in &self.timeline.entries {
            let sender = entry.row()?.sender;
            if !self.also.contains(sender) {
                self.also.insert(sender.to_owned());
            }
        }
        let now = scene.read.position();
        for user_id in &self.also {
            let Some(position) = self.position(scene, MEMBER, user_id)? else {
                continue;
            };
            let key = (scene.who.device, self.room, user_id.clone());
            if let Some(since) = scene.since()
                && !scene.request.full_state
                && !scene.request.filter.is_redundant()
                && self.since.is_some()
                && scene
                    .syncer
                    .given
                    .get(&key)
                    .is_some_and(|given| given.member == position && given.answer <= since)
            {
                continue;
            }
            let is_known = scene
                .syncer
                .given
                .get(&key)
                .is_some_and(|given| given.member == position && given.answer <= now);
            if !is_known || self.since.is_none() {
                scene.syncer.given.insert(
                    key,
                    Given {
                        member: position,
                        answer: now,
                    },
                );
            }
            // What is older than the client's token is given as well: it may never have heard of it.
            found.push(position);
        }
        Ok(())
    }
}

/// Appends `,"state":{"events":[…]}`, or under the other name; nothing if there are none.
pub(crate) fn write(
    scene: &Scene<'_>,
    out: &mut Vec<u8>,
    view: &mut View<'_>,
    positions: &[Position],
) -> Result<(), ReadError> {
    let filter = &scene.request.filter.state;
    let mut events = Vec::new();
    for position in positions {
        let bytes = log::known_event(scene.read, *position)?;
        let row = EventRow::decode(&bytes)?;
        if filter.is_all() || filter.allows(&row) {
            events.push(if events.is_empty() { b'[' } else { b',' });
            view.write(&mut events, *position, &row)?;
        }
    }
    let name = match scene.request.state_after {
        StateAfter::No => "state",
        StateAfter::Stable => "state_after",
        StateAfter::Unstable => "org.matrix.msc4222.state_after",
    };
    // With state_after its presence tells the client that the server knows it, so it is there even if empty.
    if events.is_empty() && scene.request.state_after == StateAfter::No {
        return Ok(());
    }
    if events.is_empty() {
        events.push(b'[');
    }
    events.push(b']');
    comma(out, 1);
    out.push(b'"');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":{\"events\":");
    write_pruned(scene, out, &events)?;
    out.push(b'}');
    Ok(())
}

/// The members whose membership event is newer than `since`: state key and position.
pub(crate) fn changed_members(
    scene: &Scene<'_>,
    room: RoomNum,
    since: Position,
    timeline: &Timeline,
) -> Result<Vec<(String, Position)>, ReadError> {
    let mut changed = Vec::new();
    if timeline.is_complete {
        for entry in &timeline.entries {
            let row = entry.row()?;
            if let (MEMBER, Some(user_id)) = (row.event_type, row.state_key)
                && state::current(scene.read, room, MEMBER, user_id)? == Some(entry.position)
            {
                changed.push((user_id.to_owned(), entry.position));
            }
        }
        return Ok(changed);
    }
    let range = KeyRange::prefix(&Key::new().u32(room.0).str(MEMBER));
    log::each_current(scene.read, &range, &mut |_, user_id, position| {
        if position > since {
            changed.push((user_id.to_owned(), position));
        }
    })?;
    Ok(changed)
}

/// The ids of users.
pub(crate) fn user_ids(scene: &Scene<'_>, users: &[UserNum]) -> Result<BTreeSet<String>, ReadError> {
    users
        .iter()
        .map(|user| lamchat_accounts::user::known_id(scene.read, *user).map(|id| id.to_string()))
        .collect()
}
