//! How well the keys are protected, in words for their owner.

use crate::slot::{SlotInfo, SlotKind};

/// What to tell the owner at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// All slots.
    pub slots: Vec<SlotInfo>,
    /// Whether a TPM opens them, and nothing that lies on the disk does.
    pub hardware_sealed: bool,
    /// One or two plain sentences.
    pub sentence: &'static str,
}

impl Status {
    /// What these slots are worth.
    pub fn of(slots: Vec<SlotInfo>) -> Self {
        let has = |kind| slots.iter().any(|slot: &SlotInfo| slot.kind == kind);
        let sentence = if has(SlotKind::File) {
            "keys are not hardware-sealed: the file slot keeps their wrapping key beside them, so whoever copies the disk can read everything"
        } else if has(SlotKind::Tpm) {
            "keys are sealed: they open by this machine's TPM, by recovery key or by passphrase only"
        } else {
            "keys are not hardware-sealed: they open by recovery key or passphrase only"
        };
        Self {
            hardware_sealed: has(SlotKind::Tpm) && !has(SlotKind::File),
            slots,
            sentence,
        }
    }
}
