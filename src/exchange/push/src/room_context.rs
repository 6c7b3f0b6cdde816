//! What push rules ask about a room, read from the current state.

use crate::evaluate::Wants;
use lamchat_base::{RoomNum, UserNum};
use lamchat_rooms::event::EventRow;
use lamchat_rooms::head::Head;
use lamchat_rooms::{log, membership, room, state};
use lamchat_store::{Bytes, Read, ReadError};
use ruma::events::room::power_levels::{RoomPowerLevels, RoomPowerLevelsEventContent};
use ruma::push::{PushConditionPowerLevelsCtx, PushConditionRoomCtx};
use ruma::{OwnedUserId, RoomVersionId, UserId};

/// The context of `user_id` in `room`. Power levels are added by [`add_power_levels`] when an event asks for them.
pub(crate) fn of_member(
    read: &dyn Read,
    room: RoomNum,
    user: UserNum,
    user_id: &UserId,
    wants: Wants,
) -> Result<PushConditionRoomCtx, ReadError> {
    let room_id = room::by_num(read, room)?.id.clone();
    let joined = Head::of(read, room)?.map_or(0, |head| head.joined);
    let display_name = if wants.display_name {
        display_name(read, room, user)?
    } else {
        None
    };
    let display_name = display_name.unwrap_or_else(|| user_id.localpart().to_owned());
    let mut context = PushConditionRoomCtx::new(room_id, joined.into(), user_id.to_owned(), display_name);
    if wants.power_levels {
        add_power_levels(read, room, &mut context)?;
    }
    Ok(context)
}

/// Adds the power levels, if they are not there yet.
pub(crate) fn add_power_levels(
    read: &dyn Read,
    room: RoomNum,
    context: &mut PushConditionRoomCtx,
) -> Result<(), ReadError> {
    if context.power_levels.is_none() {
        context.power_levels = power_levels(read, room)?;
    }
    Ok(())
}

/// The name that a member bears in a room.
pub(crate) fn display_name(read: &dyn Read, room: RoomNum, user: UserNum) -> Result<Option<String>, ReadError> {
    #[derive(serde::Deserialize)]
    struct Content {
        displayname: Option<String>,
    }
    let Some(member) = membership::of(read, user, room)? else {
        return Ok(None);
    };
    let row = log::known_event(read, member.position)?;
    Ok(content::<Content>(&row)?.and_then(|content| content.displayname))
}

fn power_levels(read: &dyn Read, room: RoomNum) -> Result<Option<PushConditionPowerLevelsCtx>, ReadError> {
    #[derive(serde::Deserialize)]
    struct Create {
        #[serde(default)]
        additional_creators: Vec<OwnedUserId>,
    }
    let room_row = room::by_num(read, room)?;
    let Some(version) = RoomVersionId::try_from(room_row.version.id())
        .ok()
        .and_then(|version| version.rules())
    else {
        return Ok(None);
    };
    let create = content::<Create>(&log::known_event(read, room_row.create)?)?;
    let mut creators = vec![room_row.creator.clone()];
    creators.extend(create.map(|create| create.additional_creators).unwrap_or_default());
    let levels: Option<RoomPowerLevelsEventContent> = match state::current(read, room, "m.room.power_levels", "")? {
        None => None,
        Some(position) => content(&log::known_event(read, position)?)?,
    };
    Ok(Some(
        RoomPowerLevels::new(levels.into(), &version.authorization, creators).into(),
    ))
}

/// The content of an event; `None` if it is not of that form: clients send what they like.
fn content<T: serde::de::DeserializeOwned>(row: &Bytes) -> Result<Option<T>, ReadError> {
    Ok(serde_json::from_str(EventRow::decode(row)?.content).ok())
}
