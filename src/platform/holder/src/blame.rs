//! Whose doing it is that the keys do not open by themselves, as far as the TPM tells. Process 1 of the box decides by it
//! whether an earlier release would help.

use lamchat_seal::SealerReason;

/// Whose doing it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blame {
    /// Nobody's: nothing in the keyring opens by itself.
    Nobody,
    /// Nobody's either: the TPM would open them, and asks for its PIN.
    Pin,
    /// What was started, or the TPM did not answer it: another release may open them.
    Release,
    /// The machine's: its firmware's settings or its TPM are others than at sealing, so that no release opens them.
    Machine,
}

impl Blame {
    /// Of a TPM's refusal.
    pub(crate) fn of(reason: SealerReason) -> Self {
        match reason {
            SealerReason::PinNeeded | SealerReason::WrongPin => Self::Pin,
            SealerReason::Refused | SealerReason::Unavailable | SealerReason::Malformed => Self::Release,
            SealerReason::Firmware | SealerReason::Foreign => Self::Machine,
        }
    }

    /// Its byte in a frame.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Nobody => 0,
            Self::Release => 1,
            Self::Machine => 2,
            Self::Pin => 3,
        }
    }

    /// Of that byte.
    pub(crate) fn of_code(code: u8) -> Option<Self> {
        [Self::Nobody, Self::Pin, Self::Release, Self::Machine]
            .into_iter()
            .find(|blame| blame.code() == code)
    }
}
