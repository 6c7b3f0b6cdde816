//! Raising the security floor: releases of lower epochs, with a fault that is known by now, open the keys no more.

use crate::image::SlotSeal;
use crate::reply::Reason;
use crate::state::{Holder, Refusal, refused_key};
use lamchat_base::SecretBytes;
use lamchat_seal::{Keyring, SecretError, SlotInfo};

/// The holder's own secret with the floor of a box: 8 bytes, big-endian. A slot that is removed must not take it along,
/// or whoever removes and adds one would lower it. The keyring has it as well, since a secret can be deleted; this one is for
/// programs of before.
const RECORD: &str = "floor";

impl Holder {
    /// Seals every slot under the image's policy anew at the epoch `floor`, then takes what the TPM keeps for the blobs of
    /// before. `bootable`: the epochs of all images that this machine may start, none of which may be lower: it could not
    /// open the keys any more. Answers the last of the slots.
    pub(crate) fn raise_floor(
        &self,
        floor: u64,
        bootable: &[u64],
        force: bool,
        pin: Option<&SecretBytes>,
    ) -> Result<SlotInfo, Refusal> {
        self.may_seal(force, pin.is_some())?;
        let keyring = self.keyring()?;
        let lower = self.lower(&keyring, floor, bootable)?;
        let pin = self.sealing_pin(pin.cloned());
        let (mut raised, mut left) = (None, 0);
        for slot in lower {
            let (slot, still) = self.bind(&keyring, slot, Some(floor), pin.clone())?;
            (raised, left) = (Some(slot), still);
        }
        if left > 0 {
            let sentence = format!(
                "the slots are sealed at floor {floor}, but the TPM keeps {left} of the seals of before for now, by which an \
                 older copy of the keyring opens: they go when the keys are opened the next time"
            );
            return Err(Refusal(Reason::Tpm, sentence));
        }
        raised.ok_or_else(|| not_allowed("no slot is under the image's policy".to_owned()))
    }

    /// The floor that was raised, or that slots have.
    pub(crate) fn floor(&self, keyring: &Keyring) -> Result<Option<u64>, Refusal> {
        let blobs = keyring.blobs();
        let seals = blobs.iter().filter_map(|(slot, blob)| SlotSeal::of(*slot, blob));
        let of_slots = seals.filter_map(|seal| seal.floor()).max();
        if !self.setup.on_box {
            return Ok(of_slots);
        }
        let kept = keyring.own(RECORD).map_err(unusable)?;
        let kept = kept.map(|kept| <[u8; 8]>::try_from(kept.expose()));
        let damaged = |_| {
            Refusal(
                Reason::Keyring,
                "the record of the security floor is damaged".to_owned(),
            )
        };
        let kept = kept.transpose().map_err(damaged)?.map(u64::from_be_bytes);
        let marked = keyring.floor().map_err(refused_key)?;
        Ok(of_slots.max(kept).max(marked))
    }

    /// Keeps on a box the floor that its slots have, one of which is about to go. As long as there is one, it knows.
    pub(crate) fn keep_floor(&self, keyring: &Keyring) -> Result<(), Refusal> {
        match self.floor(keyring)? {
            Some(floor) if self.setup.on_box => {
                keyring.keep_floor(floor).map_err(refused_key)?;
                let bytes = SecretBytes::new(floor.to_be_bytes().to_vec());
                keyring.keep_own(RECORD, &bytes).map_err(unusable)
            }
            _ => Ok(()),
        }
    }

    /// The slots whose floor is lower, if it may be raised at all.
    fn lower(&self, keyring: &Keyring, floor: u64, bootable: &[u64]) -> Result<Vec<u32>, Refusal> {
        let blobs = keyring.blobs();
        let seals = blobs.iter().filter_map(|(slot, blob)| SlotSeal::of(*slot, blob));
        let floors: Vec<(u32, u64)> = seals.filter_map(|seal| Some((seal.slot, seal.floor()?))).collect();
        if floors.is_empty() {
            let sentence = "no slot is under the image's policy: only there are security epochs";
            return Err(not_allowed(sentence.to_owned()));
        }
        let lower: Vec<u32> = floors
            .iter()
            .filter(|(_, now)| *now < floor)
            .map(|(slot, _)| *slot)
            .collect();
        if lower.is_empty() {
            return Err(not_allowed(format!("the security floor is {floor} or higher already")));
        }
        match bootable.iter().min() {
            None => Err(not_allowed(
                "which images this machine may start is not said".to_owned(),
            )),
            Some(lowest) if *lowest < floor => Err(not_allowed(format!(
                "an image that this machine may start has security epoch {lowest}: it could not open the keys any more, \
                 replace it first"
            ))),
            Some(_) => Ok(lower),
        }
    }
}

fn not_allowed(sentence: String) -> Refusal {
    Refusal(Reason::NotAllowed, sentence)
}

fn unusable(error: SecretError) -> Refusal {
    Refusal(Reason::Disk, format!("the record of the security floor: {error}"))
}
