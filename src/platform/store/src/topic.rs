//! Who wants to know about what: waiting for commits that touch something.

/// Something that changes and that somebody may wait for: a kind (declared by the crate that owns it) and a number.
///
/// Kinds: 1 a room (rooms), 2 a user (accounts: account data, to-device, device lists, invites), 3 a media blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Topic {
    /// What sort of thing.
    pub kind: u16,
    /// Which of them.
    pub id: u64,
}

impl Topic {
    /// A room, by its number.
    pub const fn room(room: lamchat_base::RoomNum) -> Self {
        Self { kind: 1, id: room.0 as u64 }
    }

    /// A user, by number.
    pub const fn user(user: lamchat_base::UserNum) -> Self {
        Self { kind: 2, id: user.0 as u64 }
    }
}

/// A registration for topics, made by [`crate::Store::watch`] *before* the snapshot is taken,
/// so that no change falls between reading and waiting.
#[derive(Debug)]
pub struct Watch {
    pub(crate) _todo: (),
}

impl Watch {
    /// Ends as soon as one of the topics was touched by a published commit (or `Store::notify`) after the registration or after the
    /// last time this method returned.
    pub async fn changed(&mut self) {
        std::future::pending().await
    }
}
