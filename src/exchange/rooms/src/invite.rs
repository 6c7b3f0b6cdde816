//! Inviting. Whether the sender may reach the invited user at all, `connections` decides in the same commit.

use crate::append::AppendError;
use crate::chain::NewEvent;
use crate::content;
use crate::membership::Membership;
use crate::rooms::{Caller, Rooms};
use ruma::{RoomId, UserId};

impl Rooms {
    /// Invites a user of this exchange. Nothing happens if the caller has invited them in the same words before.
    pub async fn invite(
        &self,
        caller: &Caller,
        room: &RoomId,
        target: &UserId,
        reason: Option<&str>,
    ) -> Result<(), AppendError> {
        let slot = self.known_slot(room)?;
        self.change(&slot, |chain| {
            let content = content::member(chain.read(), target, Membership::Invite, reason)?;
            chain
                .push_state(caller, NewEvent::state("m.room.member", target.as_str(), content))
                .map(|_| ())
        })
        .await
    }
}
