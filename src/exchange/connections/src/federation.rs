//! Whether other servers are let in.
//!
//! What other servers send cannot be had again from anywhere once the keys are lost. Where a TPM has the keys, a broken
//! board loses them unless somebody has a recovery key that is known to be written down right. So federation waits for
//! that: it is closed as long as a `tpm` slot is there and no recovery key was typed back.

use lamchat_seal::{SlotInfo, SlotKind};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether federation is on, or why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Federation {
    /// Other servers are answered.
    On,
    /// The configuration has `[federation] enabled = false`.
    Disabled,
    /// No listener has the resource `federation`.
    NotOffered,
    /// A TPM has the keys, and nobody has typed the recovery key back.
    Unverified,
}

impl Federation {
    /// What it is with this configuration and these slots. `enabled`: `federation.enabled`; `offered`: whether any
    /// listener has the resource.
    pub fn of(enabled: bool, offered: bool, slots: &[SlotInfo]) -> Self {
        Self::decide(enabled, offered, awaits_recovery_key(slots))
    }

    fn decide(enabled: bool, offered: bool, awaits_recovery_key: bool) -> Self {
        match (enabled, offered, awaits_recovery_key) {
            (false, _, _) => Self::Disabled,
            (true, false, _) => Self::NotOffered,
            (true, true, true) => Self::Unverified,
            (true, true, false) => Self::On,
        }
    }

    /// Whether other servers are answered.
    pub fn is_on(self) -> bool {
        self == Self::On
    }

    /// For JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Disabled => "disabled",
            Self::NotOffered => "not-offered",
            Self::Unverified => "unverified",
        }
    }

    /// For people: a sentence without its full stop.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::On => "federation is on",
            Self::Disabled => "federation is off: the configuration says federation.enabled = false",
            Self::NotOffered => "federation is off: no listener has the resource \"federation\"",
            Self::Unverified => {
                "federation is off: a TPM has the keys, and nobody has typed the recovery key back, without which a \
                 broken board would lose everything; it comes on with `lamchat seal verify-recovery` (make a key first \
                 with `lamchat seal add-recovery`; on a box: the console's line for the recovery key)"
            }
        }
    }
}

/// Whether a TPM has the keys, and no recovery key is known to be written down right.
pub fn awaits_recovery_key(slots: &[SlotInfo]) -> bool {
    let has_tpm = slots.iter().any(|slot| slot.kind == SlotKind::Tpm);
    let is_verified = |slot: &SlotInfo| slot.kind == SlotKind::Recovery && slot.verified_ms.is_some();
    has_tpm && !slots.iter().any(is_verified)
}

/// Why federation is not switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "federation cannot be switched on: a TPM has the keys, and nobody has typed the recovery key back: `lamchat seal \
     verify-recovery` comes first"
)]
pub struct UnverifiedError;

/// Whether other servers are answered just now. Share it in an [`std::sync::Arc`].
#[derive(Debug)]
pub struct FederationGate {
    enabled: AtomicBool,
    offered: bool,
    awaits: AtomicBool,
}

impl FederationGate {
    /// Of a server that starts. It starts whatever the slots are: one that does not start helps nobody.
    pub fn new(enabled: bool, offered: bool, slots: &[SlotInfo]) -> Self {
        Self {
            enabled: AtomicBool::new(enabled),
            offered,
            awaits: AtomicBool::new(awaits_recovery_key(slots)),
        }
    }

    /// How it is.
    pub fn now(&self) -> Federation {
        let (enabled, awaits) = (&self.enabled, &self.awaits);
        Federation::decide(
            enabled.load(Ordering::Acquire),
            self.offered,
            awaits.load(Ordering::Acquire),
        )
    }

    /// How it is with these slots.
    pub fn with(&self, slots: &[SlotInfo]) -> Federation {
        Federation::of(self.enabled.load(Ordering::Acquire), self.offered, slots)
    }

    /// The keyring has these slots now. Answers how it was and how it is.
    pub fn learn(&self, slots: &[SlotInfo]) -> (Federation, Federation) {
        let before = self.now();
        self.awaits.store(awaits_recovery_key(slots), Ordering::Release);
        (before, self.now())
    }

    /// Whether the configuration may say `enabled` from now on, with these slots.
    ///
    /// # Errors
    /// It would switch federation on before the recovery key was typed back.
    pub fn check(&self, enabled: bool, slots: &[SlotInfo]) -> Result<(), UnverifiedError> {
        let switches_on = enabled && !self.enabled.load(Ordering::Acquire);
        if switches_on && awaits_recovery_key(slots) {
            return Err(UnverifiedError);
        }
        Ok(())
    }

    /// The configuration says so, and [`FederationGate::check`] had nothing against it.
    pub fn set_enabled(&self, enabled: bool) {
        self.enabled.store(enabled, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::{Federation, FederationGate, UnverifiedError, awaits_recovery_key};
    use lamchat_seal::{SlotInfo, SlotKind};

    fn slots(kinds: &[(SlotKind, Option<u64>)]) -> Vec<SlotInfo> {
        let numbered = kinds.iter().zip(1..);
        numbered
            .map(|((kind, verified_ms), id)| SlotInfo {
                id,
                kind: *kind,
                verified_ms: *verified_ms,
            })
            .collect()
    }

    const FILE: (SlotKind, Option<u64>) = (SlotKind::File, None);
    const PASSPHRASE: (SlotKind, Option<u64>) = (SlotKind::Passphrase, None);
    const TPM: (SlotKind, Option<u64>) = (SlotKind::Tpm, None);
    const NEW: (SlotKind, Option<u64>) = (SlotKind::Recovery, None);
    const TYPED_BACK: (SlotKind, Option<u64>) = (SlotKind::Recovery, Some(1));

    #[test]
    fn a_tpm_slot_waits_for_a_recovery_key_that_was_typed_back() {
        for (kinds, awaits) in [
            (&[][..], false),
            (&[FILE], false),
            (&[FILE, NEW], false),
            (&[PASSPHRASE, NEW], false),
            (&[TPM], true),
            (&[FILE, TPM], true),
            (&[NEW, TPM], true),
            (&[PASSPHRASE, TPM], true),
            (&[TYPED_BACK, TPM], false),
            (&[NEW, TYPED_BACK, TPM], false),
            (&[TPM, TYPED_BACK], false),
            (&[TYPED_BACK], false),
        ] {
            assert_eq!(awaits_recovery_key(&slots(kinds)), awaits, "{kinds:?}");
        }
    }

    #[test]
    fn federation_is_on_where_nothing_is_against_it() {
        let (good, bad) = (slots(&[TYPED_BACK, TPM]), slots(&[NEW, TPM]));
        for (enabled, offered, slots, is) in [
            (true, true, &good, Federation::On),
            (true, true, &bad, Federation::Unverified),
            (true, false, &good, Federation::NotOffered),
            (true, false, &bad, Federation::NotOffered),
            (false, true, &good, Federation::Disabled),
            (false, true, &bad, Federation::Disabled),
            (false, false, &bad, Federation::Disabled),
        ] {
            assert_eq!(Federation::of(enabled, offered, slots), is);
            assert_eq!(is.is_on(), is == Federation::On);
        }
    }

    #[test]
    fn the_gate_follows_the_slots_and_is_not_pushed_open() {
        let (good, bad) = (slots(&[TYPED_BACK, TPM]), slots(&[NEW, TPM]));
        let gate = FederationGate::new(true, true, &slots(&[FILE]));
        assert_eq!(gate.now(), Federation::On);
        assert_eq!(gate.learn(&bad), (Federation::On, Federation::Unverified));
        assert_eq!(gate.with(&good), Federation::On);
        // It is enabled, so nothing is switched on by saying so again.
        assert_eq!(gate.check(true, &bad), Ok(()));
        assert_eq!(gate.check(false, &bad), Ok(()));
        gate.set_enabled(false);
        assert_eq!(gate.now(), Federation::Disabled);
        assert_eq!(gate.check(true, &bad), Err(UnverifiedError));
        assert_eq!(gate.check(true, &good), Ok(()));
        gate.set_enabled(true);
        assert_eq!(gate.learn(&good), (Federation::Unverified, Federation::On));
    }
}
