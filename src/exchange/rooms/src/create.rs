//! Creating rooms: all first events are built, then committed together with alias and publication in one write.

use crate::alias::{self, Alias};
use crate::append::{AppendError, ApplyError, Pending};
use crate::chain::{Chain, NewEvent};
use crate::content::{self, object};
use crate::directory;
use crate::membership::Membership;
use crate::rooms::{Caller, Rooms};
use lamchat_rules::{Object, Value, Version};
use lamchat_store::{CommitError, ReadError, WriteError};
use ruma::{OwnedRoomAliasId, OwnedRoomId, OwnedUserId, RoomAliasId, RoomId};
use std::sync::Arc;

/// Most users that can be invited while a room is created.
pub const INVITES_MAX: usize = 200;
/// Most state events that can be given to a new room.
pub const INITIAL_STATE_MAX: usize = 200;

/// How often a room whose id is taken is built again with another time.
const ATTEMPTS: usize = 4;

/// What a preset sets ("createRoom", table of presets).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// By invitation; the members are not equal.
    PrivateChat,
    /// By invitation; the invited have the power of the creator.
    TrustedPrivateChat,
    /// Open to everybody on the server.
    PublicChat,
}

/// A state event of a new room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitialState {
    /// The type.
    pub event_type: String,
    /// The state key.
    pub state_key: String,
    /// The content.
    pub content: Object,
}

/// A room to be created.
#[derive(Debug, Clone)]
pub struct NewRoom {
    /// The room version's id.
    pub version: String,
    /// The preset.
    pub preset: Preset,
    /// Whether the room is listed in the directory.
    pub is_published: bool,
    /// The part of the first alias before the colon.
    pub alias_localpart: Option<String>,
    /// The name.
    pub name: Option<String>,
    /// The topic.
    pub topic: Option<String>,
    /// Whom to invite.
    pub invite: Vec<OwnedUserId>,
    /// Whether the invitations say that this is a direct chat.
    pub is_direct: bool,
    /// More state, in this order.
    pub initial_state: Vec<InitialState>,
    /// More content of the create event.
    pub creation_content: Object,
    /// Members of the power levels event that replace the default ones.
    pub power_levels: Object,
}

/// Why a room was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// `M_UNSUPPORTED_ROOM_VERSION`.
    #[error("room version {0:?} is not supported")]
    UnsupportedVersion(String),
    /// `M_INVALID_PARAM`.
    #[error("{0:?} cannot be part of a room alias")]
    InvalidAlias(String),
    /// `M_ROOM_IN_USE`.
    #[error("the alias {0} is taken")]
    AliasInUse(OwnedRoomAliasId),
    /// More than [`INVITES_MAX`] or [`INITIAL_STATE_MAX`]: `M_INVALID_PARAM`.
    #[error("too many {0} at once")]
    TooMany(&'static str),
    /// The rules of the room version do not allow the state that was asked for: `M_INVALID_ROOM_STATE`.
    #[error("the room cannot begin like that: {0}")]
    InvalidState(String),
    /// An event could not be made for another reason.
    #[error(transparent)]
    Append(AppendError),
}

impl From<AppendError> for CreateError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Refused(why) | AppendError::BadContent(why) => Self::InvalidState(why),
            error => Self::Append(error),
        }
    }
}

impl From<ReadError> for CreateError {
    fn from(error: ReadError) -> Self {
        Self::Append(error.into())
    }
}

impl From<CommitError> for CreateError {
    fn from(error: CommitError) -> Self {
        Self::Append(error.into())
    }
}

impl From<ApplyError> for CreateError {
    fn from(error: ApplyError) -> Self {
        Self::Append(WriteError::Refused(error).into())
    }
}

impl Rooms {
    /// Creates a room and answers its id.
    pub async fn create(&self, caller: &Caller, new: NewRoom) -> Result<OwnedRoomId, CreateError> {
        let version =
            Version::find(&new.version).ok_or_else(|| CreateError::UnsupportedVersion(new.version.clone()))?;
        if new.invite.len() > INVITES_MAX {
            return Err(CreateError::TooMany("invitations"));
        }
        if new.initial_state.len() > INITIAL_STATE_MAX {
            return Err(CreateError::TooMany("state events"));
        }
        let alias = new
            .alias_localpart
            .as_deref()
            .map(|name| self.local_alias(name))
            .transpose()?;
        for _ in 0..ATTEMPTS {
            match self.create_once(caller, version, new.clone(), alias.clone()).await {
                Err(CreateError::Append(AppendError::Busy)) => {}
                created => return created,
            }
        }
        Err(CreateError::Append(AppendError::Busy))
    }

    async fn create_once(
        &self,
        caller: &Caller,
        version: &'static Version,
        new: NewRoom,
        alias: Option<OwnedRoomAliasId>,
    ) -> Result<OwnedRoomId, CreateError> {
        let is_published = new.is_published;
        let (room_id, pending) = self.first_events(caller, version, new, alias.as_deref())?;
        let pending = Arc::new(pending);
        let (creator, writing) = (caller.user, Arc::clone(&pending));
        let applied = self
            .store()
            .write(move |txn| {
                if let Some(alias) = &alias
                    && alias::find(txn, alias)?.is_some()
                {
                    return Err(CreateError::AliasInUse(alias.clone()));
                }
                let applied = writing.apply(txn)?;
                if let Some(alias) = &alias {
                    alias::put(
                        txn,
                        alias,
                        Alias {
                            room: applied.room,
                            creator,
                        },
                    )?;
                }
                if is_published {
                    directory::put(txn, applied.room);
                }
                Ok(applied)
            })
            .await
            .map_err(WriteError::flatten)?;
        if let Some(slot) = self.slot(&self.store().read(), &room_id)? {
            pending.remember(&slot, &applied);
            self.weigh(&slot);
        }
        Ok(room_id)
    }

    fn local_alias(&self, localpart: &str) -> Result<OwnedRoomAliasId, CreateError> {
        let invalid = || CreateError::InvalidAlias(localpart.to_owned());
        if localpart.is_empty() || localpart.contains([':', '\0']) || localpart.chars().any(char::is_whitespace) {
            return Err(invalid());
        }
        let alias = RoomAliasId::parse(format!("#{localpart}:{}", self.server_name())).map_err(|_| invalid())?;
        if alias.as_bytes().len() > lamchat_base::limits::ID_BYTES_MAX {
            Err(invalid())
        } else {
            Ok(alias)
        }
    }

    /// An id for a room whose version does not make one from the create event.
    pub(crate) fn random_room_id(&self, version: &Version) -> Result<Option<OwnedRoomId>, AppendError> {
        if version.has_hashed_room_id() {
            return Ok(None);
        }
        let id = format!("!{}:{}", self.entropy().alphanumeric(18), self.server_name());
        RoomId::parse(id)
            .map(Some)
            .map_err(|error| AppendError::BadContent(error.to_string()))
    }

    fn first_events(
        &self,
        caller: &Caller,
        version: &'static Version,
        new: NewRoom,
        alias: Option<&RoomAliasId>,
    ) -> Result<(OwnedRoomId, Pending), CreateError> {
        let mut chain = Chain::new(self, version, self.random_room_id(version)?);
        let trusted: &[OwnedUserId] = if new.preset == Preset::TrustedPrivateChat {
            &new.invite
        } else {
            &[]
        };
        let state = |event_type: &str, content: Object| NewEvent::state(event_type, "", content);

        let creators = if version.has_hashed_room_id() { trusted } else { &[] };
        let content = create_content(version, caller, new.creation_content, creators);
        chain.push(
            caller,
            NewEvent {
                origin_server_ts: Some(self.creation_ms()),
                ..state("m.room.create", content)
            },
        )?;
        let join = content::member(chain.read(), &caller.user_id, Membership::Join, None)?;
        chain.push(caller, NewEvent::state("m.room.member", caller.user_id.as_str(), join))?;

        let (given_levels, initial_state): (Vec<_>, Vec<_>) = new
            .initial_state
            .into_iter()
            .partition(|given| given.event_type == "m.room.power_levels" && given.state_key.is_empty());
        let mut levels = match given_levels.into_iter().next_back() {
            Some(given) => given.content,
            None => default_levels(version, caller, trusted, new.preset),
        };
        // "This object is applied on top of the generated m.room.power_levels event content".
        levels.extend(new.power_levels);
        chain.push(caller, state("m.room.power_levels", levels))?;

        if let Some(alias) = alias {
            chain.push(
                caller,
                state("m.room.canonical_alias", object([("alias", alias.as_str().into())])),
            )?;
        }
        let (join_rule, guests) = match new.preset {
            Preset::PrivateChat | Preset::TrustedPrivateChat => ("invite", "can_join"),
            Preset::PublicChat => ("public", "forbidden"),
        };
        let presets = [
            ("m.room.join_rules", "join_rule", join_rule),
            ("m.room.history_visibility", "history_visibility", "shared"),
            ("m.room.guest_access", "guest_access", guests),
        ];
        for (event_type, member, word) in presets {
            if !initial_state
                .iter()
                .any(|given| given.event_type == event_type && given.state_key.is_empty())
            {
                chain.push(caller, state(event_type, object([(member, word.into())])))?;
            }
        }
        for given in initial_state {
            if given.event_type == "m.room.create" {
                return Err(CreateError::InvalidState("a room is created once".to_owned()));
            }
            chain.push(
                caller,
                NewEvent::state(&given.event_type, &given.state_key, given.content),
            )?;
        }
        if let Some(name) = new.name {
            chain.push(caller, state("m.room.name", object([("name", name.into())])))?;
        }
        if let Some(topic) = new.topic {
            let text = Value::Object(object([("body", topic.as_str().into())]));
            let rich = Value::Object(object([("m.text", Value::Array(vec![text]))]));
            chain.push(
                caller,
                state("m.room.topic", object([("topic", topic.into()), ("m.topic", rich)])),
            )?;
        }
        let mut invited = Vec::new();
        for user in &new.invite {
            if user == &caller.user_id || invited.contains(&user) {
                continue;
            }
            invited.push(user);
            let mut content = content::member(chain.read(), user, Membership::Invite, None)?;
            if new.is_direct {
                content.insert("is_direct".to_owned(), true.into());
            }
            chain.push(caller, NewEvent::state("m.room.member", user.as_str(), content))?;
        }
        let room_id = chain.room_id()?.to_owned();
        let pending = chain.finish().ok_or(AppendError::NoSuchRoom)?;
        Ok((room_id, pending))
    }
}

/// The content of a create event.
pub(crate) fn create_content(
    version: &Version,
    creator: &Caller,
    given: Object,
    additional_creators: &[OwnedUserId],
) -> Object {
    let mut content = given;
    // "The server will clobber the following keys: creator, room_version."
    content.remove("creator");
    content.insert("room_version".to_owned(), version.id().into());
    if version.has_creator_in_content() {
        content.insert("creator".to_owned(), creator.user_id.as_str().into());
    }
    if !additional_creators.is_empty() {
        let named = content
            .entry("additional_creators".to_owned())
            .or_insert_with(|| Value::Array(Vec::new()));
        // "combine additional_creators specified here and the invite array [...], deduplicating between the two"
        if let Some(named) = named.as_array_mut() {
            for user in additional_creators {
                let user = Value::from(user.as_str());
                if !named.contains(&user) && user.as_str() != Some(creator.user_id.as_str()) {
                    named.push(user);
                }
            }
        }
    }
    content
}

fn default_levels(version: &Version, creator: &Caller, trusted: &[OwnedUserId], preset: Preset) -> Object {
    let level = |number: i32| Value::Integer(number.into());
    let is_hashed = version.has_hashed_room_id();
    let mut users = Object::new();
    if !is_hashed {
        for user in std::iter::once(&creator.user_id).chain(trusted) {
            users.insert(user.to_string(), level(100));
        }
    }
    let events = object([
        ("m.room.avatar", level(50)),
        ("m.room.canonical_alias", level(50)),
        ("m.room.encryption", level(100)),
        ("m.room.history_visibility", level(100)),
        ("m.room.name", level(50)),
        ("m.room.power_levels", level(100)),
        ("m.room.server_acl", level(100)),
        // "If the room's version is 12 or higher, the power level for sending m.room.tombstone events MUST explicitly be
        // higher than state_default. For example, set to 150 instead of 100."
        ("m.room.tombstone", level(if is_hashed { 150 } else { 100 })),
    ]);
    object([
        ("ban", level(50)),
        ("events", Value::Object(events)),
        ("events_default", level(0)),
        ("invite", level(if preset == Preset::PublicChat { 50 } else { 0 })),
        ("kick", level(50)),
        ("redact", level(50)),
        ("state_default", level(50)),
        ("users", Value::Object(users)),
        ("users_default", level(0)),
    ])
}
