//! Setting state.

use crate::alias;
use crate::append::AppendError;
use crate::chain::{Chain, NewEvent};
use crate::guest;
use crate::join::push_join;
use crate::rooms::{Caller, Rooms};
use lamchat_rules::Object;
use lamchat_store::ReadError;
use ruma::{OwnedRoomAliasId, RoomAliasId, RoomId};

/// Why a state event was not made.
#[derive(Debug, thiserror::Error)]
pub enum PutStateError {
    /// A room is created once: `M_FORBIDDEN`.
    #[error("a room is created once")]
    Create,
    /// An alias in `m.room.canonical_alias` is none: `M_INVALID_PARAM`.
    #[error("{0:?} is not a room alias")]
    InvalidAlias(String),
    /// An alias in `m.room.canonical_alias` does not lead to this room: `M_BAD_ALIAS`.
    #[error("{0} does not lead to this room")]
    BadAlias(OwnedRoomAliasId),
    /// The event could not be made.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl From<ReadError> for PutStateError {
    fn from(error: ReadError) -> Self {
        Self::Append(error.into())
    }
}

impl Rooms {
    /// Sets state and answers the event id; that of the present event if the same sender has said the same before.
    pub async fn put_state(
        &self,
        caller: &Caller,
        room: &RoomId,
        event_type: &str,
        state_key: &str,
        content: Object,
    ) -> Result<String, PutStateError> {
        if event_type == "m.room.create" {
            return Err(PutStateError::Create);
        }
        let slot = self.known_slot(room)?;
        self.change(&slot, |chain| {
            match event_type {
                "m.room.canonical_alias" => check_aliases(chain, &content)?,
                "m.room.member"
                    if state_key == caller.user_id.as_str()
                        && content.get("membership").and_then(|word| word.as_str()) == Some("join") =>
                {
                    return Ok(push_join(chain, caller, content.clone())?);
                }
                _ => {}
            }
            let event_id = chain.push_state(caller, NewEvent::state(event_type, state_key, content.clone()))?;
            if event_type == guest::ACCESS && state_key.is_empty() && !guest::may_join(&content) {
                guest::remove_all(chain)?;
            }
            Ok(event_id)
        })
        .await
    }
}

/// "alias, alt_aliases: ... servers should check that newly added aliases point at the room" (`M_BAD_ALIAS`).
fn check_aliases(chain: &Chain<'_>, content: &Object) -> Result<(), PutStateError> {
    let before = named_aliases(&chain.state_content("m.room.canonical_alias", "")?);
    for name in named_aliases(content) {
        if before.contains(&name) {
            continue;
        }
        let alias = RoomAliasId::parse(&name).map_err(|_| PutStateError::InvalidAlias(name))?;
        let target = alias::find(chain.read(), &alias)?;
        if target.map(|target| target.room) != Some(chain.room_num()?) {
            return Err(PutStateError::BadAlias(alias));
        }
    }
    Ok(())
}

fn named_aliases(content: &Object) -> Vec<String> {
    let first = content.get("alias");
    let others = content
        .get("alt_aliases")
        .and_then(|aliases| aliases.as_array())
        .unwrap_or_default();
    first
        .into_iter()
        .chain(others)
        .filter_map(|alias| alias.as_str())
        .filter(|alias| !alias.is_empty())
        .map(str::to_owned)
        .collect()
}
