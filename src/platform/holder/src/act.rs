//! Acts with something secret in them, asked for on the holder's own socket: told to the exchange before and after.

use crate::notice::{Act, Notice, State};
use crate::on_box::left_to_process_1;
use crate::open::recovery_key;
use crate::peer::Administrator;
use crate::reply::{Reason, Reply};
use crate::state::{Holder, Refusal, refused_slot};
use crate::typed::Typed;
use lamchat_base::SecretBytes;
use lamchat_seal::{OpenError, RecoveryKey, SlotInfo, SlotKind, Unlock, VerifyRecoveryError};

/// Shortest passphrase, in characters: it alone stands between a stolen backup and everything in it.
const PASSPHRASE_CHARS_MIN: usize = 12;
/// Shortest PIN, in characters: the TPM refuses guesses after a few.
const PIN_CHARS_MIN: usize = 4;

impl Holder {
    /// Does what somebody asks.
    pub(crate) fn act(&self, request: Typed, who: Administrator) -> Result<Reply, Refusal> {
        let uid = who.uid;
        match request {
            Typed::Create
            | Typed::CreateFrom { .. }
            | Typed::DiskKey
            | Typed::Seal { .. }
            | Typed::RaiseFloorOnBox { .. }
            | Typed::Erase
            | Typed::SetPin { .. }
            | Typed::Status
                if !(self.setup.on_box && who.is_first) =>
            {
                let sentence = "only process 1 of the bootable image asks for that";
                Err(Refusal(Reason::NotAllowed, sentence.to_owned()))
            }
            Typed::Create => self.create_on_box(),
            Typed::CreateFrom { exported, key } => self.create_from_backup(&exported, &key),
            Typed::DiskKey => self.disk_key(),
            Typed::Seal { bootable } => self.seal_on_box(&bootable, uid),
            Typed::RaiseFloorOnBox { floor, bootable } => self.raise_floor_noted(floor, &bootable, (false, None), uid),
            Typed::Erase => self.erase_on_box(),
            Typed::SetPin { bootable, pin } => self.set_pin(&bootable, pin, uid),
            Typed::Status => self.status(),
            Typed::AddTpm { .. } | Typed::Rebind { .. } | Typed::RaiseFloor { .. } if self.setup.on_box => {
                Err(left_to_process_1())
            }
            Typed::Unlock(key) => self.unlock(&key, uid),
            Typed::AddRecovery => self.add_recovery(uid),
            Typed::VerifyRecovery(key) => self.verify_recovery(&key, uid),
            Typed::AddPassphrase(passphrase) => self.add_passphrase(passphrase, uid),
            Typed::AddTpm { force, pin } => {
                check_pin(&pin)?;
                self.may_seal(force, true)?;
                let mut notice = self.notice(Act::AddSlot, uid, Some(SlotKind::Tpm));
                notice.force = force;
                self.noted(notice, || self.add_tpm(force, Some(pin))).map(Reply::Slot)
            }
            Typed::Rebind { slot, force, pin } => {
                check_pin(&pin)?;
                self.may_seal(force, true)?;
                let mut notice = self.notice(Act::Rebind, uid, Some(SlotKind::Tpm));
                (notice.slot, notice.force) = (Some(slot), force);
                self.noted(notice, || self.rebind(slot, force, Some(pin)))
                    .map(Reply::Slot)
            }
            Typed::Renew { slot, keys } => {
                let mut notice = self.notice(Act::RemoveSlot, uid, Some(SlotKind::File));
                notice.slot = Some(slot);
                self.noted(notice, || self.renew(slot, &keys)).map(Reply::Slot)
            }
            Typed::RaiseFloor {
                floor,
                bootable,
                force,
                pin,
            } => {
                check_pin(&pin)?;
                self.raise_floor_noted(floor, &bootable, (force, Some(&pin)), uid)
            }
        }
    }

    fn raise_floor_noted(
        &self,
        floor: u64,
        bootable: &[u64],
        (force, pin): (bool, Option<&SecretBytes>),
        uid: u32,
    ) -> Result<Reply, Refusal> {
        self.may_seal(force, pin.is_some())?;
        let mut notice = self.notice(Act::RaiseFloor, uid, Some(SlotKind::Tpm));
        (notice.floor, notice.force) = (Some(floor), force);
        let raise = || self.raise_floor(floor, bootable, force, pin);
        self.noted(notice, raise).map(Reply::Slot)
    }

    fn add_recovery(&self, uid: u32) -> Result<Reply, Refusal> {
        let keyring = self.keyring()?;
        let key = RecoveryKey::generate(&*self.setup.entropy);
        let text = SecretBytes::new(key.text().as_bytes().to_vec());
        let notice = self.notice(Act::AddSlot, uid, Some(SlotKind::Recovery));
        let add = || {
            let unlock = Unlock::Recovery(key);
            keyring.add_slot(&unlock, self.setup.cost).map_err(refused_slot)
        };
        Ok(Reply::Recovery(self.noted(notice, add)?, text))
    }

    fn add_passphrase(&self, passphrase: SecretBytes, uid: u32) -> Result<Reply, Refusal> {
        let keyring = self.keyring()?;
        let text = std::str::from_utf8(passphrase.expose());
        let text = text.map_err(|error| Refusal(Reason::NotAllowed, error.to_string()))?;
        if text.chars().count() < PASSPHRASE_CHARS_MIN {
            return Err(Refusal(
                Reason::NotAllowed,
                format!(
                    "the passphrase has fewer than {PASSPHRASE_CHARS_MIN} characters: it alone protects a stolen backup, take a longer one"
                ),
            ));
        }
        if RecoveryKey::is_meant(text) {
            let sentence = "this looks like a recovery key and would be taken for one when the keys are unlocked: take words as well";
            return Err(Refusal(Reason::NotAllowed, sentence.to_owned()));
        }
        let notice = self.notice(Act::AddSlot, uid, Some(SlotKind::Passphrase));
        let add = || {
            let unlock = Unlock::Passphrase(passphrase);
            keyring.add_slot(&unlock, self.setup.cost).map_err(refused_slot)
        };
        self.noted(notice, add).map(Reply::Slot)
    }

    fn verify_recovery(&self, typed: &SecretBytes, uid: u32) -> Result<Reply, Refusal> {
        let keyring = self.keyring()?;
        let Some(key) = recovery_key(typed)? else {
            let sentence = "this is no recovery key, which has 48 digits";
            return Err(Refusal(Reason::NotAllowed, sentence.to_owned()));
        };
        let guess = self.guess()?;
        let notice = self.notice(Act::VerifyRecovery, uid, Some(SlotKind::Recovery));
        let now_ms = self.setup.clock.now_ms();
        let verify = || match keyring.verify_recovery(&key, now_ms) {
            Ok(slot) => {
                guess.right();
                Ok(slot)
            }
            Err(VerifyRecoveryError::Open(error @ OpenError::WrongRecoveryKey)) => {
                guess.wrong(now_ms);
                tracing::warn!(uid, "a wrong recovery key was shown");
                Err(Refusal(Reason::WrongKey, error.to_string()))
            }
            Err(VerifyRecoveryError::Open(error)) => Err(Refusal(Reason::NotAllowed, error.to_string())),
            Err(error @ VerifyRecoveryError::Io(_)) => Err(Refusal(Reason::Disk, error.to_string())),
        };
        self.noted(notice, verify).map(Reply::Slot)
    }

    pub(crate) fn notice(&self, act: Act, uid: u32, kind: Option<SlotKind>) -> Notice {
        Notice {
            act,
            state: State::Begun,
            time_ms: self.setup.clock.now_ms(),
            uid,
            slot: None,
            kind,
            force: false,
            floor: None,
        }
    }

    /// Does something between two notices. If the power goes in between, the audit log tells of an act that may not have
    /// happened, never the reverse.
    ///
    /// On the box the keyring is there before there is an exchange: what is done until then is noted once there is one.
    pub(crate) fn noted(
        &self,
        mut notice: Notice,
        act: impl FnOnce() -> Result<SlotInfo, Refusal>,
    ) -> Result<SlotInfo, Refusal> {
        let early = self.setup.on_box && !self.notices.is_ready();
        if early {
            self.notices.keep(notice);
        } else {
            self.notices.tell(&notice)?;
        }
        let result = act();
        notice.time_ms = self.setup.clock.now_ms();
        notice.state = if result.is_ok() { State::Done } else { State::Failed };
        if let Ok(slot) = &result {
            notice.slot = Some(slot.id);
        }
        if early {
            self.notices.keep(notice);
            return result;
        }
        // What is done stays done: the audit log says that it began.
        if let Err(Refusal(_, sentence)) = self.notices.tell(&notice) {
            tracing::error!(sentence, "the end of an act is not in the audit log");
        }
        result
    }
}

/// What is guessed soon, or would be taken for a recovery key when the keys are unlocked, is no PIN.
pub(crate) fn check_pin(pin: &SecretBytes) -> Result<(), Refusal> {
    let text = std::str::from_utf8(pin.expose()).unwrap_or_default();
    if text.chars().count() < PIN_CHARS_MIN {
        let sentence = format!("the PIN has fewer than {PIN_CHARS_MIN} characters: take a longer one");
        return Err(Refusal(Reason::NotAllowed, sentence));
    }
    if RecoveryKey::is_meant(text) {
        let sentence =
            "this looks like a recovery key and would be taken for one when the keys are unlocked: take a shorter PIN";
        return Err(Refusal(Reason::NotAllowed, sentence.to_owned()));
    }
    Ok(())
}
