//! Going, and being made to go: leave, kick, ban, unban.

use crate::append::AppendError;
use crate::chain::NewEvent;
use crate::content;
use crate::membership::Membership;
use crate::rooms::{Caller, Rooms};
use lamchat_store::ReadError;
use ruma::{RoomId, UserId};

/// Why somebody was not removed, or not let in again. `M_FORBIDDEN` where nothing else is said.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// There is nobody to remove.
    #[error("this user is not in the room")]
    NotThere,
    /// A ban is lifted by unbanning only.
    #[error("this user is banned; unban them instead")]
    Banned,
    /// There is no ban to lift: 403 `M_BAD_STATE`.
    #[error("this user is not banned")]
    NotBanned,
    /// The event could not be made.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl From<ReadError> for RemoveError {
    fn from(error: ReadError) -> Self {
        Self::Append(error.into())
    }
}

impl Rooms {
    /// Leaves a room, refuses an invitation or takes back a knock. Nothing happens if the caller has left already.
    pub async fn leave(&self, caller: &Caller, room: &RoomId, reason: Option<&str>) -> Result<(), RemoveError> {
        self.set_membership(
            caller,
            room,
            &caller.user_id,
            Membership::Leave,
            reason,
            |before| match before {
                Some(Membership::Leave) => Ok(false),
                None => Err(RemoveError::NotThere),
                _ => Ok(true),
            },
        )
        .await
    }

    /// Removes a member, or takes back an invitation.
    pub async fn kick(
        &self,
        caller: &Caller,
        room: &RoomId,
        target: &UserId,
        reason: Option<&str>,
    ) -> Result<(), RemoveError> {
        self.set_membership(caller, room, target, Membership::Leave, reason, |before| match before {
            Some(Membership::Ban) => Err(RemoveError::Banned),
            Some(Membership::Leave) | None => Err(RemoveError::NotThere),
            _ => Ok(true),
        })
        .await
    }

    /// Bans a user, whether or not they are in the room. Nothing happens if they are banned already.
    pub async fn ban(
        &self,
        caller: &Caller,
        room: &RoomId,
        target: &UserId,
        reason: Option<&str>,
    ) -> Result<(), RemoveError> {
        self.set_membership(caller, room, target, Membership::Ban, reason, |_| Ok(true))
            .await
    }

    /// Lifts a ban; the user can be invited or join again.
    pub async fn unban(
        &self,
        caller: &Caller,
        room: &RoomId,
        target: &UserId,
        reason: Option<&str>,
    ) -> Result<(), RemoveError> {
        self.set_membership(caller, room, target, Membership::Leave, reason, |before| match before {
            Some(Membership::Ban) => Ok(true),
            _ => Err(RemoveError::NotBanned),
        })
        .await
    }

    /// Makes the membership event unless `check`, given the present membership, answers `false`.
    async fn set_membership(
        &self,
        caller: &Caller,
        room: &RoomId,
        target: &UserId,
        membership: Membership,
        reason: Option<&str>,
        check: impl Fn(Option<Membership>) -> Result<bool, RemoveError> + Send + Sync,
    ) -> Result<(), RemoveError> {
        let slot = self.known_slot(room)?;
        self.change(&slot, |chain| {
            // Who is not in the room is not told who is.
            let is_other = target != caller.user_id;
            if is_other && chain.membership(&caller.user_id)? != Some(Membership::Join) {
                return Err(AppendError::NoSuchRoom.into());
            }
            if check(chain.membership(target)?)? {
                let content = content::member(chain.read(), target, membership, reason)?;
                chain.push_state(caller, NewEvent::state("m.room.member", target.as_str(), content))?;
            }
            Ok(())
        })
        .await
    }
}
