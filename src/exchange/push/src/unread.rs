//! How many notifications and highlights a member of a room has not read, per thread.
//!
//! Nothing is counted when an event is sent. A count is worked out from the room's timeline when it is asked for, and
//! kept in a bounded cache with the place up to which it counted; the next time only what came after is looked at.
//! Losing the cache loses nothing: it is a function of the snapshot.

use crate::evaluate::{Verdict, Wants, notify_actions};
use crate::{room_context, rules};
use lamchat_base::{Position, RoomNum, UserNum};
use lamchat_rooms::event::{EventRow, Flags, Unsigned};
use lamchat_rooms::table::live_order;
use lamchat_rooms::{event_id, log, membership, receipt, relation};
use lamchat_store::{Bytes, Order, Read, ReadError};
use quick_cache::sync::Cache;
use ruma::UserId;
use ruma::push::{FlattenedJson, PushConditionRoomCtx, Ruleset};
use ruma::serde::Raw;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// How far back an unread event is looked for. Beyond it a count is a lower bound: "2000 events ago" is answered alike.
pub const EVENTS_MAX: usize = 2_000;
/// (User, room) pairs whose counts are kept in memory.
const CACHED_ROOMS: u64 = 200_000;
/// Users whose parsed rules are kept in memory.
const CACHED_RULES: usize = 2_000;
/// Parsed events that are kept in memory: the members of a room ask for the same one shortly one after the other.
const CACHED_EVENTS: usize = 128;
/// "A maximum of 3 hops is recommended to cover indirect relationships."
const THREAD_HOPS: usize = 3;

/// Unread events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// `notification_count`
    pub notification: u64,
    /// `highlight_count`
    pub highlight: u64,
}

impl Count {
    fn add(&mut self, highlight: bool) {
        self.notification += 1;
        self.highlight += u64::from(highlight);
    }
}

/// Unread events of a room.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    /// Those outside threads: `unread_notifications` if the filter asked for `unread_thread_notifications`.
    pub main: Count,
    /// Those in threads, by the root's event id; threads without any are left out.
    pub threads: BTreeMap<String, Count>,
}

impl Counts {
    /// All together: `unread_notifications` if the filter did not ask for threads.
    pub fn total(&self) -> Count {
        self.threads.values().fold(self.main, |sum, thread| Count {
            notification: sum.notification + thread.notification,
            highlight: sum.highlight + thread.highlight,
        })
    }
}

/// Works out unread counts. One for the whole exchange; empty after a start.
pub struct UnreadCounts {
    rules: Cache<UserNum, Arc<Rules>>,
    rooms: Cache<(UserNum, RoomNum), Arc<Counted>, CountedSize>,
    events: Cache<Position, Arc<Parsed>>,
}

/// The parsed rules of a user.
struct Rules {
    stored: Option<Bytes>,
    ruleset: Ruleset,
    wants: Wants,
}

/// A parsed event.
struct Parsed {
    redacted: bool,
    json: FlattenedJson,
}

/// What was counted for a member of a room.
#[derive(Clone)]
struct Counted {
    rules: Arc<Rules>,
    /// Up to this order of the timeline.
    upto: u64,
    /// The events that notified, oldest first.
    notified: Vec<Notified>,
    /// Where the member last wrote in each thread (`None`: outside threads): it has read so far.
    wrote: HashMap<Option<Arc<str>>, u64>,
    /// Where the member came to the room.
    came: u64,
}

#[derive(Clone)]
struct Notified {
    order: u64,
    /// The root's event id.
    thread: Option<Arc<str>>,
    event_id: Box<str>,
    highlight: bool,
}

#[derive(Clone)]
struct CountedSize;

impl quick_cache::Weighter<(UserNum, RoomNum), Arc<Counted>> for CountedSize {
    /// In units of about 100 bytes.
    fn weight(&self, _: &(UserNum, RoomNum), counted: &Arc<Counted>) -> u64 {
        2 + counted.notified.len() as u64 + counted.wrote.len() as u64
    }
}

/// How far a member has read, by receipts of both kinds: orders of the timeline.
#[derive(Default)]
struct ReadUpTo {
    everything: u64,
    main: u64,
    threads: HashMap<String, u64>,
}

impl ReadUpTo {
    fn of(read: &dyn Read, room: RoomNum, user: UserNum) -> Result<Self, ReadError> {
        let mut upto = Self::default();
        for receipt in receipt::of_user(read, room, user)? {
            let order = live_order(receipt.event);
            // "Between `m.read` and `m.read.private`, the receipt which is more "ahead" or "recent" is used."
            let known = match receipt.thread.as_deref() {
                None => &mut upto.everything,
                Some("main") => &mut upto.main,
                Some(root) => upto.threads.entry(root.to_owned()).or_default(),
            };
            *known = order.max(*known);
        }
        Ok(upto)
    }

    fn in_thread(&self, thread: Option<&str>) -> u64 {
        let own = match thread {
            None => self.main,
            Some(root) => self.threads.get(root).copied().unwrap_or(0),
        };
        own.max(self.everything)
    }
}

impl Default for UnreadCounts {
    fn default() -> Self {
        Self::new()
    }
}

impl UnreadCounts {
    /// Empty caches.
    pub fn new() -> Self {
        Self {
            rules: Cache::new(CACHED_RULES),
            rooms: Cache::with_weighter(CACHED_RULES, CACHED_ROOMS, CountedSize),
            events: Cache::new(CACHED_EVENTS),
        }
    }

    /// What `user` has not read in `room` as of the snapshot.
    ///
    /// "Notifications prior to and including that event MUST be marked as read" when a receipt is set or an event is
    /// sent. Both kinds of receipts count; a receipt without a thread counts for all threads.
    pub fn counts(&self, read: &dyn Read, user: UserNum, user_id: &UserId, room: RoomNum) -> Result<Counts, ReadError> {
        let Some((newest, _)) = log::newest(read, room)? else { return Ok(Counts::default()) };
        let upto = ReadUpTo::of(read, room, user)?;
        let rules = self.rules_of(read, user, user_id)?;
        let known = self.rooms.get(&(user, room)).filter(|counted| Arc::ptr_eq(&counted.rules, &rules));
        let counted = match known {
            Some(counted) if counted.upto >= newest => counted,
            known => {
                let mut member = Member { all: self, read, user, user_id, room, upto: &upto, context: None };
                let counted = Arc::new(match known {
                    Some(counted) => member.go_on(&counted, newest)?,
                    None => member.start(rules, newest)?,
                });
                self.rooms.insert((user, room), Arc::clone(&counted));
                counted
            }
        };
        Ok(counted.unread(&upto, newest))
    }

    fn rules_of(&self, read: &dyn Read, user: UserNum, user_id: &UserId) -> Result<Arc<Rules>, ReadError> {
        let stored = rules::stored(read, user)?;
        if let Some(rules) = self.rules.get(&user) {
            if rules.stored == stored {
                return Ok(rules);
            }
        }
        let ruleset = rules::parse(stored.as_deref(), user_id)?;
        let rules = Arc::new(Rules { stored, wants: Wants::of(&ruleset), ruleset });
        self.rules.insert(user, Arc::clone(&rules));
        Ok(rules)
    }

    fn parsed(&self, row: &EventRow<'_>, position: Position) -> Option<Arc<Parsed>> {
        let redacted = row.flags.contains(Flags::REDACTED);
        if let Some(parsed) = self.events.get(&position).filter(|parsed| parsed.redacted == redacted) {
            return Some(parsed);
        }
        let mut json = Vec::with_capacity(row.content.len() + 256);
        row.write_client(&mut json, None, &Unsigned::default());
        let raw = Raw::<serde_json::Value>::from_json_string(String::from_utf8(json).ok()?).ok()?;
        let parsed = Arc::new(Parsed { redacted, json: FlattenedJson::from_raw(&raw) });
        self.events.insert(position, Arc::clone(&parsed));
        Some(parsed)
    }
}

impl Counted {
    fn unread(&self, upto: &ReadUpTo, newest: u64) -> Counts {
        let mut counts = Counts::default();
        for notified in &self.notified {
            if notified.order > newest || self.has_read(upto, notified.thread.as_ref(), notified.order) {
                continue;
            }
            match &notified.thread {
                None => counts.main.add(notified.highlight),
                Some(root) => counts.threads.entry(root.to_string()).or_default().add(notified.highlight),
            }
        }
        counts
    }

    fn has_read(&self, upto: &ReadUpTo, thread: Option<&Arc<str>>, order: u64) -> bool {
        let wrote = self.wrote.get(&thread.cloned()).copied().unwrap_or(0);
        order <= upto.in_thread(thread.map(AsRef::as_ref)).max(wrote).max(self.came)
    }
}

/// A member whose unread events are being counted.
struct Member<'a> {
    all: &'a UnreadCounts,
    read: &'a dyn Read,
    user: UserNum,
    user_id: &'a UserId,
    room: RoomNum,
    upto: &'a ReadUpTo,
    context: Option<PushConditionRoomCtx>,
}

impl Member<'_> {
    /// Counts backwards from the newest event to where the member has read, or came.
    fn start(&mut self, rules: Arc<Rules>, newest: u64) -> Result<Counted, ReadError> {
        let mut counted = Counted { rules, upto: newest, notified: Vec::new(), wrote: HashMap::new(), came: 0 };
        // Small portions: nearly always the member has read, or written, not long ago.
        let (mut before, mut looked_at) = (newest, 0);
        while looked_at < EVENTS_MAX && counted.came == 0 {
            let places =
                log::places(self.read, self.room, self.upto.everything, before, Order::Descending, 50)?;
            let Some((last, _)) = places.last() else { break };
            before = last.saturating_sub(1);
            looked_at += places.len();
            for (order, position) in places {
                self.look_at(&mut counted, order, position)?;
                if counted.came != 0 {
                    break;
                }
            }
        }
        counted.notified.reverse();
        Ok(counted)
    }

    /// Counts on from where it stopped.
    fn go_on(&mut self, known: &Counted, newest: u64) -> Result<Counted, ReadError> {
        let places =
            log::places(self.read, self.room, known.upto, newest, Order::Ascending, EVENTS_MAX + 1)?;
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
        if row.flags.contains(Flags::REDACTED) {
            return Ok(());
        }
        let thread = self.thread_of(&row)?;
        if counted.has_read(self.upto, thread.as_ref(), order) {
            return Ok(());
        }
        let verdict = self.verdict(&counted.rules, &row, position)?;
        if verdict.notify {
            let event_id = row.event_id.into();
            counted.notified.push(Notified { order, thread, event_id, highlight: verdict.highlight });
        }
        Ok(())
    }

    fn verdict(&mut self, rules: &Rules, row: &EventRow<'_>, position: Position) -> Result<Verdict, ReadError> {
        let Some(event) = self.all.parsed(row, position) else { return Ok(Verdict::default()) };
        let mut context = match self.context.take() {
            Some(context) => context,
            None => room_context::of_member(self.read, self.room, self.user, self.user_id, rules.wants)?,
        };
        // Of the default rules only `.m.rule.is_room_mention` asks for power levels, after this property.
        if event.json.get(r"content.m\.mentions.room").is_some() {
            room_context::add_power_levels(self.read, self.room, &mut context)?;
        }
        let verdict = notify_actions(&rules.ruleset, &event.json, &context);
        self.context = Some(context);
        Ok(verdict)
    }

    /// Whether a membership event of the member itself is its joining, rather than a change of its name.
    fn comes(&self, row: &EventRow<'_>) -> Result<bool, ReadError> {
        if log::membership_in(row) != membership::Membership::Join {
            return Ok(false);
        }
        let Some(replaced) = row.replaces else { return Ok(true) };
        let bytes = log::known_event(self.read, replaced)?;
        Ok(log::membership_in(&EventRow::decode(&bytes)?) != membership::Membership::Join)
    }

    /// The root of the thread that an event belongs to.
    ///
    /// "An event is considered to be "in a thread" if: it has a `rel_type` of `m.thread`, or following the event
    /// relationships, it has a parent event which references the thread root with a `rel_type` of `m.thread`."
    fn thread_of(&self, row: &EventRow<'_>) -> Result<Option<Arc<str>>, ReadError> {
        let Some((mut rel_type, mut parent)) = relation::of_content(row.content) else { return Ok(None) };
        for _ in 0..THREAD_HOPS {
            if rel_type == "m.thread" {
                return Ok(Some(parent.into()));
            }
            let Some((_, bytes)) = event_id::find(self.read, &parent)? else { return Ok(None) };
            let row = EventRow::decode(&bytes)?;
            match relation::of_content(row.content) {
                Some(next) if row.room == self.room => (rel_type, parent) = next,
                _ => return Ok(None),
            }
        }
        Ok(if rel_type == "m.thread" { Some(parent.into()) } else { None })
    }
}

#[cfg(test)]
mod tests;
