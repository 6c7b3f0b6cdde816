//! Opening the keyring: by itself, by TPM, passphrase file or file slot; or by hand.

use crate::blame::Blame;
use crate::notice::{Act, Notice, State};
use crate::reply::{Reason, Reply};
use crate::state::{Hand, Holder, Keys, Refusal, refused_key, refused_to_open};
use lamchat_base::SecretBytes;
use lamchat_seal::{CreateError, Keyring, OpenError, RecoveryKey, SealerReason, SlotInfo, SlotKind, Unlock};
use parking_lot::MutexGuard;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often whoever waits looks whether its exchange is still there.
const LOOK: Duration = Duration::from_secs(1);

impl Holder {
    /// Opens the keyring, which is made if there is none and `create` says so.
    pub(crate) fn open(&self, create: bool) -> Result<Reply, Refusal> {
        if let Keys::Open { keyring, by, .. } = &*self.keys.lock() {
            return keys(keyring, *by);
        }
        let passphrase = match self.passphrase.lock().take() {
            Some(Ok(passphrase)) => Some(Unlock::Passphrase(passphrase)),
            Some(Err(why)) => return Err(Refusal(Reason::Disk, why)),
            None => None,
        };
        if !self.has_keyring()? {
            return self.create(create, passphrase);
        }
        let slots = self.peek()?;
        let has = |kind| slots.iter().any(|slot| slot.kind == kind);
        let tpm = self.setup.tpm.sealer(None);
        let by_tpm = tpm.clone().filter(|_| has(SlotKind::Tpm)).map(Unlock::Tpm);
        // In this order; who set a passphrase file relies on it, so that a wrong one ends the start as a mistake.
        let by_itself = passphrase.or_else(|| has(SlotKind::File).then_some(Unlock::File));
        let (mut reasons, mut pin, mut blame) = (Vec::new(), false, Blame::Nobody);
        for unlock in by_tpm.into_iter().chain(by_itself) {
            let began = Instant::now();
            let error = match self.open_by(&unlock) {
                Ok(keyring) => {
                    for reason in &reasons {
                        tracing::warn!(%reason, "the keys opened, but not by the TPM");
                    }
                    let by = kind(&unlock);
                    tracing::info!(%by, milliseconds = began.elapsed().as_millis(), "the keys are open");
                    return self.opened_by(keyring, by, Hand::None);
                }
                Err(error) => error,
            };
            match error {
                OpenError::Sealer(error) => {
                    pin |= error.reason == SealerReason::PinNeeded;
                    blame = blame.max(Blame::of(error.reason));
                    reasons.push(OpenError::Sealer(error).to_string());
                }
                // What a TPM gave did not open the keyring, or not all of it: the recovery key tells which.
                OpenError::Forged if matches!(unlock, Unlock::Tpm(_)) => reasons.push(OpenError::Forged.to_string()),
                OpenError::WrappingKey(_) => reasons.push(error.to_string()),
                error => return Err(refused_to_open(error)),
            }
        }
        if has(SlotKind::Tpm) && tpm.is_none() {
            blame = blame.max(Blame::Release);
            reasons.push(self.setup.tpm.status.sentence.clone());
        }
        if reasons.is_empty() {
            reasons.push("the keyring has no slot that opens by itself".to_owned());
        }
        let reason = reasons.join("; ");
        if !pin && !slots.iter().any(|slot| slot.kind.is_portable()) {
            let advice = "and the keyring has neither a recovery key nor a passphrase: restore a backup";
            return Err(Refusal(Reason::Keyring, format!("{reason}, {advice}")));
        }
        *self.keys.lock() = Keys::Locked {
            reason: reason.clone(),
            blame,
            pin,
        };
        Ok(Reply::Locked { reason, blame, slots })
    }

    pub(crate) fn has_keyring(&self) -> Result<bool, Refusal> {
        let exists = Keyring::exists_on(&*self.setup.disk, &self.setup.dir);
        exists.map_err(|error| Refusal(Reason::Disk, format!("the keyring cannot be read: {error}")))
    }

    fn create(&self, create: bool, passphrase: Option<Unlock>) -> Result<Reply, Refusal> {
        if !create {
            return Err(Refusal(
                Reason::Keyring,
                format!(
                    "there is a database but no keyring in {} to open it: restore the file `keyring` from where it went, or restore a backup",
                    self.setup.dir.display()
                ),
            ));
        }
        if self.setup.on_box {
            // A wrapping key in the clear is never on the box.
            let sentence = "the console makes the keyring of a box, when it is set up";
            return Err(Refusal(Reason::Keyring, sentence.to_owned()));
        }
        let first = passphrase.unwrap_or(Unlock::File);
        let keyring = self.made_with(&first)?;
        self.opened_by(keyring, kind(&first), Hand::None)
    }

    /// A new keyring with this slot.
    pub(crate) fn made_with(&self, first: &Unlock) -> Result<Keyring, Refusal> {
        let (disk, entropy) = (Arc::clone(&self.setup.disk), Arc::clone(&self.setup.entropy));
        let keyring = Keyring::create_on(disk, &self.setup.dir, first, self.setup.cost, entropy);
        keyring.map_err(|error: CreateError| Refusal(Reason::Disk, error.to_string()))
    }

    fn open_by(&self, unlock: &Unlock) -> Result<Keyring, OpenError> {
        let (disk, entropy) = (Arc::clone(&self.setup.disk), Arc::clone(&self.setup.entropy));
        Keyring::open_on(disk, &self.setup.dir, unlock, entropy)
    }

    pub(crate) fn opened_by(&self, keyring: Keyring, by: SlotKind, hand: Hand) -> Result<Reply, Refusal> {
        let keyring = Arc::new(keyring);
        let reply = keys(&keyring, by)?;
        // What could not go when its slot was sealed anew: the power went, or the TPM did not answer.
        self.retire_former(&keyring);
        *self.keys.lock() = Keys::Open {
            keyring,
            by,
            hand,
            wanted: false,
            log_begun: false,
            anchor_begun: false,
            anchor_gone: false,
            anchor_unknown: false,
        };
        self.opened.notify_all();
        Ok(reply)
    }

    /// Waits until somebody has unlocked the keys, or the exchange that waits is gone.
    pub(crate) fn await_unlock(&self, gone: &AtomicBool) -> Result<Reply, Refusal> {
        let mut state = self.keys.lock();
        loop {
            match &*state {
                Keys::Open { keyring, by, .. } => return keys(keyring, *by),
                Keys::Locked { .. } => self.wait(&mut state, gone)?,
                Keys::Closed => return Err(Refusal(Reason::NotNow, "nobody has asked to open the keys".to_owned())),
            }
        }
    }

    /// Waits for a change of the keys.
    pub(crate) fn wait(&self, state: &mut MutexGuard<'_, Keys>, gone: &AtomicBool) -> Result<(), Refusal> {
        // Nobody wakes this thread when its exchange goes, so it looks.
        let _woken = self.opened.wait_for(state, LOOK);
        if gone.load(Ordering::Relaxed) {
            return Err(Refusal(Reason::NotNow, "the exchange is gone".to_owned()));
        }
        Ok(())
    }

    /// Opens the keys by what somebody typed; the attempt is told to the exchange, once it listens.
    pub(crate) fn unlock(&self, typed: &SecretBytes, uid: u32) -> Result<Reply, Refusal> {
        let (pin, is_open) = match &*self.keys.lock() {
            Keys::Locked { pin, .. } => (*pin, false),
            // A TPM's PIN says nothing about the disk.
            Keys::Open { wanted: true, .. } => (false, true),
            Keys::Open { .. } => {
                let sentence = "the keys are open already: there is nothing to unlock";
                return Err(Refusal(Reason::NotAllowed, sentence.to_owned()));
            }
            Keys::Closed => return Err(Refusal(Reason::NotNow, "the server is still starting".to_owned())),
        };
        let tries = self.tries(typed, pin)?;
        if is_open {
            let slots = self.keyring()?.slots();
            if !tries.iter().any(|unlock| shows_owner(&slots, kind(unlock))) {
                let sentence = "the keys are open, and an older disk goes on by the recovery key alone";
                return Err(Refusal(Reason::NotAllowed, sentence.to_owned()));
            }
        }
        let guess = self.guess()?;
        let mut notice = Notice {
            act: Act::Unlock,
            state: State::Failed,
            time_ms: self.setup.clock.now_ms(),
            uid,
            slot: None,
            kind: tries.last().map(kind),
            force: false,
            floor: None,
        };
        let mut refusal = Refusal(Reason::WrongKey, "nothing here opens by what was typed".to_owned());
        for unlock in &tries {
            match self.open_by(unlock) {
                Ok(keyring) => {
                    guess.right();
                    let by = kind(unlock);
                    (notice.state, notice.kind) = (State::Done, Some(by));
                    self.notices.keep(notice);
                    if is_open {
                        self.confirmed_by_hand();
                    } else {
                        let is_owner = shows_owner(&keyring.slots(), by);
                        self.opened_by(keyring, by, if is_owner { Hand::Keys } else { Hand::None })?;
                        if by == SlotKind::Tpm {
                            self.remember_pin(typed);
                        }
                    }
                    tracing::warn!(%by, uid, "the keys were unlocked by hand; the start goes on");
                    return Ok(Reply::Unlocked(by));
                }
                Err(error) => refusal = refused_to_open(error),
            }
        }
        // The TPM counts wrong PINs itself.
        if refusal.0 == Reason::WrongKey {
            guess.wrong(self.setup.clock.now_ms());
            tracing::warn!(uid, "a wrong key was tried");
        }
        self.notices.keep(notice);
        Err(refusal)
    }

    /// Somebody showed that the keys are theirs, and the start goes on.
    fn confirmed_by_hand(&self) {
        if let Keys::Open { hand, wanted, .. } = &mut *self.keys.lock() {
            (*hand, *wanted) = (Hand::Disk, false);
        }
        self.opened.notify_all();
    }

    /// What the typed text may be: a recovery key if it looks like one; otherwise a passphrase, and at last a PIN, so
    /// that a passphrase never costs one of the TPM's tries.
    fn tries(&self, typed: &SecretBytes, pin: bool) -> Result<Vec<Unlock>, Refusal> {
        let slots = self.peek()?;
        let has = |kind| slots.iter().any(|slot| slot.kind == kind);
        if let Some(key) = recovery_key(typed)? {
            return Ok(vec![Unlock::Recovery(key)]);
        }
        let mut tries = Vec::new();
        if has(SlotKind::Passphrase) || !pin {
            tries.push(Unlock::Passphrase(typed.clone()));
        }
        if pin && let Some(sealer) = self.setup.tpm.sealer(Some(typed.clone())) {
            tries.push(Unlock::Tpm(sealer));
        }
        Ok(tries)
    }
}

/// The recovery key that was typed, if it looks like one.
pub(crate) fn recovery_key(typed: &SecretBytes) -> Result<Option<RecoveryKey>, Refusal> {
    match std::str::from_utf8(typed.expose()) {
        Ok(text) if RecoveryKey::is_meant(text) => match RecoveryKey::parse(text) {
            Ok(key) => Ok(Some(key)),
            Err(error) => Err(Refusal(Reason::NotAllowed, error.to_string())),
        },
        _ => Ok(None),
    }
}

/// Whether who opened the keys like this may say that an older disk is the one to go on with: by the recovery key; by a
/// passphrase only where there is no recovery key, because that may lie in a file beside the disk. A TPM that was told
/// its PIN is still the TPM.
fn shows_owner(slots: &[SlotInfo], by: SlotKind) -> bool {
    let has_recovery = slots.iter().any(|slot| slot.kind == SlotKind::Recovery);
    by == SlotKind::Recovery || (by == SlotKind::Passphrase && !has_recovery)
}

fn keys(keyring: &Keyring, by: SlotKind) -> Result<Reply, Refusal> {
    let keys = keyring.release().map_err(refused_key)?;
    Ok(Reply::Keys { by, keys })
}

pub(crate) fn kind(unlock: &Unlock) -> SlotKind {
    match unlock {
        Unlock::File => SlotKind::File,
        Unlock::Passphrase(_) => SlotKind::Passphrase,
        Unlock::Recovery(_) => SlotKind::Recovery,
        Unlock::Tpm(_) => SlotKind::Tpm,
    }
}
