//! The one way by which events come into a room: what `chain.rs` has built becomes rows, all at once or not at all.

use crate::authorize::AuthState;
use crate::event::{EventRow, Flags};
use crate::head::Head;
use crate::membership::{self, Membership};
use crate::redact;
use crate::room::{self, Room};
use crate::rooms::Slot;
use crate::table::{EVENT, TIMELINE, live_order, timeline_key};
use crate::transaction::Transaction;
use crate::{event_id, relation, state};
use lamchat_accounts::user;
use lamchat_base::{Position, RoomNum, UserNum};
use lamchat_connections::{Reach, may_reach};
use lamchat_rules::{Refused, Version, event, pdu};
use lamchat_store::{Bytes, CommitError, ReadError, Topic, WriteError, WriteTxn};
use ruma::{OwnedRoomId, OwnedUserId};
use std::sync::Arc;

/// Why an event was not made.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// This exchange does not know the room: `M_FORBIDDEN`, as for a room that one is not in; `M_NOT_FOUND` when joining.
    #[error("you are not in this room")]
    NoSuchRoom,
    /// The rules of the room do not allow it: `M_FORBIDDEN`.
    #[error("{0}")]
    Refused(String),
    /// Too large: `M_TOO_LARGE`.
    #[error("the event is too large: {0}")]
    TooLarge(&'static str),
    /// The content is not what the type demands: `M_BAD_JSON`.
    #[error("{0}")]
    BadContent(String),
    /// The invited user may not be reached by the sender: `M_FORBIDDEN`.
    #[error("{0} cannot be invited by you")]
    NotReachable(OwnedUserId),
    /// The caller is a guest, and the room lets no guests in: 403 `M_GUEST_ACCESS_FORBIDDEN`.
    #[error("guests may not join this room")]
    NoGuests,
    /// The invited user takes no invitations: 403 `M_INVITE_BLOCKED`.
    #[error("{0} does not take invitations")]
    InviteBlocked(OwnedUserId),
    /// The room was changed by others all the time: worth trying again.
    #[error("the room is too busy")]
    Busy,
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl From<Refused> for AppendError {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused.0)
    }
}

impl From<event::Malformed> for AppendError {
    fn from(malformed: event::Malformed) -> Self {
        Self::BadContent(malformed.0)
    }
}

impl From<pdu::BuildError> for AppendError {
    fn from(pdu::BuildError::TooLarge(what): pdu::BuildError) -> Self {
        Self::TooLarge(what)
    }
}

impl From<WriteError<ApplyError>> for AppendError {
    fn from(error: WriteError<ApplyError>) -> Self {
        match error {
            WriteError::Refused(ApplyError::Moved) => Self::Busy,
            WriteError::Refused(ApplyError::NotReachable(user)) => Self::NotReachable(user),
            WriteError::Refused(ApplyError::Read(error)) => Self::Read(error),
            WriteError::Commit(error) => Self::Commit(error),
        }
    }
}

/// Why a built chain was not applied.
#[derive(Debug)]
pub(crate) enum ApplyError {
    /// The room has another head than the chain was built on: build again.
    Moved,
    /// `connections` does not let an invitation through.
    NotReachable(OwnedUserId),
    /// The store.
    Read(ReadError),
}

impl From<ReadError> for ApplyError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

/// A built event without its place.
pub(crate) struct Built {
    pub(crate) event_id: String,
    pub(crate) sender: UserNum,
    pub(crate) sender_id: OwnedUserId,
    pub(crate) event_type: String,
    pub(crate) state_key: Option<String>,
    pub(crate) redacts: Option<String>,
    pub(crate) content: String,
    pub(crate) rest: String,
    pub(crate) depth: u64,
    pub(crate) origin_server_ts: u64,
    pub(crate) transaction: Option<Transaction>,
    pub(crate) member: Option<(OwnedUserId, Membership)>,
}

/// A chain ready for the writer.
pub(crate) struct Pending {
    pub(crate) room: Option<Arc<Room>>,
    pub(crate) room_id: Option<OwnedRoomId>,
    pub(crate) room_type: Option<String>,
    pub(crate) version: &'static Version,
    pub(crate) expected: Vec<String>,
    pub(crate) auth: Arc<AuthState>,
    pub(crate) events: Vec<Built>,
}

/// Where a chain came to lie.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Applied {
    pub(crate) room: RoomNum,
    state_group: u64,
}

impl Pending {
    /// Writes the rows of all events.
    pub(crate) fn apply(&self, txn: &mut WriteTxn<'_>) -> Result<Applied, ApplyError> {
        let (num, mut head) = match &self.room {
            Some(room) => (room.num, Head::of(txn, room.num)?.ok_or(ApplyError::Moved)?),
            None => (room::next_num(txn)?, Head::default()),
        };
        let is_taken = match (&self.room, &self.room_id) {
            (None, Some(id)) => room::num(txn, id)?.is_some(),
            _ => false,
        };
        // An event with the same transaction id would have moved the head: such an id belongs to one room, and who builds a chain
        // looks for it in the snapshot that has this head.
        if is_taken || head.extremities != self.expected {
            return Err(ApplyError::Moved);
        }
        let mut create = None;
        for event in &self.events {
            let position = self.apply_event(txn, num, &mut head, event)?;
            create.get_or_insert((position, event.sender_id.clone()));
        }
        head.put(txn, num);
        if let (None, Some((create, creator)), Some(id)) = (&self.room, create, &self.room_id) {
            let room_type = self.room_type.clone();
            room::put(
                txn,
                &Room {
                    num,
                    id: id.clone(),
                    version: self.version,
                    create,
                    creator,
                    room_type,
                },
            )?;
        }
        txn.touch(Topic::room(num));
        Ok(Applied {
            room: num,
            state_group: head.state_group,
        })
    }

    fn apply_event(
        &self,
        txn: &mut WriteTxn<'_>,
        room: RoomNum,
        head: &mut Head,
        event: &Built,
    ) -> Result<Position, ApplyError> {
        let position = txn.next_position();
        let replaces = match &event.state_key {
            Some(state_key) => state::current(txn, room, &event.event_type, state_key)?,
            None => None,
        };
        let row = EventRow {
            flags: Flags::default(),
            room,
            state_group: head.state_group,
            content_key_id: 0,
            origin_server_ts: event.origin_server_ts,
            depth: event.depth,
            replaces,
            redacted_because: None,
            event_id: &event.event_id,
            sender: event.sender_id.as_str(),
            event_type: &event.event_type,
            state_key: event.state_key.as_deref(),
            redacts: event.redacts.as_deref(),
            transaction: event
                .transaction
                .as_ref()
                .map(|transaction| (transaction.device, transaction.id.as_str())),
            content: &event.content,
            rest: event.rest.as_bytes(),
        };
        let row = row.encode().map_err(|error| ReadError::Malformed {
            table: EVENT.name,
            detail: error.to_string(),
        })?;
        txn.put(EVENT, &position.to_key(), row);
        txn.put(
            TIMELINE,
            &timeline_key(room, live_order(position)),
            Bytes::copy_from_slice(&position.to_key()),
        );
        event_id::put(txn, &event.event_id, position);
        if let Some(transaction) = &event.transaction {
            transaction.put(txn, position);
        }
        if let Some(state_key) = &event.state_key {
            state::put_group(txn, head.state_group, position, &event.event_type, state_key)?;
            state::put_current(txn, room, &event.event_type, state_key, position);
            head.state_group = position.0;
        }
        if let Some((target, membership)) = &event.member {
            let target_num = user::num_or_insert(txn, target)?;
            if *membership == Membership::Invite && !may_reach(event.sender, target_num, Reach::Invite) {
                return Err(ApplyError::NotReachable(target.clone()));
            }
            membership::put(txn, head, room, target_num, *membership, position)?;
            txn.touch(Topic::user(target_num));
        }
        relation::put(txn, room, position, event.sender, &event.event_type, &event.content)?;
        if let Some(target) = &event.redacts {
            redact::erase(txn, room, self.version, target, position)?;
        }
        head.newest = position;
        head.depth = event.depth;
        head.extremities = vec![event.event_id.clone()];
        Ok(position)
    }

    /// Keeps what was parsed for the next event, after the commit.
    pub(crate) fn remember(&self, slot: &Slot, applied: &Applied) {
        if self.events.iter().any(|event| event.redacts.is_some()) {
            slot.forget_auth();
        } else {
            let is_new = self.room.is_none();
            let auth = if is_new {
                Arc::new(self.auth.now_stored())
            } else {
                Arc::clone(&self.auth)
            };
            slot.keep_auth(applied.state_group, auth);
        }
    }
}
