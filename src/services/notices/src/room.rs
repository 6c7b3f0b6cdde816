//! The room: made when there is something to tell, and kept in step with who is an administrator.

use crate::notices::NoticeError;
use lamchat_accounts::account::{self, Account};
use lamchat_accounts::{profile, tag, user};
use lamchat_base::{RoomNum, UserNum};
use lamchat_identity::localpart::NOTICES;
use lamchat_rooms::create::{NewRoom, Preset};
use lamchat_rooms::{Caller, Membership, Rooms, membership, room};
use lamchat_rules::Object;
use lamchat_store::{Read, ReadError, Store, WriteError};
use ruma::{OwnedUserId, RoomId, ServerName, UserId};
use serde_json::{Map, Value, json};

/// "Servers must identify this room to clients by the `m.server_notice` tag" (Matrix 1.16, "Server Notices").
const TAG: &str = "m.server_notice";
/// The newest version that all clients of today know.
const VERSION: &str = "11";
/// Accounts that are looked at at once.
const PAGE: usize = 500;
/// Most administrators who are told.
const ADMINISTRATORS_MAX: usize = 200;
/// What nobody but the server may do in the room.
const NOBODY: i64 = 100;

/// The room's users and the way to it.
pub(crate) struct NoticeRoom {
    pub(crate) store: Store,
    pub(crate) rooms: Rooms,
}

/// The id of the sender.
fn sender(server_name: &ServerName) -> Result<OwnedUserId, NoticeError> {
    UserId::parse(format!("@{NOTICES}:{server_name}")).map_err(|error| NoticeError::Refused(error.to_string()))
}

/// The room, if there is one: the only one that its sender is in.
fn find(read: &dyn Read, server_name: &ServerName) -> Result<Option<RoomNum>, NoticeError> {
    let Some(user) = user::num(read, &sender(server_name)?)? else {
        return Ok(None);
    };
    // Somebody of an earlier version may have that name; their rooms are not ours.
    if account::one(read, user)?.is_some() {
        return Err(NoticeError::NameTaken);
    }
    Ok(membership::joined_rooms(read, user)?.into_iter().next())
}

/// Whether `room` is the server's own, which an administrator cannot leave: `M_CANNOT_LEAVE_SERVER_NOTICE_ROOM`.
pub fn is_room(read: &dyn Read, server_name: &ServerName, room: &RoomId) -> Result<bool, ReadError> {
    let (Some(num), Ok(Some(own))) = (room::num(read, room)?, find(read, server_name)) else {
        return Ok(false);
    };
    Ok(num == own)
}

/// Whether the server tells this account its notices: an administrator's.
pub fn is_told(account: &Account) -> bool {
    let standing = account.standing;
    standing.is_admin() && !standing.is_deactivated()
}

impl NoticeRoom {
    fn administrators(&self) -> Result<Vec<Account>, ReadError> {
        let read = self.store.read();
        let (mut all, mut from) = (Vec::new(), UserNum(0));
        loop {
            let page = account::list(&read, from, PAGE)?;
            let is_last = page.len() < PAGE;
            let next = page.last().map(|account| UserNum(account.user.0.saturating_add(1)));
            all.extend(page.into_iter().filter(is_told));
            match next {
                Some(next) if !is_last && all.len() < ADMINISTRATORS_MAX => from = next,
                _ => break,
            }
        }
        all.truncate(ADMINISTRATORS_MAX);
        Ok(all)
    }

    /// The sender, who is known from now on.
    async fn caller(&self) -> Result<Caller, NoticeError> {
        let id = sender(self.rooms.server_name())?;
        let (wanted, name) = (id.clone(), format!("Notices of {}", self.rooms.server_name()));
        let user = self
            .store
            .write(move |txn| {
                let user = user::num_or_insert(txn, &wanted)?;
                if account::one(txn, user)?.is_some() {
                    return Err(NoticeError::NameTaken);
                }
                profile::set(txn, user, profile::DISPLAYNAME, &Value::String(name))
                    .map_err(|error| NoticeError::Refused(error.to_string()))?;
                Ok(user)
            })
            .await
            .map_err(WriteError::flatten)?;
        Ok(Caller {
            user,
            user_id: id,
            device: None,
        })
    }

    /// Makes the room if it is wanted and there is somebody to tell; invites whoever is an administrator and removes who
    /// is none any more. Answers the sender and the room; `None`: there is none.
    pub(crate) async fn keep(&self, is_wanted: bool) -> Result<Option<(Caller, RoomNum)>, NoticeError> {
        let known = find(&self.store.read(), self.rooms.server_name())?;
        let administrators = self.administrators()?;
        if known.is_none() && (!is_wanted || administrators.is_empty()) {
            return Ok(None);
        }
        let caller = self.caller().await?;
        let num = match known {
            Some(num) => num,
            None => self.make(&caller).await?,
        };
        let id = room::by_num(&self.store.read(), num)?.id.clone();
        for administrator in &administrators {
            let known = membership::of(&self.store.read(), administrator.user, num)?;
            let is_there = known.is_some_and(|member| {
                matches!(
                    member.membership,
                    Membership::Join | Membership::Invite | Membership::Ban
                )
            });
            // One who takes no invitations must not keep the others from being told.
            if !is_there && let Err(error) = self.rooms.invite(&caller, &id, &administrator.user_id, None).await {
                tracing::warn!(%error, "an administrator could not be invited to the room of notices");
                continue;
            }
            self.tag(administrator.user, num).await?;
        }
        self.remove_others(&caller, num, &id, &administrators).await?;
        Ok(Some((caller, num)))
    }

    async fn make(&self, caller: &Caller) -> Result<RoomNum, NoticeError> {
        let levels = json!({"events_default": NOBODY, "state_default": NOBODY, "invite": NOBODY, "kick": NOBODY,
                            "ban": NOBODY, "redact": NOBODY});
        let new = NewRoom {
            version: VERSION.to_owned(),
            preset: Preset::PrivateChat,
            is_published: false,
            alias_localpart: None,
            name: Some(format!("Notices of {}", self.rooms.server_name())),
            topic: Some("What the server tells its administrators, in plain text".to_owned()),
            invite: Vec::new(),
            is_direct: false,
            initial_state: Vec::new(),
            creation_content: Object::new(),
            power_levels: object(&levels)?,
        };
        let id = self.rooms.create(caller, new).await;
        let id = id.map_err(|error| NoticeError::Refused(error.to_string()))?;
        room::num(&self.store.read(), &id)?.ok_or(NoticeError::Refused("the room is not there".to_owned()))
    }

    async fn tag(&self, administrator: UserNum, num: RoomNum) -> Result<(), NoticeError> {
        if tag::all(&self.store.read(), administrator, num)?.contains_key(TAG) {
            return Ok(());
        }
        let tagged = self
            .store
            .write(move |txn| tag::set(txn, administrator, num, TAG, Map::new()))
            .await;
        match tagged {
            Ok(()) => Ok(()),
            Err(WriteError::Refused(error)) => Err(NoticeError::Refused(error.to_string())),
            Err(WriteError::Commit(error)) => Err(error.into()),
        }
    }

    async fn remove_others(
        &self,
        caller: &Caller,
        num: RoomNum,
        id: &RoomId,
        administrators: &[Account],
    ) -> Result<(), NoticeError> {
        for kind in [Membership::Join, Membership::Invite] {
            for user in membership::members(&self.store.read(), num, kind, usize::MAX)? {
                let stays = user == caller.user || administrators.iter().any(|known| known.user == user);
                if stays {
                    continue;
                }
                let target = user::known_id(&self.store.read(), user)?;
                let removed = self.rooms.kick(caller, id, &target, None).await;
                removed.map_err(|error| NoticeError::Refused(error.to_string()))?;
            }
        }
        Ok(())
    }

    /// Sends a message.
    pub(crate) async fn send(&self, caller: &Caller, num: RoomNum, body: &str) -> Result<(), NoticeError> {
        let id = room::by_num(&self.store.read(), num)?.id.clone();
        // "server_notice_type" is required; the one that the specification defines is about usage limits.
        let content = json!({
            "msgtype": "m.server_notice",
            "server_notice_type": "org.lamchat.alarm",
            "body": body,
        });
        let message = lamchat_rooms::send::Message {
            room: &id,
            event_type: "m.room.message",
            content: object(&content)?,
            transaction_id: "",
            origin_server_ts: None,
        };
        let sent = self.rooms.send(caller, message).await;
        sent.map(drop).map_err(|error| NoticeError::Refused(error.to_string()))
    }
}

fn object(value: &Value) -> Result<Object, NoticeError> {
    serde_json::from_value(value.clone()).map_err(|error| NoticeError::Refused(error.to_string()))
}
