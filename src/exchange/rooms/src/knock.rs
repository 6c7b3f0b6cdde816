//! Knocking: asking to be invited.

use crate::append::AppendError;
use crate::chain::NewEvent;
use crate::content;
use crate::membership::Membership;
use crate::rooms::{Caller, Rooms};
use ruma::RoomId;

impl Rooms {
    /// Knocks on a room. Nothing happens if the caller is knocking already.
    pub async fn knock(&self, caller: &Caller, room: &RoomId, reason: Option<&str>) -> Result<(), AppendError> {
        let slot = self.known_slot(room)?;
        self.change(&slot, |chain| {
            if chain.membership(&caller.user_id)? == Some(Membership::Knock) {
                return Ok(());
            }
            let content = content::member(chain.read(), &caller.user_id, Membership::Knock, reason)?;
            chain
                .push(
                    caller,
                    NewEvent::state("m.room.member", caller.user_id.as_str(), content),
                )
                .map(|_| ())
        })
        .await
    }
}
