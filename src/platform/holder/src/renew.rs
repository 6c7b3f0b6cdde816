//! Taking the file slot out, and with it everything that a copy of the folder from before could open.

use crate::open::recovery_key;
use crate::reply::{Reason, Reply};
use crate::state::{Holder, Keys, Refusal, refused_slot, refused_to_open_reason};
use lamchat_base::SecretBytes;
use lamchat_seal::{RenewError, SlotError, SlotInfo, SlotKey, SlotKind};
use std::sync::Arc;

impl Holder {
    /// Replaces the keyring by one without this file slot, under a new master key. `typed`: what opens each other slot,
    /// by its number; a TPM's without a PIN may be left out. The file slot is answered, as it was.
    pub(crate) fn renew(&self, slot: u32, typed: &[(u32, SecretBytes)]) -> Result<SlotInfo, Refusal> {
        let keyring = self.keyring()?;
        let slots = keyring.slots();
        let file = slots
            .iter()
            .find(|known| known.id == slot && known.kind == SlotKind::File);
        let file = *file.ok_or_else(|| refused_slot(SlotError::Unknown(slot)))?;
        let guess = self.guess()?;
        let mut keys = Vec::new();
        for known in slots.iter().filter(|known| known.id != slot) {
            let text = typed.iter().find(|(of, _)| *of == known.id).map(|(_, text)| text);
            if let Some(key) = self.slot_key(known, text)? {
                keys.push((known.id, key));
            }
        }
        let now_ms = self.setup.clock.now_ms();
        let renewed = match keyring.renew(slot, &keys, now_ms) {
            Ok(renewed) => renewed,
            Err(error) => {
                let reason = reason(&error);
                if reason == Reason::WrongKey {
                    guess.wrong(now_ms);
                }
                return Err(Refusal(reason, error.to_string()));
            }
        };
        guess.right();
        if let Keys::Open { keyring, .. } = &mut *self.keys.lock() {
            *keyring = Arc::new(renewed);
        }
        self.forget_notary();
        Ok(file)
    }

    /// What opens a slot that stays; `None` if it was not typed.
    fn slot_key(&self, slot: &SlotInfo, typed: Option<&SecretBytes>) -> Result<Option<SlotKey>, Refusal> {
        Ok(match (slot.kind, typed) {
            (SlotKind::Tpm, pin) => self.setup.tpm.sealer(pin.cloned()).map(SlotKey::Tpm),
            (SlotKind::Passphrase, Some(passphrase)) => Some(SlotKey::Passphrase(passphrase.clone())),
            (SlotKind::Recovery, Some(text)) => {
                let key = recovery_key(text)?;
                let none = || {
                    Refusal(
                        Reason::NotAllowed,
                        "this is no recovery key, which has 48 digits".to_owned(),
                    )
                };
                Some(SlotKey::Recovery(key.ok_or_else(none)?))
            }
            _ => None,
        })
    }

    /// The exchange has encrypted everything anew: the former keys go.
    pub(crate) fn forget_former(&self) -> Result<Reply, Refusal> {
        let forgotten = self.keyring()?.forget_former();
        forgotten
            .map(|()| Reply::Done)
            .map_err(|error| Refusal(Reason::Disk, error.to_string()))
    }
}

fn reason(error: &RenewError) -> Reason {
    match error {
        RenewError::NotFile(_) => Reason::UnknownSlot,
        RenewError::Alone | RenewError::Missing { .. } => Reason::NotAllowed,
        RenewError::Slot { source, .. } => refused_to_open_reason(source),
        RenewError::Keyring(_) => Reason::Keyring,
        RenewError::Io(_) => Reason::Disk,
    }
}
