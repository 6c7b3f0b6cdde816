//! Why the holder refuses something: a number on the wire, beside the sentence for people.

use crate::wire::MalformedError;

/// Why something was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// There is no such slot.
    UnknownSlot,
    /// It is not allowed, or not possible.
    NotAllowed,
    /// The wrong key.
    WrongKey,
    /// Wrong keys came before: wait.
    Slowed,
    /// The TPM.
    Tpm,
    /// The disk.
    Disk,
    /// The keyring cannot be used.
    Keyring,
    /// The keys are not open, or the exchange is not ready for it.
    NotNow,
    /// A head of the audit log that contradicts what was signed, or that nothing is known of what was.
    Fork,
    /// The exchange could not note it in the audit log.
    NotNoted,
    /// No backup can be made: there is no slot for it.
    NoPortableSlot,
}

impl Reason {
    const ALL: [(Self, u8); 11] = [
        (Self::UnknownSlot, 1),
        (Self::NotAllowed, 2),
        (Self::WrongKey, 3),
        (Self::Slowed, 4),
        (Self::Tpm, 5),
        (Self::Disk, 6),
        (Self::Keyring, 7),
        (Self::NotNow, 8),
        (Self::Fork, 9),
        (Self::NotNoted, 10),
        (Self::NoPortableSlot, 11),
    ];

    pub(super) fn code(self) -> u8 {
        let found = Self::ALL.iter().find(|(reason, _)| *reason == self);
        found.map_or(0, |(_, code)| *code)
    }

    pub(super) fn of(code: u8) -> Result<Self, MalformedError> {
        let found = Self::ALL.iter().find(|(_, known)| *known == code);
        found.map(|(reason, _)| *reason).ok_or(MalformedError)
    }
}
