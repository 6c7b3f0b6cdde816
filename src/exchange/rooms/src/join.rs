//! Joining.

use crate::append::AppendError;
use crate::chain::{Chain, NewEvent};
use crate::content;
use crate::guest;
use crate::membership::{self, Membership};
use crate::room;
use crate::rooms::{Caller, Rooms};
use lamchat_accounts::{account, user};
use lamchat_rules::Object;
use ruma::{OwnedUserId, RoomId};

/// How many members are looked at to find one who can vouch for somebody who joins a restricted room.
const VOUCHERS_MAX: usize = 10_000;

impl Rooms {
    /// Joins a room. Nothing happens if the caller is in it.
    pub async fn join(&self, caller: &Caller, room: &RoomId, reason: Option<&str>) -> Result<(), AppendError> {
        let slot = self.known_slot(room)?;
        self.change(&slot, |chain| {
            if chain.membership(&caller.user_id)? == Some(Membership::Join) {
                return Ok(());
            }
            let content = content::member(chain.read(), &caller.user_id, Membership::Join, reason)?;
            push_join(chain, caller, content).map(|_| ())
        })
        .await
    }
}

/// Adds a join with this content, vouched for where the room is restricted.
pub(crate) fn push_join(chain: &mut Chain<'_>, caller: &Caller, mut content: Object) -> Result<String, AppendError> {
    // Only the server may say who vouches; a client could name anybody.
    content.remove("join_authorised_via_users_server");
    let before = chain.membership(&caller.user_id)?;
    if before != Some(Membership::Join)
        && account::is_guest(chain.read(), caller.user)?
        && !guest::may_join(&chain.state_content("m.room.guest_access", "")?)
    {
        return Err(AppendError::NoGuests);
    }
    if !matches!(before, Some(Membership::Join | Membership::Invite | Membership::Ban)) && is_restricted(chain)? {
        let voucher = voucher(chain, caller)?;
        content.insert("join_authorised_via_users_server".to_owned(), voucher.as_str().into());
    }
    chain.push_state(
        caller,
        NewEvent::state("m.room.member", caller.user_id.as_str(), content),
    )
}

fn is_restricted(chain: &Chain<'_>) -> Result<bool, AppendError> {
    let rules = chain.state_content("m.room.join_rules", "")?;
    Ok(match rules.get("join_rule").and_then(|rule| rule.as_str()) {
        Some("restricted") => chain.version().has_restricted(),
        Some("knock_restricted") => chain.version().has_knock_restricted(),
        _ => false,
    })
}

/// Checks the conditions of a restricted room, then finds a member who may invite.
///
/// "The join_authorised_via_users_server key [...] is a user with sufficient permission to invite other users [and] a joined
/// member of the room."
fn voucher(chain: &Chain<'_>, caller: &Caller) -> Result<OwnedUserId, AppendError> {
    let rules = chain.state_content("m.room.join_rules", "")?;
    let conditions = rules
        .get("allow")
        .and_then(|allow| allow.as_array())
        .unwrap_or_default();
    let mut is_met = false;
    for condition in conditions.iter().filter_map(|condition| condition.as_object()) {
        let text = |name: &str| condition.get(name).and_then(|value| value.as_str());
        if text("type") != Some("m.room_membership") {
            continue;
        }
        // A room that this server does not know cannot be checked, and so does not open this one.
        if let Some(room) = text("room_id").and_then(|id| <&RoomId>::try_from(id).ok())
            && let Some(room) = room::num(chain.read(), room)?
            && membership::is_joined(chain.read(), caller.user, room)?
        {
            is_met = true;
            break;
        }
    }
    if !is_met {
        return Err(AppendError::Refused(
            "you are in none of the rooms whose members may join this one".to_owned(),
        ));
    }
    let power = chain.power()?;
    for member in membership::members(chain.read(), chain.room_num()?, Membership::Join, VOUCHERS_MAX)? {
        let member = user::known_id(chain.read(), member)?;
        if chain.rooms().is_local(&member) && chain.may_invite(&power, &member)? {
            return Ok(member);
        }
    }
    Err(AppendError::Refused(
        "no member of this server may invite into that room".to_owned(),
    ))
}
