//! The public directory: rooms that their members have published.

use crate::alias;
use crate::append::AppendError;
use crate::chain::Chain;
use crate::event::EventRow;
use crate::head::Head;
use crate::log::known_event;
use crate::room::{self, Room};
use crate::rooms::{Caller, Rooms};
use crate::state;
use crate::table::PUBLISHED;
use lamchat_base::RoomNum;
use lamchat_store::{CommitError, KeyRange, Order, Read, ReadError, ReadExt, Topic, WriteError, WriteTxn};
use ruma::{OwnedRoomAliasId, OwnedRoomId, RoomAliasId, RoomId};
use std::cmp::Reverse;
use std::sync::Arc;

/// Most rooms on one page.
pub const PAGE_MAX: usize = 500;

/// A room as the directory shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The room id.
    pub room_id: OwnedRoomId,
    /// `m.room.name`.
    pub name: Option<String>,
    /// `m.room.topic`.
    pub topic: Option<String>,
    /// `m.room.canonical_alias`, if it is an alias.
    pub canonical_alias: Option<OwnedRoomAliasId>,
    /// `m.room.avatar`.
    pub avatar_url: Option<String>,
    /// The word in `m.room.join_rules`.
    pub join_rule: String,
    /// The room type, such as `m.space`.
    pub room_type: Option<String>,
    /// The algorithm in `m.room.encryption`.
    pub encryption: Option<String>,
    /// The room version.
    pub version: &'static str,
    /// Whether guests may join.
    pub guest_can_join: bool,
    /// Whether everybody may read without joining.
    pub world_readable: bool,
    /// How many have joined.
    pub joined: u32,
}

/// Which rooms to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Part of the name, topic or alias, whatever the case.
    pub search: Option<String>,
    /// Room types, `None` for rooms without one. Empty: all.
    pub room_types: Vec<Option<String>>,
}

/// A part of the list.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The rooms, those with most members first.
    pub rooms: Vec<Listed>,
    /// From where the next page starts.
    pub next: Option<usize>,
    /// From where the page before starts.
    pub before: Option<usize>,
    /// How many rooms there are that fit.
    pub total: usize,
}

/// Why a room was not published or taken out.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// There is no such room: `M_NOT_FOUND`.
    #[error("there is no such room")]
    NoSuchRoom,
    /// Who may not set its canonical alias may not publish it: `M_FORBIDDEN`.
    #[error("only who may set a room's canonical alias can publish it or take it out of the directory")]
    NotAllowed,
    /// The room could not be read.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl From<CommitError> for PublishError {
    fn from(error: CommitError) -> Self {
        Self::Append(error.into())
    }
}

impl From<ReadError> for PublishError {
    fn from(error: ReadError) -> Self {
        Self::Append(error.into())
    }
}

/// Whether a room is in the directory.
pub fn is_published(read: &dyn Read, room: RoomNum) -> Result<bool, ReadError> {
    Ok(read.get(PUBLISHED, &room.to_key())?.is_some())
}

pub(crate) fn put(txn: &mut WriteTxn<'_>, room: RoomNum) {
    txn.put(PUBLISHED, &room.to_key(), Vec::new());
}

pub(crate) fn remove(txn: &mut WriteTxn<'_>, room: RoomNum) {
    txn.delete(PUBLISHED, &room.to_key());
}

impl Rooms {
    /// Publishes a room, or takes it out of the directory.
    pub async fn publish(&self, caller: &Caller, room: &RoomId, is_published: bool) -> Result<(), PublishError> {
        let slot = self.slot(&self.store().read(), room)?.ok_or(PublishError::NoSuchRoom)?;
        if !Chain::on(self, &slot)?.may_send_state(&caller.user_id, "m.room.canonical_alias")? {
            return Err(PublishError::NotAllowed);
        }
        let num = slot.room.num;
        self.store()
            .write(move |txn| {
                if is_published {
                    put(txn, num);
                } else {
                    remove(txn, num);
                }
                txn.touch(Topic::room(num));
                Ok::<_, PublishError>(())
            })
            .await
            .map_err(WriteError::flatten)
    }
}

/// A page of the directory: `limit` rooms from the `from`-th on.
pub fn page(read: &dyn Read, filter: &Filter, from: usize, limit: usize) -> Result<Page, ReadError> {
    let limit = limit.min(PAGE_MAX);
    let search = filter
        .search
        .as_deref()
        .map(str::to_lowercase)
        .filter(|text| !text.is_empty());
    let mut fitting = Vec::new();
    for (key, _) in read.rows(PUBLISHED, &KeyRange::all(), Order::Ascending, usize::MAX)? {
        let Some(num) = key.first_chunk::<4>().map(|bytes| RoomNum(u32::from_be_bytes(*bytes))) else {
            continue;
        };
        let room = room::by_num(read, num)?;
        if !filter.room_types.is_empty() && !filter.room_types.contains(&room.room_type) {
            continue;
        }
        if let Some(search) = &search
            && !listed(read, &room)?.is_found_by(read, num, search)?
        {
            continue;
        }
        let joined = Head::of(read, num)?.map_or(0, |head| head.joined);
        fitting.push((Reverse(joined), num, room));
    }
    fitting.sort_by_key(|(joined, num, _)| (*joined, *num));
    let total = fitting.len();
    let shown: Vec<Arc<Room>> = fitting
        .into_iter()
        .skip(from)
        .take(limit)
        .map(|(_, _, room)| room)
        .collect();
    let end = from.saturating_add(shown.len());
    Ok(Page {
        rooms: shown.iter().map(|room| listed(read, room)).collect::<Result<_, _>>()?,
        next: (end < total && limit > 0).then_some(end),
        before: (from > 0).then(|| from.saturating_sub(limit)),
        total,
    })
}

impl Listed {
    /// Whether name, topic or an alias contain `search`, which is in lower case.
    fn is_found_by(&self, read: &dyn Read, room: RoomNum, search: &str) -> Result<bool, ReadError> {
        let texts = [
            self.name.as_deref(),
            self.topic.as_deref(),
            self.canonical_alias.as_deref().map(RoomAliasId::as_str),
        ];
        if texts
            .into_iter()
            .flatten()
            .any(|text| text.to_lowercase().contains(search))
        {
            return Ok(true);
        }
        let aliases = alias::of_room(read, room)?;
        Ok(aliases
            .iter()
            .any(|alias| alias.as_str().to_lowercase().contains(search)))
    }
}

/// What is shown of a room to who is not in it: in the directory, and before one knocks or joins.
pub fn listed(read: &dyn Read, room: &Room) -> Result<Listed, ReadError> {
    let text = |event_type: &str, member: &str| -> Result<Option<String>, ReadError> {
        let Some(position) = state::current(read, room.num, event_type, "")? else {
            return Ok(None);
        };
        let bytes = known_event(read, position)?;
        let content: serde_json::Value = serde_json::from_str(EventRow::decode(&bytes)?.content).unwrap_or_default();
        Ok(content
            .get(member)
            .and_then(|value| value.as_str())
            .filter(|text| !text.is_empty())
            .map(str::to_owned))
    };
    Ok(Listed {
        room_id: room.id.clone(),
        name: text("m.room.name", "name")?,
        topic: text("m.room.topic", "topic")?,
        canonical_alias: text("m.room.canonical_alias", "alias")?.and_then(|alias| RoomAliasId::parse(alias).ok()),
        avatar_url: text("m.room.avatar", "url")?,
        // "If there is no m.room.join_rules event, the join rule is `invite`."
        join_rule: text("m.room.join_rules", "join_rule")?.unwrap_or_else(|| "invite".to_owned()),
        room_type: room.room_type.clone(),
        encryption: text("m.room.encryption", "algorithm")?,
        version: room.version.id(),
        guest_can_join: text("m.room.guest_access", "guest_access")?.as_deref() == Some("can_join"),
        world_readable: text("m.room.history_visibility", "history_visibility")?.as_deref() == Some("world_readable"),
        joined: Head::of(read, room.num)?.map_or(0, |head| head.joined),
    })
}
