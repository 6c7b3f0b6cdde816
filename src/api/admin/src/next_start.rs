//! Whether the next start of a box opens its keys by itself: told before somebody far away has it start again, because
//! then nobody may be there who types what it waits for.
//!
//! It is judged by the keyring's slots. Whether the TPM gives what a slot without a PIN asks it for is known at that start
//! only.

use crate::{Admin, AdminError, keyring};
use lamchat_holder::SlotSeal;
use lamchat_seal::{SlotInfo, SlotKind};
use serde_json::{Value, json};

/// How it will be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NextStart {
    /// It opens its keys by itself, as far as the slots tell.
    ByItself,
    /// It waits for the TPM's PIN.
    TpmPin,
    /// It waits for the recovery key or a passphrase: no slot opens by itself.
    RecoveryKey,
    /// The same, unless the keys were sealed since the last one: the TPM did not open them then.
    RecoveryKeyPerhaps,
    /// The key holder does not say.
    Unknown,
}

impl NextStart {
    /// By these slots; `unlocked_by`: what opened the keys at this start.
    fn of(slots: &[SlotInfo], seals: &[SlotSeal], unlocked_by: SlotKind) -> Self {
        let has = |kind| slots.iter().any(|slot| slot.kind == kind);
        if has(SlotKind::File) {
            return Self::ByItself;
        }
        // A slot whose blob is damaged has none.
        let mut tpm = seals.iter().filter(|seal| {
            slots
                .iter()
                .any(|slot| slot.id == seal.slot && slot.kind == SlotKind::Tpm)
        });
        if tpm.clone().next().is_none() {
            return Self::RecoveryKey;
        }
        if tpm.all(|seal| seal.pin) {
            Self::TpmPin
        } else if unlocked_by == SlotKind::Tpm {
            Self::ByItself
        } else {
            Self::RecoveryKeyPerhaps
        }
    }

    /// For programs, and a sentence for people.
    fn describe(self) -> Value {
        let (waits, what, sentence) = match self {
            Self::ByItself => return json!({"waits": false, "for": null, "sentence": null}),
            Self::TpmPin => (
                Some(true),
                Some("tpm-pin"),
                "its next start waits for the TPM PIN: nothing is served before somebody has typed it at the box's \
                 console, or the recovery key",
            ),
            Self::RecoveryKey => (
                Some(true),
                Some("recovery-key"),
                "its next start waits for the recovery key or a passphrase: nothing is served before somebody has typed \
                 it at the box's console",
            ),
            Self::RecoveryKeyPerhaps => (
                None,
                Some("recovery-key"),
                "the TPM did not open the keys at this start: unless they were sealed to it since, the next start waits \
                 for somebody who types the recovery key at the box's console, and nothing is served before",
            ),
            Self::Unknown => (
                None,
                None,
                "whether its next start waits for somebody at the box's console is not known: the key holder does not \
                 answer",
            ),
        };
        json!({"waits": waits, "for": what, "sentence": sentence})
    }
}

/// As JSON; null where there is no box, whose console somebody could be at.
pub(crate) async fn of_box(admin: &Admin) -> Value {
    if admin.updates.is_none() && admin.box_socket.is_none() {
        return Value::Null;
    }
    describe(admin).await
}

async fn describe(admin: &Admin) -> Value {
    // People's own acts go past this process: what it remembers may be old.
    admin.holder.forget_status();
    let told = keyring::ask(admin, |holder| holder.status()).await;
    let next = match told {
        Ok(told) => NextStart::of(&told.slots, &told.seals, admin.unlocked_by),
        // What was asked for is no worse for that.
        Err(AdminError { message, .. }) => {
            tracing::warn!(error = message.as_str(), "whether the next start waits is not known");
            NextStart::Unknown
        }
    };
    next.describe()
}

/// A box's answer with it, as `next_start`.
pub(crate) async fn told(admin: &Admin, mut answer: Value) -> Value {
    if let Value::Object(fields) = &mut answer {
        fields.insert("next_start".to_owned(), describe(admin).await);
    }
    answer
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "tests")]
    use super::*;

    fn slot(id: u32, kind: SlotKind) -> SlotInfo {
        SlotInfo {
            id,
            kind,
            verified_ms: None,
        }
    }

    fn seal(slot: u32, pin: bool) -> SlotSeal {
        SlotSeal {
            slot,
            pin,
            pcrs: vec![7],
            image: None,
        }
    }

    #[test]
    fn the_slots_tell_whether_a_start_waits() {
        let (file, recovery) = (slot(1, SlotKind::File), slot(2, SlotKind::Recovery));
        let (tpm, other) = (slot(3, SlotKind::Tpm), slot(4, SlotKind::Tpm));
        let by = |slots: &[&SlotInfo], seals: &[SlotSeal], by| {
            let slots: Vec<SlotInfo> = slots.iter().map(|slot| **slot).collect();
            NextStart::of(&slots, seals, by)
        };
        let (pin, none) = (seal(3, true), seal(4, false));
        assert_eq!(by(&[&file, &recovery], &[], SlotKind::File), NextStart::ByItself);
        assert_eq!(by(&[&recovery], &[], SlotKind::Recovery), NextStart::RecoveryKey);
        // Its blob is damaged.
        assert_eq!(by(&[&recovery, &tpm], &[], SlotKind::Tpm), NextStart::RecoveryKey);
        let both = [pin.clone(), none.clone()];
        for unlocked_by in [SlotKind::Tpm, SlotKind::Recovery] {
            assert_eq!(
                by(&[&recovery, &tpm], std::slice::from_ref(&pin), unlocked_by),
                NextStart::TpmPin
            );
        }
        assert_eq!(
            by(&[&recovery, &other], std::slice::from_ref(&none), SlotKind::Tpm),
            NextStart::ByItself
        );
        assert_eq!(
            by(&[&recovery, &tpm, &other], &both, SlotKind::Tpm),
            NextStart::ByItself
        );
        assert_eq!(
            by(&[&recovery, &other], &[none], SlotKind::Recovery),
            NextStart::RecoveryKeyPerhaps
        );
    }

    #[test]
    fn whoever_waits_for_somebody_says_so() {
        let told = |next: NextStart| {
            let told = next.describe();
            (
                told["waits"].as_bool(),
                told["for"].as_str().map(str::to_owned),
                told["sentence"].is_string(),
            )
        };
        let word = |word: &str| Some(word.to_owned());
        assert_eq!(told(NextStart::ByItself), (Some(false), None, false));
        assert_eq!(told(NextStart::TpmPin), (Some(true), word("tpm-pin"), true));
        assert_eq!(told(NextStart::RecoveryKey), (Some(true), word("recovery-key"), true));
        assert_eq!(told(NextStart::RecoveryKeyPerhaps), (None, word("recovery-key"), true));
        assert_eq!(told(NextStart::Unknown), (None, None, true));
    }
}
