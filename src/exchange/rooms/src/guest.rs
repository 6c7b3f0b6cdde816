//! Guests in a room (Matrix 1.16, "Guest Access").

use crate::append::AppendError;
use crate::chain::{Chain, NewEvent};
use crate::content;
use crate::membership::{self, Membership};
use crate::rooms::Caller;
use lamchat_accounts::{account, user};
use lamchat_rules::Object;

/// The type of the event that says whether guests may come in.
pub(crate) const ACCESS: &str = "m.room.guest_access";
/// Most members that are looked at to find guests.
const MEMBERS_MAX: usize = 100_000;
/// Most guests that one change removes.
const REMOVED_MAX: usize = 1_000;

/// "Servers MUST only allow guest users to join rooms if the `m.room.guest_access` state event is present on the room, and has
/// the `guest_access` value `can_join`."
pub(crate) fn may_join(access: &Object) -> bool {
    access.get("guest_access").and_then(|word| word.as_str()) == Some("can_join")
}

/// "If the `m.room.guest_access` event is changed to stop this from being the case, the server MUST set those users'
/// `m.room.member` state to `leave`." They leave in their own name.
pub(crate) fn remove_all(chain: &mut Chain<'_>) -> Result<(), AppendError> {
    let mut removed = 0;
    for member in membership::members(chain.read(), chain.room_num()?, Membership::Join, MEMBERS_MAX)? {
        if removed == REMOVED_MAX || !account::is_guest(chain.read(), member)? {
            continue;
        }
        let guest = Caller {
            user: member,
            user_id: user::known_id(chain.read(), member)?,
            device: None,
        };
        let content = content::member(chain.read(), &guest.user_id, Membership::Leave, None)?;
        chain.push(
            &guest,
            NewEvent::state("m.room.member", guest.user_id.as_str(), content),
        )?;
        removed += 1;
    }
    Ok(())
}
