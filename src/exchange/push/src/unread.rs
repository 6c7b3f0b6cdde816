//! How many notifications and highlights a member of a room has not read, per thread.
//!
//! Nothing is counted when an event is sent. A count is worked out from the room's timeline when it is asked for, and
//! kept in a bounded cache with the place up to which it counted; the next time only what came after is looked at.
//! Losing the cache loses nothing: it is a function of the snapshot.

mod member;
mod notified;

use crate::evaluate::Wants;
use crate::rules;
use lamchat_base::{Position, RoomNum, UserNum};
use lamchat_rooms::event::{EventRow, Flags, Unsigned};
use lamchat_rooms::table::live_order;
use lamchat_rooms::view::Ignored;
use lamchat_rooms::{log, receipt};
use lamchat_store::{Bytes, Read, ReadError};
use member::Member;
pub use notified::{Notification, NotificationPage, PAGE_MAX};
use quick_cache::sync::Cache;
use ruma::UserId;
use ruma::push::{FlattenedJson, Ruleset};
use ruma::serde::Raw;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// How far back an unread event is looked for. Beyond it a count is a lower bound.
pub const EVENTS_MAX: usize = 2_000;
/// (User, room) pairs whose counts are kept in memory.
const CACHED_ROOMS: u64 = 200_000;
/// Users whose parsed rules are kept in memory.
const CACHED_RULES: usize = 2_000;
/// Parsed events that are kept in memory: the members of a room ask for the same one shortly one after the other.
const CACHED_EVENTS: usize = 128;

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

/// The parsed rules of a user, and whom they ignore: nothing that those send notifies.
struct Rules {
    stored: Option<Bytes>,
    ruleset: Ruleset,
    wants: Wants,
    ignored_stored: Option<Bytes>,
    ignored: Ignored,
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
        let Some((newest, _)) = log::newest(read, room)? else {
            return Ok(Counts::default());
        };
        let upto = ReadUpTo::of(read, room, user)?;
        let rules = self.rules_of(read, user, user_id)?;
        let known = self
            .rooms
            .get(&(user, room))
            .filter(|counted| Arc::ptr_eq(&counted.rules, &rules));
        let counted = match known {
            Some(counted) if counted.upto >= newest => counted,
            known => {
                let mut member = Member {
                    all: self,
                    read,
                    user,
                    user_id,
                    room,
                    upto: &upto,
                    context: None,
                    is_named: false,
                };
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
        let ignored_stored = Ignored::stored(read, user)?;
        let is_same = |rules: &Arc<Rules>| rules.stored == stored && rules.ignored_stored == ignored_stored;
        if let Some(rules) = self.rules.get(&user).filter(is_same) {
            return Ok(rules);
        }
        let ruleset = rules::parse(stored.as_deref(), user_id)?;
        let rules = Arc::new(Rules {
            stored,
            wants: Wants::of(&ruleset),
            ruleset,
            ignored: Ignored::parse(ignored_stored.as_deref()),
            ignored_stored,
        });
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
        let parsed = Arc::new(Parsed {
            redacted,
            json: FlattenedJson::from_raw(&raw),
        });
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
                Some(root) => counts
                    .threads
                    .entry(root.to_string())
                    .or_default()
                    .add(notified.highlight),
            }
        }
        counts
    }

    fn has_read(&self, upto: &ReadUpTo, thread: Option<&Arc<str>>, order: u64) -> bool {
        let wrote = self.wrote.get(&thread.cloned()).copied().unwrap_or(0);
        order <= upto.in_thread(thread.map(AsRef::as_ref)).max(wrote).max(self.came)
    }
}

#[cfg(test)]
mod tests;
