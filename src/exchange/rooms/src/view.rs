//! A room as one reader sees it: which events, and what the exchange adds to each.

use crate::event::{EventRow, Flags, Unsigned, write_number, write_string};
use crate::log;
use crate::membership::Membership;
use crate::relation::{self, Kind, Relation};
use crate::visibility::{HISTORY_VISIBILITY, History, Standing, may_see};
use crate::{room, state};
use lamchat_accounts::account_data::{self, Scope};
use lamchat_accounts::{account, user};
use lamchat_base::{DeviceNum, Position, RoomNum, UserNum};
use lamchat_store::{Bytes, Read, ReadError};
use ruma::UserId;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

/// Most edits of one event that are compared to find the newest.
const EDITS_MAX: usize = 1_000;

/// Who reads, and when.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    /// The user's number.
    pub user: UserNum,
    /// The user's id.
    pub user_id: &'a UserId,
    /// The device.
    pub device: DeviceNum,
    /// The clock's time in milliseconds.
    pub now_ms: u64,
    /// Whose messages the user does not want to see.
    pub ignored: &'a Ignored,
}

/// The users that somebody ignores.
#[derive(Debug, Clone, Default)]
pub struct Ignored(HashSet<String>);

impl Ignored {
    /// Reads `m.ignored_user_list`.
    pub fn of(read: &dyn Read, user: UserNum) -> Result<Self, ReadError> {
        Ok(Self::parse(Self::stored(read, user)?.as_deref()))
    }

    /// The content of `m.ignored_user_list`: compare it to know whether it has changed.
    pub fn stored(read: &dyn Read, user: UserNum) -> Result<Option<Bytes>, ReadError> {
        account_data::content(read, user, Scope::Global, "m.ignored_user_list")
    }

    /// The users in such a content; a malformed one ignores nobody.
    pub fn parse(stored: Option<&[u8]>) -> Self {
        #[derive(serde::Deserialize)]
        struct Content {
            ignored_users: std::collections::HashMap<String, serde::de::IgnoredAny>,
        }
        let content = stored.and_then(|stored| serde_json::from_slice::<Content>(stored).ok());
        Self(
            content
                .map(|content| content.ignored_users.into_keys().collect())
                .unwrap_or_default(),
        )
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `user_id` is ignored.
    pub fn contains(&self, user_id: &str) -> bool {
        !self.0.is_empty() && self.0.contains(user_id)
    }
}

/// What was true at a state group.
#[derive(Debug, Clone, Copy)]
struct Facts {
    group: u64,
    history: History,
    membership: Membership,
}

/// A room as one reader sees it. Made for one answer.
pub struct View<'a> {
    read: &'a dyn Read,
    room: RoomNum,
    room_id: Option<&'a str>,
    reader: Reader<'a>,
    standing: Standing,
    relations: Vec<Relation>,
    facts: Option<Facts>,
    as_pdus: bool,
}

impl<'a> View<'a> {
    /// `room_id` stands in every event if it is given (`/sync` leaves it out).
    pub fn new(
        read: &'a dyn Read,
        room: RoomNum,
        room_id: Option<&'a str>,
        reader: Reader<'a>,
        standing: Standing,
    ) -> Self {
        Self {
            read,
            room,
            room_id,
            reader,
            standing,
            relations: Vec::new(),
            facts: None,
            as_pdus: false,
        }
    }

    /// Writes events as other servers get them from now on, if `as_pdus`. What is bundled with them stays as clients get it.
    #[must_use]
    pub fn as_pdus(mut self, as_pdus: bool) -> Self {
        self.as_pdus = as_pdus;
        self
    }

    /// Loads the relations to the events from `first` to `last` at once, for [`View::write`] to bundle.
    pub fn load_relations(&mut self, first: Position, last: Position) -> Result<(), ReadError> {
        self.relations = relation::between(self.read, self.room, first, last)?;
        Ok(())
    }

    /// Whether the reader may see the event, by the room's rules and their own wishes.
    pub fn is_visible(&mut self, position: Position, row: &EventRow<'_>) -> Result<bool, ReadError> {
        Ok(!self.is_ignored(row) && self.is_visible_by_rules(position, row)?)
    }

    /// Whether the reader ignores who sent the event. State is shown all the same.
    fn is_ignored(&self, row: &EventRow<'_>) -> bool {
        row.state_key.is_none() && self.reader.ignored.contains(row.sender)
    }

    /// Whether the reader may see the event, by the room's rules alone. Of a sender whom they ignore it is written redacted.
    pub fn is_visible_by_rules(&mut self, position: Position, row: &EventRow<'_>) -> Result<bool, ReadError> {
        if !row.is_visible() {
            return Ok(false);
        }
        if self.was_joined_since(position) {
            return Ok(true);
        }
        let facts = self.facts(row)?;
        let joined_later = self.standing.last_join.is_some_and(|join| join > position);
        if may_see(facts.history, facts.membership, joined_later) {
            return Ok(true);
        }
        // "For m.room.history_visibility events themselves, the user should be allowed to see the event if the
        // history_visibility before or after the event would allow them to see it. (…) Likewise, for the user's own
        // m.room.member events, the user should be allowed to see the event if their membership before or after the event
        // would allow them to see it."
        Ok(match (row.event_type, row.state_key) {
            (HISTORY_VISIBILITY, Some("")) => may_see(History::of_content(row.content), facts.membership, joined_later),
            ("m.room.member", Some(who)) if who == self.reader.user_id.as_str() => {
                // Their own leaving is shown in any case: else a room would not go away when an invite is refused.
                let after = log::membership_in(row);
                may_see(facts.history, after, joined_later)
                    || (after != facts.membership && matches!(after, Membership::Leave | Membership::Ban))
            }
            _ => false,
        })
    }

    /// The quick way for most events: the reader has been in the room ever since before this one.
    fn was_joined_since(&self, position: Position) -> bool {
        self.standing
            .member
            .is_some_and(|now| now.membership == Membership::Join && now.position <= position)
    }

    fn facts(&mut self, row: &EventRow<'_>) -> Result<Facts, ReadError> {
        if let Some(facts) = self.facts.filter(|facts| facts.group == row.state_group) {
            return Ok(facts);
        }
        let membership = match state::at(
            self.read,
            row.state_group,
            "m.room.member",
            self.reader.user_id.as_str(),
        )? {
            Some(position) => log::membership_in(&EventRow::decode(&log::known_event(self.read, position)?)?),
            None => Membership::Leave,
        };
        let facts = Facts {
            group: row.state_group,
            history: History::at(self.read, row.state_group)?,
            membership,
        };
        self.facts = Some(facts);
        Ok(facts)
    }

    /// Appends the event in client format with all that belongs into `unsigned`.
    pub fn write(&mut self, out: &mut Vec<u8>, position: Position, row: &EventRow<'_>) -> Result<(), ReadError> {
        self.write_at(out, position, row, 0)
    }

    fn write_at(
        &mut self,
        out: &mut Vec<u8>,
        position: Position,
        row: &EventRow<'_>,
        depth: u8,
    ) -> Result<(), ReadError> {
        let mut unsigned = Unsigned {
            age: Some(self.reader.now_ms.saturating_sub(row.origin_server_ts)),
            ..Unsigned::default()
        };
        if let Some((device, id)) = row.transaction
            && device == self.reader.device
        {
            unsigned.transaction_id = Some(id);
        }
        // "membership: The room membership of the user making the request, at the time of the event." (since 1.11)
        let membership = if row.event_type == "m.room.member" && row.state_key == Some(self.reader.user_id.as_str()) {
            log::membership_in(row)
        } else if self.was_joined_since(position) {
            Membership::Join
        } else {
            self.facts(row)?.membership
        };
        unsigned.membership = Some(membership.as_str());
        let replaced = match row.replaces {
            Some(position) => log::event(self.read, position)?,
            None => None,
        };
        if let Some(bytes) = &replaced {
            let old = EventRow::decode(bytes)?;
            unsigned.replaced = Some((old.event_id, old.sender, old.content));
        }
        let mut redaction = Vec::new();
        if let Some(position) = row.redacted_because
            && let Some(bytes) = log::event(self.read, position)?
        {
            EventRow::decode(&bytes)?.write_client(&mut redaction, self.room_id, &Unsigned::default());
            unsigned.redacted_because = Some(&redaction);
        }
        let mut relations = Vec::new();
        if !row.flags.contains(Flags::REDACTED) && row.state_key.is_none() {
            self.write_relations(&mut relations, position, row, depth)?;
            if !relations.is_empty() {
                unsigned.relations = Some(&relations);
            }
        }
        let erased = self.erased(row, membership)?;
        let shown = EventRow {
            content: erased.as_deref().unwrap_or(row.content),
            ..*row
        };
        if self.as_pdus && depth == 0 {
            let room = room::by_num(self.read, self.room)?;
            let whole = log::whole_event(self.read, position)?;
            let rest = EventRow::decode(&whole)?.rest;
            EventRow { rest, ..shown }.write_pdu(out, &room, &unsigned);
        } else {
            shown.write_client(out, self.room_id, &unsigned);
        }
        Ok(())
    }

    /// What is left of an event that is not shown as it is: of a sender whom the reader ignores, where it has to be there ("If
    /// the thread root event was sent by an ignored user, the event is returned redacted to the caller"), and
    /// "the server SHOULD (…) if the user had asked for erasure: serve (…) events sent by the user (…) redacted to users who
    /// were not in the room at the time" (Matrix 1.16, `/account/deactivate`).
    fn erased(&self, row: &EventRow<'_>, membership: Membership) -> Result<Option<String>, ReadError> {
        if self.is_ignored(row) {
            return self.redacted(row).map(Some);
        }
        if membership == Membership::Join || row.state_key.is_some() {
            return Ok(None);
        }
        let Ok(sender) = UserId::parse(row.sender) else {
            return Ok(None);
        };
        let Some(sender) = user::num(self.read, &sender)? else {
            return Ok(None);
        };
        if !account::one(self.read, sender)?.is_some_and(|account| account.erased) {
            return Ok(None);
        }
        self.redacted(row).map(Some)
    }

    fn redacted(&self, row: &EventRow<'_>) -> Result<String, ReadError> {
        let room = room::by_num(self.read, self.room)?;
        let redacted = lamchat_rules::redact::redacted_json(room.version, row.event_type, row.content);
        Ok(redacted.unwrap_or_else(|_| "{}".to_owned()))
    }

    /// Writes the bundled aggregations of an event: the object under `m.relations`, or nothing.
    fn write_relations(
        &mut self,
        out: &mut Vec<u8>,
        parent: Position,
        row: &EventRow<'_>,
        depth: u8,
    ) -> Result<(), ReadError> {
        let mut loaded = if depth == 0 {
            let start = self.relations.partition_point(|relation| relation.parent < parent);
            let end = self.relations.partition_point(|relation| relation.parent <= parent);
            self.relations.get(start..end).unwrap_or_default().to_vec()
        } else {
            relation::children(self.read, self.room, parent)?
        };
        // "`latest_event` is the most recent event (…) sent by an un-ignored user", "`count` (…) does not include events sent by
        // ignored users".
        if !self.reader.ignored.is_empty() {
            let mut ignored = HashMap::new();
            for relation in &loaded {
                if let Entry::Vacant(sender) = ignored.entry(relation.sender) {
                    let user_id = user::known_id(self.read, relation.sender)?;
                    sender.insert(self.reader.ignored.contains(user_id.as_str()));
                }
            }
            loaded.retain(|relation| ignored.get(&relation.sender) != Some(&true));
        }
        if loaded.is_empty() {
            return Ok(());
        }
        let start = out.len();
        let open = |out: &mut Vec<u8>, key: &[u8]| {
            out.push(if out.len() == start { b'{' } else { b',' });
            out.extend_from_slice(key);
        };
        let references: Vec<Position> = of_kind(&loaded, Kind::Reference)
            .map(|relation| relation.child)
            .collect();
        if !references.is_empty() {
            open(out, b"\"m.reference\":{\"chunk\":[");
            for (index, child) in references.into_iter().enumerate() {
                out.extend_from_slice(if index == 0 {
                    b"{\"event_id\":"
                } else {
                    b",{\"event_id\":"
                });
                write_string(out, EventRow::decode(&log::known_event(self.read, child)?)?.event_id);
                out.push(b'}');
            }
            out.extend_from_slice(b"]}");
        }
        if let Some(position) = self.newest_edit(&loaded, row)? {
            let bytes = log::known_event(self.read, position)?;
            open(out, b"\"m.replace\":");
            let edit = EventRow::decode(&bytes)?;
            let unsigned = Unsigned {
                age: Some(self.reader.now_ms.saturating_sub(edit.origin_server_ts)),
                ..Unsigned::default()
            };
            edit.write_client(out, self.room_id, &unsigned);
        }
        let newest = if depth == 0 {
            of_kind(&loaded, Kind::Thread).next_back()
        } else {
            None
        };
        if let Some(newest) = newest {
            let bytes = log::known_event(self.read, newest.child)?;
            let newest_row = EventRow::decode(&bytes)?;
            let count = of_kind(&loaded, Kind::Thread).count();
            // "current_user_participated: A flag set to true if the current logged in user has participated in the thread.
            // The user has participated if: they created the current event; or they created an event with a rel_type of
            // m.thread targeting the current event."
            let participated = row.sender == self.reader.user_id.as_str()
                || of_kind(&loaded, Kind::Thread).any(|relation| relation.sender == self.reader.user);
            open(out, b"\"m.thread\":{\"count\":");
            write_number(out, count as u64);
            out.extend_from_slice(b",\"current_user_participated\":");
            out.extend_from_slice(if participated { b"true" } else { b"false" });
            out.extend_from_slice(b",\"latest_event\":");
            self.write_at(out, newest.child, &newest_row, depth + 1)?;
            out.push(b'}');
        }
        if out.len() != start {
            out.push(b'}');
        }
        Ok(())
    }

    /// "the server should bundle the most recent replacement event": of the same sender and type, not of an edit, and by
    /// `origin_server_ts`, then by event id (Matrix 1.16, section 11.26.2).
    fn newest_edit(&self, relations: &[Relation], parent: &EventRow<'_>) -> Result<Option<Position>, ReadError> {
        let mut newest: Option<(u64, String, Position)> = None;
        let edits = of_kind(relations, Kind::Replace).filter(|relation| relation.event_type == parent.event_type);
        for edit in edits.rev().take(EDITS_MAX) {
            if relation::of_content(parent.content).is_some_and(|(rel_type, _)| rel_type == "m.replace") {
                return Ok(None);
            }
            let bytes = log::known_event(self.read, edit.child)?;
            let row = EventRow::decode(&bytes)?;
            if row.sender != parent.sender || row.state_key.is_some() {
                continue;
            }
            // An encrypted edit keeps its m.new_content inside.
            if row.event_type != "m.room.encrypted" && !row.content.contains("\"m.new_content\"") {
                continue;
            }
            let is_newer = newest
                .as_ref()
                .is_none_or(|(ts, id, _)| (row.origin_server_ts, row.event_id) > (*ts, id.as_str()));
            if is_newer {
                newest = Some((row.origin_server_ts, row.event_id.to_owned(), edit.child));
            }
        }
        Ok(newest.map(|(_, _, position)| position))
    }
}

fn of_kind(relations: &[Relation], kind: Kind) -> impl DoubleEndedIterator<Item = &Relation> {
    relations.iter().filter(move |relation| relation.kind == kind)
}
