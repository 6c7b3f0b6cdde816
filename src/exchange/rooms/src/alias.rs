//! Aliases of this exchange.

use crate::append::AppendError;
use crate::chain::{Chain, NewEvent};
use crate::membership;
use crate::room;
use crate::rooms::{Caller, Rooms};
use crate::table::{ALIAS, ALIAS_OF};
use lamchat_base::{RoomNum, UserNum};
use lamchat_rules::Object;
use lamchat_store::{CommitError, Key, KeyRange, Order, Read, ReadError, ReadExt, WriteError, WriteTxn};
use ruma::{OwnedRoomAliasId, RoomAliasId, RoomId};

/// Most aliases of one room.
const ALIASES_MAX: usize = 1000;

/// Where an alias leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Alias {
    /// The room.
    pub room: RoomNum,
    /// Who made the alias.
    pub creator: UserNum,
}

/// Why an alias was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateAliasError {
    /// It belongs to another server: `M_INVALID_PARAM`.
    #[error("an alias of this server ends in its name")]
    NotOurs,
    /// It is too long: `M_INVALID_PARAM`.
    #[error("an alias has at most 255 bytes")]
    TooLong,
    /// It exists: 409 `M_UNKNOWN`.
    #[error("this alias is taken")]
    InUse,
    /// The caller is not in such a room: `M_FORBIDDEN`.
    #[error("you are not in this room")]
    NotInRoom,
    /// The room has too many aliases: `M_LIMIT_EXCEEDED` does not fit; `M_RESOURCE_LIMIT_EXCEEDED`.
    #[error("a room has at most {ALIASES_MAX} aliases")]
    TooMany,
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Why an alias was not removed.
#[derive(Debug, thiserror::Error)]
pub enum DeleteAliasError {
    /// There is none: `M_NOT_FOUND`.
    #[error("there is no such alias")]
    NoSuchAlias,
    /// The caller has neither made it nor the power over the room's aliases: `M_FORBIDDEN`.
    #[error("only who made an alias, and who may set the room's canonical alias, can remove it")]
    NotYours,
    /// The room could not be read or changed.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl From<ReadError> for DeleteAliasError {
    fn from(error: ReadError) -> Self {
        Self::Append(error.into())
    }
}

impl From<CommitError> for DeleteAliasError {
    fn from(error: CommitError) -> Self {
        Self::Append(error.into())
    }
}

/// Where an alias leads; `None` if there is none.
pub fn find(read: &dyn Read, alias: &RoomAliasId) -> Result<Option<Alias>, ReadError> {
    read.get_json(ALIAS, alias.as_bytes())
}

/// The aliases of a room, in their order.
pub fn of_room(read: &dyn Read, room: RoomNum) -> Result<Vec<OwnedRoomAliasId>, ReadError> {
    let rows = read.rows(
        ALIAS_OF,
        &KeyRange::prefix(&room.to_key()),
        Order::Ascending,
        usize::MAX,
    )?;
    let parse = |key: &[u8]| {
        let text = std::str::from_utf8(key.get(4..)?).ok()?;
        RoomAliasId::parse(text).ok()
    };
    let malformed = || ReadError::Malformed {
        table: ALIAS_OF.name,
        detail: "not an alias".to_owned(),
    };
    rows.iter().map(|(key, _)| parse(key).ok_or_else(malformed)).collect()
}

/// Enters an alias, or moves it to another room.
pub(crate) fn put(txn: &mut WriteTxn<'_>, alias: &RoomAliasId, target: Alias) -> Result<(), ReadError> {
    if let Some(before) = find(txn, alias)? {
        txn.delete(ALIAS_OF, &alias_of_key(before.room, alias));
    }
    txn.put_json(ALIAS, alias.as_bytes(), &target)?;
    txn.put(ALIAS_OF, &alias_of_key(target.room, alias), Vec::new());
    Ok(())
}

fn alias_of_key(room: RoomNum, alias: &RoomAliasId) -> Key {
    Key::new().u32(room.0).raw(alias.as_bytes())
}

impl Rooms {
    /// Makes an alias for a room that the caller is in.
    pub async fn create_alias(
        &self,
        caller: &Caller,
        alias: &RoomAliasId,
        room: &RoomId,
    ) -> Result<(), CreateAliasError> {
        if alias.server_name() != self.server_name() {
            return Err(CreateAliasError::NotOurs);
        }
        if alias.as_bytes().len() > lamchat_base::limits::ID_BYTES_MAX {
            return Err(CreateAliasError::TooLong);
        }
        let (user, alias, room) = (caller.user, alias.to_owned(), room.to_owned());
        self.store()
            .write(move |txn| {
                if find(txn, &alias)?.is_some() {
                    return Err(CreateAliasError::InUse);
                }
                let room = room::num(txn, &room)?.ok_or(CreateAliasError::NotInRoom)?;
                if !membership::is_joined(txn, user, room)? {
                    return Err(CreateAliasError::NotInRoom);
                }
                if of_room(txn, room)?.len() >= ALIASES_MAX {
                    return Err(CreateAliasError::TooMany);
                }
                Ok(put(txn, &alias, Alias { room, creator: user })?)
            })
            .await
            .map_err(WriteError::flatten)
    }

    /// Removes an alias. If the room names it in `m.room.canonical_alias` and the caller may change that, it goes there too.
    pub async fn delete_alias(&self, caller: &Caller, alias: &RoomAliasId) -> Result<(), DeleteAliasError> {
        let read = self.store().read();
        let target = find(&read, alias)?.ok_or(DeleteAliasError::NoSuchAlias)?;
        let slot = self.slot_of(&read, target.room)?;
        drop(read);
        let chain_says = |chain: &Chain<'_>| chain.may_send_state(&caller.user_id, "m.room.canonical_alias");
        let has_power = chain_says(&Chain::on(self, &slot)?)?;
        if target.creator != caller.user && !has_power {
            return Err(DeleteAliasError::NotYours);
        }
        let removed = alias.to_owned();
        self.store()
            .write(move |txn| {
                let now = find(txn, &removed)?.ok_or(DeleteAliasError::NoSuchAlias)?;
                if now != target {
                    return Err(DeleteAliasError::NoSuchAlias);
                }
                txn.delete(ALIAS, removed.as_bytes());
                txn.delete(ALIAS_OF, &alias_of_key(now.room, &removed));
                Ok(())
            })
            .await
            .map_err(WriteError::flatten)?;
        if has_power {
            // "The server may choose to update the m.room.canonical_alias state event in the same way."
            self.change(&slot, |chain| {
                let before = chain.state_content("m.room.canonical_alias", "")?;
                let after = without(&before, alias);
                if after != before && chain_says(chain)? {
                    chain.push(caller, NewEvent::state("m.room.canonical_alias", "", after))?;
                }
                Ok::<_, DeleteAliasError>(())
            })
            .await?;
        }
        Ok(())
    }
}

/// The content of `m.room.canonical_alias` without one alias.
fn without(content: &Object, alias: &RoomAliasId) -> Object {
    let mut content = content.clone();
    if content.get("alias").and_then(|name| name.as_str()) == Some(alias.as_str()) {
        content.remove("alias");
    }
    if let Some(others) = content.get_mut("alt_aliases").and_then(|others| others.as_array_mut()) {
        others.retain(|name| name.as_str() != Some(alias.as_str()));
    }
    content
}
