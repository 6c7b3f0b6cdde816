//! What the holder has: the keyring, as far as it is open, and everything that it takes to open and change it.

use crate::audit;
use crate::blame::Blame;
use crate::guesses::{Guess, Guesses};
use crate::image::SlotSeal;
use crate::notices::Notices;
use crate::reply::{Force, HolderStatus, Reason, Reply};
use crate::tpm::Tpm;
use lamchat_attester::Attester;
use lamchat_audit::notary::Notary;
use lamchat_base::{Clock, Entropy, SecretBytes};
use lamchat_disk::Disk;
use lamchat_seal::{ExportError, Keyring, KeyringError, OpenError, PassphraseCost, SlotError, SlotInfo, SlotKind};
use parking_lot::{Condvar, Mutex};
use std::path::PathBuf;
use std::sync::Arc;

/// Everything that a holder is made of.
pub struct Setup {
    /// The folder of the keyring.
    pub dir: PathBuf,
    /// The disk that has it.
    pub disk: Arc<dyn Disk>,
    /// Whether this is the bootable image, where process 1 makes the keyring and gets the key of the disk.
    pub on_box: bool,
    /// The passphrase that opens the keyring at the start; or why the file with it could not be read. Forgotten after it
    /// was tried.
    pub passphrase: Option<Result<SecretBytes, String>>,
    /// The TPM.
    pub tpm: Tpm,
    /// What makes evidence; or why it cannot.
    pub attester: Result<Attester, String>,
    /// The folder below which the exchange keeps its sealed secrets.
    pub exchange_dir: PathBuf,
    /// What a new passphrase costs whoever guesses it.
    pub cost: PassphraseCost,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// Why something is not done, and a sentence about it.
#[derive(Debug)]
pub(crate) struct Refusal(pub Reason, pub String);

/// A holder. Share it in an [`Arc`].
pub struct Holder {
    pub(crate) setup: Setup,
    pub(crate) keys: Mutex<Keys>,
    /// Tells that the keys are open.
    pub(crate) opened: Condvar,
    pub(crate) notices: Notices,
    guesses: Arc<Guesses>,
    notary: Mutex<Option<Notary>>,
    /// Until it is tried.
    pub(crate) passphrase: Mutex<Option<Result<SecretBytes, String>>>,
    /// On a box: the PIN that somebody typed since the start, so that what is sealed anew keeps it.
    pub(crate) pin: Mutex<Option<SecretBytes>>,
    confinement: String,
}

/// How far the keys are.
#[derive(Debug)]
pub(crate) enum Keys {
    /// Nobody has asked for them yet.
    Closed,
    /// They did not open by themselves. `pin`: a slot waits for the TPM's PIN.
    Locked { reason: String, blame: Blame, pin: bool },
    /// Open.
    Open {
        /// The keyring.
        keyring: Arc<Keyring>,
        /// The slot that opened it.
        by: SlotKind,
        /// What somebody has said by their own hand in this start.
        hand: Hand,
        /// Whether the start waits for somebody to do so.
        wanted: bool,
        /// Whether the audit log of this start is decided: no other one begins any more.
        log_begun: bool,
        /// Whether the anchor of this start is decided: it is not set back any more.
        anchor_begun: bool,
        /// Whether the TPM said, when it was asked last, that it has no anchor.
        anchor_gone: bool,
        /// Whether the TPM did not tell the anchor when it was asked last: who types the recovery key then says nothing about
        /// it.
        anchor_unknown: bool,
    },
}

/// What the owner has said by their own hand, by typing what opens the keys: no more than they were asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hand {
    /// Nothing.
    None,
    /// That the keys may be opened, because they did not open by themselves. Nobody could tell them how old the disk is.
    Keys,
    /// That this disk is the one, because they were told what is wrong with it.
    Disk,
}

impl std::fmt::Debug for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Holder")
            .field("dir", &self.setup.dir)
            .finish_non_exhaustive()
    }
}

impl Holder {
    /// A holder that has given up what `confinement` says.
    pub fn new(mut setup: Setup, notices: Notices, confinement: String) -> Self {
        Self {
            passphrase: Mutex::new(setup.passphrase.take()),
            setup,
            keys: Mutex::new(Keys::Closed),
            opened: Condvar::new(),
            notices,
            guesses: Arc::default(),
            notary: Mutex::new(None),
            pin: Mutex::new(None),
            confinement,
        }
    }

    /// The open keyring.
    pub(crate) fn keyring(&self) -> Result<Arc<Keyring>, Refusal> {
        match &*self.keys.lock() {
            Keys::Open { keyring, .. } => Ok(Arc::clone(keyring)),
            Keys::Closed => Err(Refusal(Reason::NotNow, "the server is still starting".to_owned())),
            Keys::Locked { reason, .. } => Err(Refusal(Reason::NotNow, format!("the keys are locked: {reason}"))),
        }
    }

    /// Everything that may be told.
    pub(crate) fn status(&self) -> Result<Reply, Refusal> {
        let (slots, blobs, former_keys) = match self.keyring() {
            Ok(keyring) => (keyring.slots(), keyring.blobs(), keyring.has_former()),
            Err(_) => (self.peek()?, self.peek_blobs()?, false),
        };
        let seals = blobs.iter().filter_map(|(slot, blob)| SlotSeal::of(*slot, blob));
        Ok(Reply::Status(Box::new(HolderStatus {
            slots,
            seals: seals.collect(),
            former_keys,
            tpm: self.tpm_status(),
            confinement: self.confinement.clone(),
            socket: self.setup.dir.join(crate::SOCKET).display().to_string(),
        })))
    }

    /// The slots as the file has them, which nothing has authenticated.
    pub(crate) fn peek(&self) -> Result<Vec<SlotInfo>, Refusal> {
        Keyring::peek_on(&*self.setup.disk, &self.setup.dir).map_err(refused_to_open)
    }

    /// What the file keeps for its `tpm` slots.
    pub(crate) fn peek_blobs(&self) -> Result<Vec<(u32, Vec<u8>)>, Refusal> {
        Keyring::peek_blobs_on(&*self.setup.disk, &self.setup.dir).map_err(refused_to_open)
    }

    /// Asks the TPM who it is.
    pub(crate) fn tpm_make(&self) -> Result<Reply, Refusal> {
        let made = self.setup.tpm.make();
        made.map(Reply::TpmMake)
            .map_err(|sentence| Refusal(Reason::Tpm, sentence))
    }

    /// Begins a try at a secret that somebody typed.
    pub(crate) fn guess(&self) -> Result<Guess, Refusal> {
        let begun = self.guesses.begin(self.setup.clock.now_ms());
        begun.map_err(|error| Refusal(Reason::Slowed, error.to_string()))
    }

    /// Does something with the audit log's notary.
    pub(crate) fn with_notary(
        &self,
        act: impl FnOnce(&mut Notary) -> Result<Reply, Refusal>,
    ) -> Result<Reply, Refusal> {
        let keyring = self.keyring()?;
        let mut notary = self.notary.lock();
        let open = match notary.take() {
            Some(open) => open,
            None => audit::notary(&keyring, self.setup.tpm.plain().cloned())?,
        };
        let notary = notary.insert(open);
        notary.want_hardware(keyring.slots().iter().any(|slot| slot.kind == SlotKind::Tpm));
        act(notary)
    }

    /// What the notary signs; which log goes on in this start is decided by it.
    pub(crate) fn with_log(&self, act: impl FnOnce(&mut Notary) -> Result<Reply, Refusal>) -> Result<Reply, Refusal> {
        let reply = self.with_notary(act)?;
        self.log_begins();
        Ok(reply)
    }

    /// Whether it is not decided yet which audit log goes on in this start; from now on it is.
    pub(crate) fn log_begins(&self) -> bool {
        match &mut *self.keys.lock() {
            Keys::Open { log_begun, .. } => !std::mem::replace(log_begun, true),
            _ => false,
        }
    }

    /// Opens the notary anew when it is asked the next time: the keyring is another one.
    pub(crate) fn forget_notary(&self) {
        *self.notary.lock() = None;
    }

    /// Removes a slot, and what the TPM keeps for it.
    pub(crate) fn remove(&self, slot: u32) -> Result<Reply, Refusal> {
        let keyring = self.keyring()?;
        let mut slots = keyring.slots().into_iter();
        if slots.any(|known| known.id == slot && known.kind == SlotKind::File) {
            let sentence = "with the file slot go the master key and the data keys, for which somebody has to type what \
                            opens the other slots: `lamchat seal remove`";
            return Err(Refusal(Reason::NotAllowed, sentence.to_owned()));
        }
        self.remember_blob(&keyring, slot)?;
        self.keep_floor(&keyring)?;
        self.keep_pin(&keyring)?;
        let removed = keyring.remove_slot(slot);
        self.retire_former(&keyring);
        removed.map_err(refused_slot)?;
        if let Err(Refusal(_, sentence)) = self.drop_anchor() {
            tracing::warn!(sentence, "the anchor stays");
        }
        Ok(Reply::Done)
    }

    /// Binds a `tpm` slot anew, at the floor that it has.
    pub(crate) fn rebind(&self, slot: u32, force: bool, pin: Option<SecretBytes>) -> Result<SlotInfo, Refusal> {
        self.may_seal(force, pin.is_some())?;
        let keyring = self.keyring()?;
        let blob = keyring.blobs().into_iter().find(|(id, _)| *id == slot);
        let floor = blob.and_then(|(_, blob)| SlotSeal::of(slot, &blob)?.floor());
        let (bound, _) = self.bind(&keyring, slot, floor, self.sealing_pin(pin))?;
        Ok(bound)
    }

    /// Seals a slot anew at this floor. Answers how many blobs of before still open, because the TPM did not answer again.
    pub(crate) fn bind(
        &self,
        keyring: &Keyring,
        slot: u32,
        floor: Option<u64>,
        pin: Option<SecretBytes>,
    ) -> Result<(SlotInfo, usize), Refusal> {
        let none = || Refusal(Reason::Tpm, self.setup.tpm.status.sentence.clone());
        let sealer = self
            .setup
            .tpm
            .sealer_from(floor, pin, &keyring.blobs(), self.setup.on_box)
            .ok_or_else(none)?;
        self.remember_blob(keyring, slot)?;
        let bound = keyring.rebind(slot, &*sealer);
        let left = self.retire_former(keyring);
        bound.map_err(refused_slot)?;
        let slots = keyring.slots();
        let found = slots.into_iter().find(|known| known.id == slot);
        Ok((found.ok_or_else(|| refused_slot(SlotError::Unknown(slot)))?, left))
    }

    /// Makes a `tpm` slot.
    pub(crate) fn add_tpm(&self, force: bool, pin: Option<SecretBytes>) -> Result<SlotInfo, Refusal> {
        self.add_tpm_at(None, force, pin)
    }

    /// Makes a `tpm` slot at the floor that was raised, or where none was, at `lowest`; without either, at the epoch of the
    /// release that runs.
    pub(crate) fn add_tpm_at(
        &self,
        lowest: Option<u64>,
        force: bool,
        pin: Option<SecretBytes>,
    ) -> Result<SlotInfo, Refusal> {
        self.may_seal(force, pin.is_some())?;
        self.add_sealed(lowest, self.sealing_pin(pin))
    }

    /// The same, whatever else is to be said about it.
    pub(crate) fn add_sealed(&self, lowest: Option<u64>, pin: Option<SecretBytes>) -> Result<SlotInfo, Refusal> {
        let keyring = self.keyring()?;
        // One that was raised holds for every slot, and on a box for those to come.
        let floor = self.floor(&keyring)?.max(lowest);
        let none = || Refusal(Reason::Tpm, self.setup.tpm.status.sentence.clone());
        let sealer = self
            .setup
            .tpm
            .sealer_from(floor, pin, &keyring.blobs(), self.setup.on_box)
            .ok_or_else(none)?;
        let unlock = lamchat_seal::Unlock::Tpm(sealer);
        let mark = self.prepare_anchor(&keyring)?;
        let added = keyring.add_slot_with(&unlock, self.setup.cost, mark);
        added.map_err(refused_slot)
    }

    /// Makes a `file` slot. A box never has one: its keyring lies where no file could open it.
    pub(crate) fn add_file(&self) -> Result<SlotInfo, Refusal> {
        if self.setup.on_box {
            let sentence = "a box's keys lie in no folder: they open by its TPM, or by the recovery key";
            return Err(Refusal(Reason::NotAllowed, sentence.to_owned()));
        }
        let added = self.keyring()?.add_slot(&lamchat_seal::Unlock::File, self.setup.cost);
        added.map_err(refused_slot)
    }

    /// Whether something may be sealed at all. A box's keys are not sealed without Secure Boot, whoever asks: their policy
    /// says which images open them, and without it anything could pass for one.
    pub(crate) fn may_seal(&self, force: bool, pin: bool) -> Result<(), Refusal> {
        let force = Force::said(force, self.setup.on_box);
        let refusal = self.tpm_status().refusal(force, pin);
        refusal.map_or(Ok(()), |(reason, sentence)| Err(Refusal(reason, sentence)))
    }

    /// The keyring for a backup.
    pub(crate) fn export(&self) -> Result<Reply, Refusal> {
        let exported = self.keyring()?.export_for_backup();
        exported
            .map(Reply::Bytes)
            .map_err(|error: ExportError| Refusal(Reason::NoPortableSlot, error.to_string()))
    }
}

/// A refusal to change a slot.
pub(crate) fn refused_slot(error: SlotError) -> Refusal {
    let reason = match error {
        SlotError::Unknown(_) => Reason::UnknownSlot,
        SlotError::Sealer(_) => Reason::Tpm,
        SlotError::Io(_) => Reason::Disk,
        _ => Reason::NotAllowed,
    };
    Refusal(reason, error.to_string())
}

/// A refusal to open.
pub(crate) fn refused_to_open(error: OpenError) -> Refusal {
    Refusal(refused_to_open_reason(&error), error.to_string())
}

/// The same in one word.
pub(crate) fn refused_to_open_reason(error: &OpenError) -> Reason {
    match error {
        OpenError::WrongPassphrase | OpenError::WrongRecoveryKey => Reason::WrongKey,
        OpenError::Sealer(_) => Reason::Tpm,
        OpenError::Io(_) => Reason::Disk,
        _ => Reason::Keyring,
    }
}

/// A refusal to give or make a data key.
pub(crate) fn refused_key(error: KeyringError) -> Refusal {
    let reason = match error {
        KeyringError::Io(_) => Reason::Disk,
        _ => Reason::Keyring,
    };
    Refusal(reason, error.to_string())
}
