//! After a change of somebody's profile: their membership events follow.

use crate::append::AppendError;
use crate::chain::NewEvent;
use crate::content;
use crate::membership::{self, Membership};
use crate::rooms::{Caller, Rooms};

impl Rooms {
    /// Puts the present display name and avatar of `caller` into their membership event of every room that they have joined.
    /// Answers when all are committed. It can be repeated: rooms that already show them are left alone, and so are rooms whose
    /// rules do not let the event through.
    pub async fn profile_changed(&self, caller: &Caller) -> Result<(), AppendError> {
        let rooms = membership::joined_rooms(&self.store().read(), caller.user)?;
        for room in rooms {
            let slot = self.slot_of(&self.store().read(), room)?;
            let changed = self.change(&slot, |chain| {
                if chain.membership(&caller.user_id)? != Some(Membership::Join) {
                    return Ok(());
                }
                let content = content::member(chain.read(), &caller.user_id, Membership::Join, None)?;
                let new = NewEvent::state("m.room.member", caller.user_id.as_str(), content);
                chain.push_state(caller, new).map(|_| ())
            });
            match changed.await {
                Ok(()) | Err(AppendError::Refused(_) | AppendError::NoSuchRoom) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
