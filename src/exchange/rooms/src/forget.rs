//! Forgetting a room that one has left: it is not shown any more, and its history cannot be read until one joins again.

use crate::membership::{self, Membership};
use crate::room;
use crate::rooms::{Caller, Rooms};
use lamchat_accounts::account_data;
use lamchat_store::{CommitError, ReadError, Topic, WriteError};
use ruma::RoomId;

/// Why a room was not forgotten.
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    /// The caller has never had to do with such a room: `M_FORBIDDEN`.
    #[error("you have never been in this room")]
    NeverThere,
    /// "The user has not left the room": 400 `M_UNKNOWN`.
    #[error("leave the room before you forget it")]
    StillThere,
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl Rooms {
    /// Forgets a room.
    pub async fn forget(&self, caller: &Caller, room: &RoomId) -> Result<(), ForgetError> {
        let (user, room) = (caller.user, room.to_owned());
        self.store()
            .write(move |txn| {
                let room = room::num(txn, &room)?.ok_or(ForgetError::NeverThere)?;
                let member = membership::of(txn, user, room)?.ok_or(ForgetError::NeverThere)?;
                match member.membership {
                    Membership::Leave | Membership::Ban => {
                        if !member.forgotten {
                            membership::put_forgotten(txn, user, room, member);
                            account_data::forget_room(txn, user, room)?;
                            txn.touch(Topic::user(user));
                        }
                        Ok(())
                    }
                    Membership::Invite | Membership::Join | Membership::Knock => Err(ForgetError::StillThere),
                }
            })
            .await
            .map_err(WriteError::flatten)
    }
}
