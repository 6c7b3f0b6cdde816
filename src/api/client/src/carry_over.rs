//! What a user keeps when they go on from a room to the one that replaces it.

use crate::{ApiError, App};
use lamchat_accounts::account_data::{self, Scope};
use lamchat_accounts::tag;
use lamchat_base::{RoomNum, UserNum};
use lamchat_push::rules;
use lamchat_rooms::event::EventRow;
use lamchat_rooms::{log, membership, room, state};
use lamchat_store::{Read, ReadError, WriteTxn};
use ruma::{OwnedRoomId, OwnedUserId, RoomId};
use serde_json::Value;

/// The account data that tells direct chats from others.
const DIRECT: &str = "m.direct";

/// Tags, notifications, and that it is a direct chat.
///
/// "When a user joins the new room, the server should automatically transfer/replicate some of the user's personalized settings
/// such as notifications, tags, etc." (Matrix 1.16, "Room Upgrades") It spoils no join: what goes wrong is logged.
pub(crate) async fn carry_over(app: &App, user: UserNum, user_id: &OwnedUserId, room_id: &RoomId) {
    if let Err(error) = try_to(app, user, user_id, room_id).await {
        tracing::warn!(errcode = ?error.errcode, "what a user had set for a room was not carried over to its replacement");
    }
}

async fn try_to(app: &App, user: UserNum, user_id: &OwnedUserId, room_id: &RoomId) -> Result<(), ApiError> {
    let Some((old_id, old, new)) = replaced(&app.store.read(), user, room_id)? else {
        return Ok(());
    };
    let (user_id, new_id) = (user_id.clone(), room_id.to_owned());
    let carried = move |txn: &mut WriteTxn<'_>| -> Result<(), ApiError> {
        if tag::all(txn, user, new)?.is_empty() {
            for (name, info) in tag::all(txn, user, old)? {
                let info = info.as_object().cloned().unwrap_or_default();
                tag::set(txn, user, new, &name, info)?;
            }
        }
        if let Some(direct) = with_direct(txn, user, &old_id, &new_id)? {
            account_data::put(txn, user, Scope::Global, DIRECT, direct.to_string().as_bytes())?;
        }
        rules::copy_room(txn, user, &user_id, &old_id, &new_id)?;
        Ok(())
    };
    Ok(app.store.write(carried).await?)
}

/// The room that this one replaces, if the user has been in it and it says so itself: anybody can claim to follow a room.
fn replaced(
    read: &dyn Read,
    user: UserNum,
    room_id: &RoomId,
) -> Result<Option<(OwnedRoomId, RoomNum, RoomNum)>, ReadError> {
    let Some(new) = room::num(read, room_id)? else {
        return Ok(None);
    };
    let create = content(read, new, "m.room.create")?;
    let predecessor = create.pointer("/predecessor/room_id").and_then(Value::as_str);
    let Some(old_id) = predecessor.and_then(|id| RoomId::parse(id).ok()) else {
        return Ok(None);
    };
    let Some(old) = room::num(read, &old_id)? else {
        return Ok(None);
    };
    let tombstone = content(read, old, "m.room.tombstone")?;
    let follows = tombstone.get("replacement_room").and_then(Value::as_str) == Some(room_id.as_str());
    let was_there = membership::of(read, user, old)?.is_some_and(|member| !member.forgotten);
    Ok((follows && was_there).then_some((old_id, old, new)))
}

fn content(read: &dyn Read, room: RoomNum, event_type: &str) -> Result<Value, ReadError> {
    let Some(position) = state::current(read, room, event_type, "")? else {
        return Ok(Value::Null);
    };
    let bytes = log::known_event(read, position)?;
    Ok(serde_json::from_str(EventRow::decode(&bytes)?.content).unwrap_or_default())
}

/// `m.direct` with the new room beside the old one; `None` if nothing changes.
fn with_direct(read: &dyn Read, user: UserNum, old: &RoomId, new: &RoomId) -> Result<Option<Value>, ReadError> {
    let stored = account_data::content(read, user, Scope::Global, DIRECT)?;
    let Some(mut direct) = stored.and_then(|stored| serde_json::from_slice::<Value>(&stored).ok()) else {
        return Ok(None);
    };
    let has = |rooms: &[Value], id: &RoomId| rooms.iter().any(|room| room.as_str() == Some(id.as_str()));
    let mut is_changed = false;
    let users = direct.as_object_mut().into_iter().flat_map(|users| users.values_mut());
    for rooms in users.filter_map(Value::as_array_mut) {
        if has(rooms, old) && !has(rooms, new) {
            rooms.push(new.as_str().into());
            is_changed = true;
        }
    }
    Ok(is_changed.then_some(direct))
}
