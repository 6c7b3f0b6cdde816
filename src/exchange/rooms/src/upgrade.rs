//! Upgrading: a new room of another version takes the place of an old one. Everything is committed in one write.

use crate::alias::{self, Alias};
use crate::append::{AppendError, ApplyError, Pending};
use crate::chain::{Chain, NewEvent};
use crate::content::{self, object};
use crate::create::{CreateError, create_content};
use crate::directory;
use crate::membership::Membership;
use crate::rooms::{Caller, Rooms};
use crate::state;
use lamchat_rules::{Object, Value, Version};
use lamchat_store::WriteError;
use ruma::{OwnedRoomId, OwnedUserId, RoomId};
use std::sync::Arc;

/// "The recommended state events to transfer"; bans and the children of spaces go along as well.
const TRANSFERRED: [&str; 8] = [
    "m.room.server_acl",
    "m.room.encryption",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.guest_access",
    "m.room.history_visibility",
    "m.room.join_rules",
];
/// Most bans and children of a space that are transferred.
const TRANSFERS_MAX: usize = 2000;
/// How often the old room may move on while the upgrade is being built.
const ATTEMPTS: usize = 4;

impl Rooms {
    /// Upgrades a room and answers the id of the new one. Errors are those of creating a room; who may not send
    /// `m.room.tombstone` gets [`CreateError::Append`] with [`AppendError::Refused`].
    pub async fn upgrade(
        &self,
        caller: &Caller,
        room: &RoomId,
        version: &str,
        additional_creators: &[OwnedUserId],
    ) -> Result<OwnedRoomId, CreateError> {
        let version = Version::find(version).ok_or_else(|| CreateError::UnsupportedVersion(version.to_owned()))?;
        let slot = self.known_slot(room).map_err(CreateError::Append)?;
        let old_num = slot.room.num;
        let _held = self.hold(&slot).await;
        for _ in 0..ATTEMPTS {
            let (id, old, new) = {
                let chain = Chain::on(self, &slot).map_err(CreateError::Append)?;
                self.both_rooms(caller, chain, version, additional_creators)?
            };
            let (old, new) = (Arc::new(old), Arc::new(new));
            let (writing_old, writing_new) = (Arc::clone(&old), Arc::clone(&new));
            let written = self
                .store()
                .write(move |txn| {
                    let old = writing_old.apply(txn)?;
                    let new = writing_new.apply(txn)?;
                    for alias in alias::of_room(txn, old_num)? {
                        if let Some(before) = alias::find(txn, &alias)? {
                            alias::put(
                                txn,
                                &alias,
                                Alias {
                                    room: new.room,
                                    creator: before.creator,
                                },
                            )?;
                        }
                    }
                    if directory::is_published(txn, old_num)? {
                        directory::remove(txn, old_num);
                        directory::put(txn, new.room);
                    }
                    Ok::<_, ApplyError>((old, new))
                })
                .await;
            match written {
                Ok((old_applied, new_applied)) => {
                    old.remember(&slot, &old_applied);
                    self.weigh(&slot);
                    if let Some(slot) = self.slot(&self.store().read(), &id)? {
                        new.remember(&slot, &new_applied);
                        self.weigh(&slot);
                    }
                    return Ok(id);
                }
                Err(WriteError::Refused(ApplyError::Moved)) => {}
                Err(error) => return Err(CreateError::Append(error.into())),
            }
        }
        Err(CreateError::Append(AppendError::Busy))
    }

    fn both_rooms(
        &self,
        caller: &Caller,
        mut old: Chain<'_>,
        version: &'static Version,
        additional_creators: &[OwnedUserId],
    ) -> Result<(OwnedRoomId, Pending, Pending), CreateError> {
        // "Checks that the user has permission to send m.room.tombstone events in the room."
        if !old
            .may_send_state(&caller.user_id, "m.room.tombstone")
            .map_err(CreateError::Append)?
        {
            let why = "you may not send m.room.tombstone events in this room".to_owned();
            return Err(CreateError::Append(AppendError::Refused(why)));
        }
        let mut new = Chain::new(self, version, self.random_room_id(version)?);
        let mut predecessor = object([("room_id", old.room_id()?.as_str().into())]);
        if !version.has_hashed_room_id() {
            let tombstone = push_tombstone(&mut old, caller, new.room_id()?.as_str()).map_err(CreateError::Append)?;
            predecessor.insert("event_id".to_owned(), tombstone.into());
        }
        self.push_new_room(caller, &old, &mut new, predecessor, additional_creators)?;
        let id = new.room_id()?.to_owned();
        if version.has_hashed_room_id() {
            push_tombstone(&mut old, caller, id.as_str()).map_err(CreateError::Append)?;
        }
        close_old_room(&mut old, caller).map_err(CreateError::Append)?;
        let unfinished = || CreateError::Append(AppendError::NoSuchRoom);
        Ok((
            id,
            old.finish().ok_or_else(unfinished)?,
            new.finish().ok_or_else(unfinished)?,
        ))
    }

    fn push_new_room(
        &self,
        caller: &Caller,
        old: &Chain<'_>,
        new: &mut Chain<'_>,
        predecessor: Object,
        additional_creators: &[OwnedUserId],
    ) -> Result<(), CreateError> {
        let version = new.version();
        let before = old.state_content("m.room.create", "")?;
        let mut given = object([("predecessor", Value::Object(predecessor))]);
        // "and a `type` field which is copied from the `predecessor` room", and whether others may take part.
        for name in ["type", "m.federate"] {
            if let Some(value) = before.get(name) {
                given.insert(name.to_owned(), value.clone());
            }
        }
        // "When upgrading to a room version which doesn't support additional creators, this field is ignored".
        let creators = if version.has_hashed_room_id() {
            additional_creators
        } else {
            &[]
        };
        let create = NewEvent::state("m.room.create", "", create_content(version, caller, given, creators));
        new.push(
            caller,
            NewEvent {
                origin_server_ts: Some(self.creation_ms()),
                ..create
            },
        )?;
        let join = content::member(new.read(), &caller.user_id, Membership::Join, None)?;
        new.push(caller, NewEvent::state("m.room.member", caller.user_id.as_str(), join))?;

        let levels = new_levels(caller, old, version, creators)?;
        let first = if version.has_hashed_room_id() {
            levels.clone()
        } else {
            raised(&levels, caller)
        };
        new.push(caller, NewEvent::state("m.room.power_levels", "", first))?;
        for event_type in TRANSFERRED {
            if old.state(event_type, "")?.is_some() {
                new.push(
                    caller,
                    NewEvent::state(event_type, "", old.state_content(event_type, "")?),
                )?;
            }
        }
        if old.state("m.room.canonical_alias", "")?.is_some() {
            let aliases = old.state_content("m.room.canonical_alias", "")?;
            new.push(caller, NewEvent::state("m.room.canonical_alias", "", aliases))?;
        }
        let old_num = old.room_num()?;
        if before.get("type").and_then(|kind| kind.as_str()) == Some("m.space") {
            for child in state::current_of_type(old.read(), old_num, "m.space.child")?
                .into_keys()
                .take(TRANSFERS_MAX)
            {
                let content = old.state_content("m.space.child", &child)?;
                if !content.is_empty() {
                    new.push(caller, NewEvent::state("m.space.child", &child, content))?;
                }
            }
        }
        for banned in crate::membership::members(old.read(), old_num, Membership::Ban, TRANSFERS_MAX)? {
            let banned = lamchat_accounts::user::known_id(old.read(), banned)?;
            let content = old.state_content("m.room.member", banned.as_str())?;
            // Whom the upgrader could not ban in the new room, the new room is not closed to.
            match new.push(caller, NewEvent::state("m.room.member", banned.as_str(), content)) {
                Ok(_) | Err(AppendError::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // A no-op if the upgrader's level did not have to be raised.
        new.push_state(caller, NewEvent::state("m.room.power_levels", "", levels))?;
        Ok(())
    }
}

fn push_tombstone(old: &mut Chain<'_>, caller: &Caller, replacement: &str) -> Result<String, AppendError> {
    let content = object([
        ("body", "This room has been replaced".into()),
        ("replacement_room", replacement.into()),
    ]);
    old.push(caller, NewEvent::state("m.room.tombstone", "", content))
}

/// "If possible, the power levels in the old room should also be modified to prevent sending of events and inviting new
/// users. For example, setting events_default and invite to the greater of 50 and users_default + 1." The aliases are the new
/// room's from now on.
fn close_old_room(old: &mut Chain<'_>, caller: &Caller) -> Result<(), AppendError> {
    let mut steps = Vec::new();
    if old.state("m.room.canonical_alias", "")?.is_some() {
        steps.push(NewEvent::state("m.room.canonical_alias", "", Object::new()));
    }
    let (users_default, _) = old.power()?.users_and_events_default()?;
    let restricted = users_default.saturating_add(1).max(50);
    let mut levels = old.state_content("m.room.power_levels", "")?;
    for name in ["events_default", "invite"] {
        let level = levels.get(name).and_then(integer).unwrap_or(0).max(restricted);
        levels.insert(name.to_owned(), number(level));
    }
    steps.push(NewEvent::state("m.room.power_levels", "", levels));
    for step in steps {
        match old.push(caller, step) {
            Ok(_) | Err(AppendError::Refused(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// The power levels of the old room as the new version wants them.
fn new_levels(
    caller: &Caller,
    old: &Chain<'_>,
    version: &Version,
    additional_creators: &[OwnedUserId],
) -> Result<Object, CreateError> {
    let mut levels = old.state_content("m.room.power_levels", "")?;
    if version.has_integer_power_levels() {
        // Before version 10 a level could be a string of digits.
        levels = levels
            .into_iter()
            .map(|(name, value)| (name, with_integers(value)))
            .collect();
    }
    let mut users = levels
        .remove("users")
        .and_then(|users| users.as_object().cloned())
        .unwrap_or_default();
    if version.has_hashed_room_id() {
        // "Creators ... MUST NOT appear in the users property" (room version 12).
        for creator in std::iter::once(&caller.user_id).chain(additional_creators) {
            users.remove(creator.as_str());
        }
        let mut events = levels
            .remove("events")
            .and_then(|events| events.as_object().cloned())
            .unwrap_or_default();
        let state_default = levels.get("state_default").and_then(integer).unwrap_or(50);
        let tombstone = events.get("m.room.tombstone").and_then(integer).unwrap_or(0);
        events.insert(
            "m.room.tombstone".to_owned(),
            number(tombstone.max(150).max(state_default.saturating_add(1))),
        );
        levels.insert("events".to_owned(), Value::Object(events));
    } else if old.version().has_hashed_room_id() || old.state("m.room.power_levels", "")?.is_none() {
        // What was power by creation becomes power by number.
        for creator in old.power()?.creators() {
            users.insert(creator.to_string(), number(100));
        }
    }
    levels.insert("users".to_owned(), Value::Object(users));
    Ok(levels)
}

/// The same levels with enough power for the upgrader to set up the room.
fn raised(levels: &Object, caller: &Caller) -> Object {
    let mut levels = levels.clone();
    let mut needed = 100;
    let named = levels
        .iter()
        .filter(|(name, _)| *name != "users" && *name != "notifications")
        .map(|(_, value)| value);
    for value in named {
        let inner = value.as_object().into_iter().flat_map(|events| events.values());
        needed = std::iter::once(value)
            .chain(inner)
            .filter_map(integer)
            .fold(needed, i64::max);
    }
    if let Some(users) = levels.get_mut("users").and_then(|users| users.as_object_mut()) {
        let own = users.get(caller.user_id.as_str()).and_then(integer).unwrap_or(0);
        if own < needed {
            users.insert(caller.user_id.to_string(), number(needed));
        }
    }
    levels
}

fn with_integers(value: Value) -> Value {
    match value {
        Value::String(text) => text.trim().parse().map_or(Value::String(text), number),
        Value::Object(members) => Value::Object(
            members
                .into_iter()
                .map(|(name, value)| (name, with_integers(value)))
                .collect(),
        ),
        value => value,
    }
}

fn integer(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(number) => Some((*number).into()),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn number(level: i64) -> Value {
    Value::Integer(ruma::Int::new_saturating(level))
}
