//! What the keys of a keyring are for, by the numbers of its format.

/// The purpose number of the database key, whose 64 bytes set it apart from [`Purpose`].
pub(crate) const DATABASE: u8 = 1;
/// The purpose number of [`Purpose::Secrets`].
pub(crate) const SECRETS: u8 = 3;
/// The purpose number of the keys that are never released.
pub(crate) const AUDIT: u8 = 5;
/// The purpose number of the key of a disk, 64 bytes: for process 1 of the box alone.
pub(crate) const DISK: u8 = 6;

/// What a data key encrypts. (The database has a longer one, [`ReleasedKey::Database`].)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Wraps the key of each media blob.
    Media,
    /// Small secrets of the server: signing key, TLS keys.
    Secrets,
    /// The content of events, kept apart from what must outlive it.
    Content,
}

impl Purpose {
    pub(crate) const ALL: [Self; 3] = [Self::Media, Self::Secrets, Self::Content];

    /// The number in the keyring's format.
    pub fn code(self) -> u8 {
        match self {
            Self::Media => 2,
            Self::Secrets => SECRETS,
            Self::Content => 4,
        }
    }

    /// The purpose with this number.
    pub fn of(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.code() == code)
    }
}
