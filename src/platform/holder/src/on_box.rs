//! What process 1 of the bootable image asks for: the keyring is made before there is an exchange, and the disk's key is
//! needed before there is anything that an exchange could keep.

use crate::notice::Act;
use crate::open::{kind, recovery_key};
use crate::reply::{Reason, Reply};
use crate::state::{Hand, Holder, Keys, Refusal, refused_key};
use lamchat_base::SecretBytes;
use lamchat_seal::{BackupKeyring, ImportError, RecoveryKey, SlotKind, Unlock};
use std::sync::Arc;

impl Holder {
    /// Makes the keyring with a recovery slot alone, whose key is in the answer and nowhere else.
    pub(crate) fn create_on_box(&self) -> Result<Reply, Refusal> {
        self.must_be_new()?;
        let key = RecoveryKey::generate(&*self.setup.entropy);
        let text = SecretBytes::new(key.text().as_bytes().to_vec());
        let keyring = self.made_with(&Unlock::Recovery(key))?;
        let slot = keyring.slots().into_iter().next();
        self.opened_by(keyring, SlotKind::Recovery, Hand::Disk)?;
        let slot = slot.ok_or_else(|| Refusal(Reason::Keyring, "the new keyring has no slot".to_owned()))?;
        Ok(Reply::Recovery(slot, text))
    }

    /// The keyring of a backup: its slots that a person can open, its keys, and a new one for the database. Wrong keys are
    /// not slowed down: whoever has the backup tries them elsewhere.
    pub(crate) fn create_from_backup(&self, exported: &[u8], typed: &SecretBytes) -> Result<Reply, Refusal> {
        self.must_be_new()?;
        let unlock = match recovery_key(typed)? {
            Some(key) => Unlock::Recovery(key),
            None => Unlock::Passphrase(typed.clone()),
        };
        let by = kind(&unlock);
        let backup = BackupKeyring::open(exported, &unlock).map_err(|error| {
            let reason = match &error {
                ImportError::Unlock(_) => Reason::WrongKey,
                ImportError::Format(_) => Reason::Keyring,
            };
            Refusal(reason, error.to_string())
        })?;
        let (disk, entropy) = (Arc::clone(&self.setup.disk), Arc::clone(&self.setup.entropy));
        let installed = backup.install_on(disk, &self.setup.dir, false, entropy);
        let keyring = installed.map_err(|error| Refusal(Reason::Disk, error.to_string()))?;
        self.opened_by(keyring, by, Hand::Disk)?;
        tracing::info!(%by, "the keyring of a backup was installed");
        Ok(Reply::Unlocked(by))
    }

    /// A keyring is made where there is none.
    fn must_be_new(&self) -> Result<(), Refusal> {
        let is_closed = matches!(&*self.keys.lock(), Keys::Closed);
        if !is_closed || self.has_keyring()? {
            let sentence = "there is a keyring already";
            return Err(Refusal(Reason::NotAllowed, sentence.to_owned()));
        }
        Ok(())
    }

    /// The key of the disk, which is made at the first time; or why the keys are locked.
    pub(crate) fn disk_key(&self) -> Result<Reply, Refusal> {
        let locked = match &*self.keys.lock() {
            Keys::Locked { reason, blame, .. } => Some((reason.clone(), *blame)),
            Keys::Closed | Keys::Open { .. } => None,
        };
        if let Some((reason, blame)) = locked {
            let slots = self.peek()?;
            return Ok(Reply::Locked { reason, blame, slots });
        }
        match self.open(false)? {
            Reply::Keys { .. } => self.keyring()?.disk_key().map(Reply::Disk).map_err(refused_key),
            other => Ok(other),
        }
    }

    /// Seals to the TPM as it is now: binds the slot anew that is there, or adds one, which every image that the box may
    /// start opens, but none below a floor that was raised. Never without Secure Boot.
    pub(crate) fn seal_on_box(&self, bootable: &[u64], uid: u32) -> Result<Reply, Refusal> {
        self.may_seal(false, false)?;
        let slots = self.keyring()?.slots();
        let known = slots.iter().find(|slot| slot.kind == SlotKind::Tpm).map(|slot| slot.id);
        let act = known.map_or(Act::AddSlot, |_| Act::Rebind);
        let mut notice = self.notice(act, uid, Some(SlotKind::Tpm));
        notice.slot = known;
        let seal = || match known {
            Some(slot) => self.rebind(slot, false, None),
            None => self.add_tpm_at(bootable.iter().min().copied(), false, None),
        };
        self.noted(notice, seal).map(Reply::Slot)
    }

    /// An exchange has gone: what somebody opened by hand for it says nothing about the next one's database.
    pub(crate) fn forget_hand(&self) {
        if let Keys::Open {
            hand,
            wanted,
            log_begun,
            anchor_begun,
            anchor_gone,
            anchor_unknown,
            ..
        } = &mut *self.keys.lock()
        {
            (*hand, *wanted) = (Hand::None, false);
            (*log_begun, *anchor_begun) = (false, false);
            (*anchor_gone, *anchor_unknown) = (false, false);
        }
    }
}

/// Which images the box may start only process 1 says: the exchange's word is worth as much as the exchange.
pub(crate) fn left_to_process_1() -> Refusal {
    let sentence = "on a box process 1 looks itself which images may be started, and asks for this";
    Refusal(Reason::NotAllowed, sentence.to_owned())
}
