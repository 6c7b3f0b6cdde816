//! Which events a user may see (Matrix 1.16, section 11.9 "Room History Visibility").
//!
//! Decided per event from the state at that event and from what the reader is to the room now.

use crate::event::EventRow;
use crate::log;
use crate::membership::{self, Member, Membership};
use crate::state;
use lamchat_base::{Position, RoomNum, UserNum};
use lamchat_store::{Read, ReadError};

/// The value of `history_visibility`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum History {
    /// Who was joined when the event was sent.
    Joined,
    /// Also who was invited then.
    Invited,
    /// Also who joined later.
    Shared,
    /// Everybody.
    WorldReadable,
}

impl History {
    /// From the content of an `m.room.history_visibility` event.
    ///
    /// "If there is no m.room.history_visibility event or its content is malformed, the visibility is assumed to be `shared`."
    pub fn of_content(content: &str) -> Self {
        #[derive(serde::Deserialize)]
        struct Content<'a> {
            #[serde(borrow)]
            history_visibility: std::borrow::Cow<'a, str>,
        }
        match serde_json::from_str::<Content<'_>>(content)
            .as_ref()
            .map(|content| content.history_visibility.as_ref())
        {
            Ok("joined") => Self::Joined,
            Ok("invited") => Self::Invited,
            Ok("world_readable") => Self::WorldReadable,
            _ => Self::Shared,
        }
    }

    /// The visibility in the state group `group`.
    pub fn at(read: &dyn Read, group: u64) -> Result<Self, ReadError> {
        match state::at(read, group, HISTORY_VISIBILITY, "")? {
            Some(position) => {
                let bytes = log::known_event(read, position)?;
                Ok(Self::of_content(EventRow::decode(&bytes)?.content))
            }
            None => Ok(Self::Shared),
        }
    }

    /// The visibility now.
    pub fn now(read: &dyn Read, room: RoomNum) -> Result<Self, ReadError> {
        match state::current(read, room, HISTORY_VISIBILITY, "")? {
            Some(position) => {
                let bytes = log::known_event(read, position)?;
                Ok(Self::of_content(EventRow::decode(&bytes)?.content))
            }
            None => Ok(Self::Shared),
        }
    }
}

/// The type of the event that sets the visibility.
pub(crate) const HISTORY_VISIBILITY: &str = "m.room.history_visibility";

/// What a reader is to a room now, and when they last joined it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// The membership row.
    pub member: Option<Member>,
    /// The newest event that says they are joined.
    pub last_join: Option<Position>,
}

/// Why a user may not look into a room.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// Not a member, never was one, or has forgotten the room: `M_FORBIDDEN`. Also given for rooms that do not exist.
    #[error("you are not a member of this room")]
    NotMember,
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Standing {
    /// What `user` is to `room`.
    pub fn of(read: &dyn Read, user: UserNum, room: RoomNum) -> Result<Self, ReadError> {
        let Some(member) = membership::of(read, user, room)? else {
            return Ok(Self::default());
        };
        let mut next = Some(member.position);
        if member.membership == Membership::Join {
            return Ok(Self {
                member: Some(member),
                last_join: next,
            });
        }
        while let Some(position) = next {
            let bytes = log::known_event(read, position)?;
            let row = EventRow::decode(&bytes)?;
            if log::membership_in(&row) == Membership::Join {
                break;
            }
            next = row.replaces.filter(|older| *older < position);
        }
        Ok(Self {
            member: Some(member),
            last_join: next,
        })
    }

    /// Whether the reader is in the room now.
    pub fn is_joined(&self) -> bool {
        self.member.is_some_and(|member| member.membership == Membership::Join)
    }

    /// Lets in who is joined, who was once (and has not forgotten the room), and everybody where the room is world-readable.
    pub fn admit(&self, read: &dyn Read, room: RoomNum) -> Result<(), LookError> {
        match self.member {
            Some(member) if member.forgotten => Err(LookError::NotMember),
            _ if self.last_join.is_some() => Ok(()),
            _ if History::now(read, room)? == History::WorldReadable => Ok(()),
            _ => Err(LookError::NotMember),
        }
    }

    /// The newest position that can matter to the reader: for who left, their leaving, unless the room is world-readable.
    pub fn horizon(&self, read: &dyn Read, room: RoomNum) -> Result<Option<Position>, ReadError> {
        match self.member {
            Some(member)
                if member.membership != Membership::Join && History::now(read, room)? != History::WorldReadable =>
            {
                Ok(Some(member.position))
            }
            _ => Ok(None),
        }
    }
}

/// Whether an event may be seen, from the visibility and the reader's membership at the event.
///
/// `joined_later`: whether the reader joined at any point after the event was sent.
pub fn may_see(history: History, membership: Membership, joined_later: bool) -> bool {
    // 1. "If the visibility was set to world_readable, allow."
    history == History::WorldReadable
        // 2. "If the user's membership was join, allow."
        || membership == Membership::Join
        // 3. "If history_visibility was set to shared, and the user joined the room at any point after the event was sent, allow."
        || (history == History::Shared && joined_later)
        // 4. "If the user's membership was invite, and the history_visibility was set to invited, allow." What is seen with
        //    `invited` is seen with `shared` by who joins; an invited user who has not joined reads nothing with it.
        || (membership == Membership::Invite && history == History::Invited)
    // 5. "Otherwise, deny."
}

#[cfg(test)]
mod tests {
    use super::{History, Membership, may_see};

    #[test]
    fn the_matrix_of_the_specification() {
        use History::*;
        for membership in Membership::ALL {
            for joined_later in [false, true] {
                assert!(may_see(WorldReadable, membership, joined_later));
                let joined = membership == Membership::Join;
                assert_eq!(may_see(Shared, membership, joined_later), joined || joined_later);
                assert_eq!(
                    may_see(Invited, membership, joined_later),
                    joined || membership == Membership::Invite
                );
                assert_eq!(may_see(Joined, membership, joined_later), joined);
            }
        }
    }

    #[test]
    fn malformed_content_counts_as_shared() {
        for content in [
            "{}",
            "[]",
            r#"{"history_visibility":7}"#,
            r#"{"history_visibility":"x"}"#,
        ] {
            assert_eq!(History::of_content(content), History::Shared);
        }
        assert_eq!(
            History::of_content(r#"{"history_visibility":"joined"}"#),
            History::Joined
        );
    }
}
