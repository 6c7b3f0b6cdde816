//! Counting one member's unread events, backwards at first and onwards from then on.

use super::{Counted, EVENTS_MAX, Notified, ReadUpTo, Rules, UnreadCounts};
use crate::evaluate::{Verdict, actions};
use crate::{legacy, room_context};
use lamchat_base::{Position, RoomNum, UserNum};
use lamchat_rooms::event::{EventRow, Flags};
use lamchat_rooms::{log, membership, relation, thread};
use lamchat_store::{Order, Read, ReadError};
use ruma::UserId;
use ruma::push::{Action, PushConditionRoomCtx};
use std::collections::HashMap;
use std::sync::Arc;

/// A member whose unread events are being counted.
pub(super) struct Member<'a> {
    pub(super) all: &'a UnreadCounts,
    pub(super) read: &'a dyn Read,
    pub(super) user: UserNum,
    pub(super) user_id: &'a UserId,
    pub(super) room: RoomNum,
    pub(super) upto: &'a ReadUpTo,
    pub(super) context: Option<PushConditionRoomCtx>,
    /// Whether the member's display name is in the context.
    pub(super) is_named: bool,
}

impl Member<'_> {
    /// Counts backwards from the newest event to where the member has read, or came.
    pub(super) fn start(&mut self, rules: Arc<Rules>, newest: u64) -> Result<Counted, ReadError> {
        let mut counted = Counted {
            rules,
            upto: newest,
            notified: Vec::new(),
            wrote: HashMap::new(),
            came: 0,
        };
        // Small portions: nearly always the member has read, or written, not long ago.
        let (mut before, mut looked_at) = (newest, 0);
        // Where there are no threads, nothing before an event that the member sent can be unread.
        let has_threads = !relation::threads(self.read, self.room, Position(u64::MAX), 1)?.is_empty();
        let is_done = |counted: &Counted| counted.came != 0 || (!has_threads && counted.wrote.contains_key(&None));
        while looked_at < EVENTS_MAX && !is_done(&counted) {
            let places = log::places(
                self.read,
                self.room,
                self.upto.everything,
                before,
                Order::Descending,
                50,
            )?;
            let Some((last, _)) = places.last() else { break };
            before = last.saturating_sub(1);
            looked_at += places.len();
            for (order, position) in places {
                self.look_at(&mut counted, order, position)?;
                if is_done(&counted) {
                    break;
                }
            }
        }
        counted.notified.reverse();
        Ok(counted)
    }

    /// Counts on from where it stopped.
    pub(super) fn go_on(&mut self, known: &Counted, newest: u64) -> Result<Counted, ReadError> {
        let places = log::places(
            self.read,
            self.room,
            known.upto,
            newest,
            Order::Ascending,
            EVENTS_MAX + 1,
        )?;
        if places.len() > EVENTS_MAX {
            return self.start(Arc::clone(&known.rules), newest);
        }
        let mut counted = known.clone();
        counted.upto = newest;
        for (order, position) in places {
            self.look_at(&mut counted, order, position)?;
        }
        let mut notified = std::mem::take(&mut counted.notified);
        notified.retain(|event| !counted.has_read(self.upto, event.thread.as_ref(), event.order));
        let surplus = notified.len().saturating_sub(EVENTS_MAX);
        notified.drain(..surplus);
        counted.notified = notified;
        Ok(counted)
    }

    fn look_at(&mut self, counted: &mut Counted, order: u64, position: Position) -> Result<(), ReadError> {
        let bytes = log::known_event(self.read, position)?;
        let row = EventRow::decode(&bytes)?;
        if !row.is_visible() {
            return Ok(());
        }
        // What was redacted notifies no more.
        if let Some(redacted) = row.redacts {
            counted.notified.retain(|event| *event.event_id != *redacted);
        }
        if row.sender == self.user_id.as_str() {
            if row.event_type == "m.room.member" && row.state_key == Some(self.user_id.as_str()) {
                if self.comes(&row)? {
                    counted.came = counted.came.max(order);
                }
            } else if !row.flags.contains(Flags::REDACTED) {
                let wrote = counted.wrote.entry(self.thread_of(&row)?).or_default();
                *wrote = order.max(*wrote);
            }
            return Ok(());
        }
        if row.flags.contains(Flags::REDACTED) || is_ignored(&counted.rules, &row) {
            return Ok(());
        }
        let thread = self.thread_of(&row)?;
        if counted.has_read(self.upto, thread.as_ref(), order) {
            return Ok(());
        }
        let verdict = self.verdict(&counted.rules, &row, position)?;
        if verdict.notify {
            let event_id = row.event_id.into();
            counted.notified.push(Notified {
                order,
                thread,
                event_id,
                highlight: verdict.highlight,
            });
        }
        Ok(())
    }

    fn verdict(&mut self, rules: &Rules, row: &EventRow<'_>, position: Position) -> Result<Verdict, ReadError> {
        Ok(Verdict::of(self.actions(rules, row, position)?))
    }

    /// What the member's rules say of an event.
    pub(super) fn actions<'r>(
        &mut self,
        rules: &'r Rules,
        row: &EventRow<'_>,
        position: Position,
    ) -> Result<&'r [Action], ReadError> {
        let Some(event) = self.all.parsed(row, position) else {
            return Ok(&[]);
        };
        let mut context = match self.context.take() {
            Some(context) => context,
            None => room_context::of_member(self.read, self.room, self.user, self.user_id, rules.wants)?,
        };
        if legacy::apply_to(&event.json) {
            if !std::mem::replace(&mut self.is_named, true)
                && let Some(name) = room_context::display_name(self.read, self.room, self.user)?
            {
                context.user_display_name = name;
            }
            if legacy::may_mention_room(&event.json) {
                room_context::add_power_levels(self.read, self.room, &mut context)?;
            }
        }
        // Of the other default rules only `.m.rule.is_room_mention` asks for power levels, after this property.
        if event.json.get(r"content.m\.mentions.room").is_some() {
            room_context::add_power_levels(self.read, self.room, &mut context)?;
        }
        let actions = actions(&rules.ruleset, &event.json, &context);
        self.context = Some(context);
        Ok(actions)
    }

    /// Whether a membership event of the member itself is its joining, rather than a change of its name.
    pub(super) fn comes(&self, row: &EventRow<'_>) -> Result<bool, ReadError> {
        if log::membership_in(row) != membership::Membership::Join {
            return Ok(false);
        }
        let Some(replaced) = row.replaces else { return Ok(true) };
        let bytes = log::known_event(self.read, replaced)?;
        Ok(log::membership_in(&EventRow::decode(&bytes)?) != membership::Membership::Join)
    }

    pub(super) fn thread_of(&self, row: &EventRow<'_>) -> Result<Option<Arc<str>>, ReadError> {
        Ok(thread::root_of(self.read, self.room, row)?.map(Into::into))
    }
}

/// Whether the event comes from somebody whom the user ignores. Their state events count: the client shows them as well.
pub(super) fn is_ignored(rules: &Rules, row: &EventRow<'_>) -> bool {
    row.state_key.is_none() && rules.ignored.contains(row.sender)
}
