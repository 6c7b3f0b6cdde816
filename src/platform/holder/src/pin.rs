//! A box's PIN beside its TPM: it covers the theft of the whole machine. The slot's blob says whether one is asked for, not
//! the configuration: that lies on data which are closed at the start.
//!
//! What must never happen here: that a box which asks for a PIN is sealed without one by anybody but the operator at its
//! console. So what the exchange asks for keeps the PIN that was typed since the start, or is refused.

use crate::act::check_pin;
use crate::image::SlotSeal;
use crate::notice::Act;
use crate::reply::{Force, PinUse, Reason, Reply, TpmStatus};
use crate::state::{Holder, Refusal};
use crate::tpm::ASKS;
use lamchat_base::SecretBytes;
use lamchat_seal::{Keyring, Mark, SecretError, SlotInfo, SlotKind};

/// The holder's own secret that said what [`Mark::Pin`] says now: one that is there still counts.
const RECORD: &str = "pin";

impl Holder {
    /// The TPM, with what a box's own slot says about the PIN.
    pub(crate) fn tpm_status(&self) -> TpmStatus {
        let mut status = self.setup.tpm.status.clone();
        if self.setup.on_box {
            status.pin = self.pin_use();
            if status.present && status.pin.asks() {
                status.sentence.push_str(ASKS);
            }
        }
        status
    }

    fn pin_use(&self) -> PinUse {
        // What cannot be read is no reason to seal without.
        if !self.asks_for_pin().unwrap_or(true) {
            return PinUse::None;
        }
        match *self.pin.lock() {
            Some(_) => PinUse::Kept,
            None => PinUse::Unknown,
        }
    }

    /// Whether a slot of the box asks for a PIN, or the last one did.
    fn asks_for_pin(&self) -> Result<bool, Refusal> {
        let (blobs, kept) = match self.keyring() {
            Ok(keyring) => {
                let kept = keyring.has_mark(Mark::Pin) || keyring.own(RECORD).map_err(unusable)?.is_some();
                (keyring.blobs(), kept)
            }
            Err(_) if self.has_keyring()? => (self.peek_blobs()?, false),
            Err(_) => (Vec::new(), false),
        };
        let asks = |(slot, blob): &(u32, Vec<u8>)| SlotSeal::of(*slot, blob).is_some_and(|seal| seal.pin);
        Ok(kept || blobs.iter().any(asks))
    }

    /// What the next seal asks for: the PIN that was typed for it, or on a box the one that it has.
    pub(crate) fn sealing_pin(&self, typed: Option<SecretBytes>) -> Option<SecretBytes> {
        typed.or_else(|| self.pin.lock().clone())
    }

    /// Somebody opened a box's keys by this PIN.
    pub(crate) fn remember_pin(&self, pin: &SecretBytes) {
        if self.setup.on_box {
            *self.pin.lock() = Some(pin.clone());
        }
    }

    /// Keeps in the keyring of a box that a PIN is asked for, before a slot goes that says so: one that is removed must not
    /// take it along, or whoever removes and adds one would be rid of it.
    pub(crate) fn keep_pin(&self, keyring: &Keyring) -> Result<(), Refusal> {
        if self.setup.on_box && self.asks_for_pin()? {
            keyring
                .set_marks(&[Mark::Pin])
                .map_err(|error| unusable(error.into()))?;
        }
        Ok(())
    }

    /// Seals the box's keys anew with this PIN, or with none any more. The operator at the console says so, whom process 1
    /// has let in.
    pub(crate) fn set_pin(&self, bootable: &[u64], pin: Option<SecretBytes>, uid: u32) -> Result<Reply, Refusal> {
        if let Some(pin) = &pin {
            check_pin(pin)?;
        }
        let status = self.tpm_status();
        if let Some((reason, sentence)) = status.refusal(Force::Never, status.pin.asks()) {
            return Err(Refusal(reason, sentence));
        }
        let slots = self.keyring()?.slots();
        let is_written_down = |slot: &SlotInfo| slot.kind == SlotKind::Recovery && slot.verified_ms.is_some();
        if pin.is_some() && !slots.iter().any(is_written_down) {
            let sentence = "type the recovery key back first: whoever forgets the PIN, or whose TPM takes none any more, has \
                            nothing else";
            return Err(Refusal(Reason::NotAllowed, sentence.to_owned()));
        }
        let known = slots.iter().find(|slot| slot.kind == SlotKind::Tpm).map(|slot| slot.id);
        let act = known.map_or(Act::AddSlot, |_| Act::Rebind);
        let mut notice = self.notice(act, uid, Some(SlotKind::Tpm));
        notice.slot = known;
        let seal = || self.seal_with(known, bootable, pin);
        self.noted(notice, seal).map(Reply::Slot)
    }

    fn seal_with(&self, slot: Option<u32>, bootable: &[u64], pin: Option<SecretBytes>) -> Result<SlotInfo, Refusal> {
        let keyring = self.keyring()?;
        if pin.is_none() {
            // Until the slot is sealed anew, it says itself that a PIN is asked for.
            keyring.take_mark(Mark::Pin).map_err(|error| unusable(error.into()))?;
            keyring.forget_own(RECORD).map_err(unusable)?;
        }
        let (sealed, left) = match slot {
            None => (self.add_sealed(bootable.iter().min().copied(), pin.clone())?, 0),
            Some(slot) => {
                let blob = keyring.blobs().into_iter().find(|(id, _)| *id == slot);
                let floor = blob.and_then(|(_, blob)| SlotSeal::of(slot, &blob)?.floor());
                self.bind(&keyring, slot, floor, pin.clone())?
            }
        };
        *self.pin.lock() = pin;
        if left > 0 {
            let sentence = "the keys are sealed anew, but the TPM keeps the seal of before for now, by which an older copy of \
                            the keyring opens: it goes when the keys are opened the next time";
            return Err(Refusal(Reason::Tpm, sentence.to_owned()));
        }
        Ok(sealed)
    }
}

fn unusable(error: SecretError) -> Refusal {
    Refusal(Reason::Disk, format!("whether the box asks for a PIN: {error}"))
}
