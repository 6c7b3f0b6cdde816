//! The exchange's side: asks, and waits for the answer.

use crate::anchor::Anchored;
use crate::blame::Blame;
use crate::frame::{self, FrameError};
use crate::known::{Known, Watcher};
use crate::notice::{Ack, Notice};
use crate::reply::{HolderStatus, Reason, Reply};
use crate::request::{Request, Sealed};
use crate::typed::Typed;
use crate::wire::MalformedError;
use lamchat_attester::{Made, Nonce, Statement};
use lamchat_audit::checkpoint::Checkpoint;
use lamchat_audit::notary::{HeadSigner, NotarizeError, SignerError, SignerIdentity};
use lamchat_audit::note::Note;
use lamchat_audit::tree::Hash;
use lamchat_audit::{KeyChange, Plan};
use lamchat_base::Secret;
use lamchat_hardware::TpmMake;
use lamchat_seal::{Purpose, ReleasedKey, SlotInfo, SlotKind};
use lamchat_tpm::Anchor;
use parking_lot::Mutex;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long the holder may take: as long as a slow TPM and a passphrase take together, twice.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// The holder, to the exchange. Calls block, one at a time; share it in an [`Arc`].
#[derive(Debug)]
pub struct Client {
    stream: Mutex<UnixStream>,
    /// The same stream, for who must not wait for the lock.
    closer: UnixStream,
    /// As it was after the last change.
    known: Known,
}

/// Why there is no answer, or not the wished one.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The holder refused; nothing was changed.
    #[error("{1}")]
    Refused(Reason, String),
    /// The stream failed. Whether the holder did what was asked is not known.
    #[error("the key holder does not answer: {0}")]
    Frame(#[from] FrameError),
    /// An answer is not as documented, or answers something else.
    #[error("the key holder: {0}")]
    Malformed(#[from] MalformedError),
}

impl From<std::io::Error> for AskError {
    fn from(error: std::io::Error) -> Self {
        Self::Frame(error.into())
    }
}

/// The keys, or what is known while they are locked.
#[derive(Debug)]
pub enum Opened {
    /// Open.
    Keys {
        /// The slot that opened them.
        by: SlotKind,
        /// The data keys.
        keys: Vec<ReleasedKey>,
    },
    /// Locked.
    Locked {
        /// Why: a sentence without its full stop.
        reason: String,
        /// Whose doing it is.
        blame: Blame,
        /// The slots, from the file, which nothing has authenticated.
        slots: Vec<SlotInfo>,
    },
}

impl Client {
    /// Over the stream whose other end the holder has.
    pub fn new(stream: UnixStream) -> std::io::Result<Self> {
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self {
            closer: stream.try_clone()?,
            stream: Mutex::new(stream),
            known: Known::default(),
        })
    }

    /// To open the keyring by itself, which is made if there is none and `create` says so.
    pub fn open(&self, create: bool) -> Result<Opened, AskError> {
        opened(self.ask(&Request::Open { create })?)
    }

    /// Waits until somebody has unlocked the keys; [`Client::close`] ends the waiting.
    pub fn await_unlock(&self) -> Result<Opened, AskError> {
        self.closer.set_read_timeout(None)?;
        let reply = self.ask(&Request::AwaitUnlock);
        self.closer.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        opened(reply?)
    }

    /// Lets go of the holder, which ends then.
    pub fn close(&self) {
        // It may be gone already.
        let _closed = self.closer.shutdown(Shutdown::Both);
    }

    /// Notices are taken from now on.
    pub fn ready(&self) -> Result<(), AskError> {
        self.done(&Request::Ready)
    }

    /// How everything is: as it was after the last change.
    pub fn status(&self) -> Result<Arc<HolderStatus>, AskError> {
        let age = match self.known.get() {
            Ok(known) => return Ok(known),
            Err(age) => age,
        };
        let Reply::Status(status) = self.ask(&Request::Status)? else {
            return Err(MalformedError.into());
        };
        let status = Arc::new(*status);
        self.known.keep(age, &status);
        Ok(status)
    }

    /// Who hears of the status from now on; whether it is the first one, which stays the only one.
    pub fn watch(&self, watcher: Arc<dyn Watcher>) -> bool {
        self.known.watch(watcher)
    }

    /// Which make of TPM there is, as it says itself.
    pub fn tpm_make(&self) -> Result<TpmMake, AskError> {
        match self.ask(&Request::TpmMake)? {
            Reply::TpmMake(make) => Ok(make),
            _ => Err(MalformedError.into()),
        }
    }

    /// Something has changed, or may have: the next [`Client::status`] asks.
    pub fn forget_status(&self) {
        self.known.forget();
    }

    /// Adds a `tpm` slot. Durable on return, as everything below.
    pub fn add_tpm(&self, force: bool) -> Result<SlotInfo, AskError> {
        self.slot(&Request::AddTpm { force })
    }

    /// Adds a `file` slot.
    pub fn add_file(&self) -> Result<SlotInfo, AskError> {
        self.slot(&Request::AddFile)
    }

    /// Binds a `tpm` slot anew; with `force` even without Secure Boot.
    pub fn rebind(&self, slot: u32, force: bool) -> Result<SlotInfo, AskError> {
        self.slot(&Request::Rebind { slot, force })
    }

    /// Raises the security floor, where no image that the machine may start is below it.
    pub fn raise_floor(&self, floor: u64, bootable: &[u64], force: bool) -> Result<(), AskError> {
        let bootable = bootable.to_vec();
        let raised = self.done(&Request::RaiseFloor { floor, bootable, force });
        self.forget_status();
        raised
    }

    /// Tells that everything is encrypted anew: the former keys go.
    pub fn forget_former(&self) -> Result<(), AskError> {
        let forgotten = self.done(&Request::ForgetFormer);
        self.forget_status();
        forgotten
    }

    /// Removes a slot.
    pub fn remove(&self, slot: u32) -> Result<(), AskError> {
        let removed = self.done(&Request::Remove(slot));
        self.forget_status();
        removed
    }

    /// Makes a new data key, for `DataKeys::add`.
    pub fn rotate(&self, purpose: Purpose) -> Result<ReleasedKey, AskError> {
        match self.ask(&Request::Rotate(purpose))? {
            Reply::Key(key) => Ok(key),
            _ => Err(MalformedError.into()),
        }
    }

    /// The keyring for a backup.
    pub fn export_for_backup(&self) -> Result<Vec<u8>, AskError> {
        match self.ask(&Request::Export)? {
            Reply::Bytes(bytes) => Ok(bytes),
            _ => Err(MalformedError.into()),
        }
    }

    /// The key of the backup with this `salt`.
    pub fn backup_key(&self, salt: &[u8; 32]) -> Result<Secret<32>, AskError> {
        match self.ask(&Request::BackupKey(*salt))? {
            Reply::Secret(key) => Ok(key),
            _ => Err(MalformedError.into()),
        }
    }

    /// The anchor in the TPM.
    pub fn anchored(&self) -> Result<Anchored, AskError> {
        match self.ask(&Request::ReadAnchor)? {
            Reply::Anchored(anchored) => Ok(anchored),
            _ => Err(MalformedError.into()),
        }
    }

    /// Writes the anchor, where a slot is sealed to a TPM and the TPM's memory is not to be spared.
    pub fn anchor(&self, anchor: Anchor) -> Result<(), AskError> {
        self.done(&Request::WriteAnchor(anchor))
    }

    /// Waits until somebody has opened the keys by hand in this start; [`Client::close`] ends the waiting. `another_log`: they
    /// are asked whether the database goes on as a new epoch, with another audit log.
    pub fn await_hand(&self, another_log: bool) -> Result<(), AskError> {
        self.closer.set_read_timeout(None)?;
        let reply = self.done(&Request::AwaitHand { another_log });
        self.closer.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        reply
    }

    /// Where what the signer of the audit log kept was, of what is missing: then it signs nothing. `None`: all is there.
    pub fn log_lost(&self) -> Result<Option<String>, AskError> {
        match self.ask(&Request::LogLost)? {
            Reply::Bytes(places) => {
                let places = String::from_utf8(places).map_err(|_| MalformedError)?;
                Ok(Some(places).filter(|places| !places.is_empty()))
            }
            _ => Err(MalformedError.into()),
        }
    }

    /// Evidence for a verifier's nonce, with the newest signed head of the audit log `origin`.
    /// `sealed`: the exchange's sealed secrets ([`lamchat_attester::SECRETS`]), which the holder may not see by itself.
    pub fn evidence(
        &self,
        nonce: Nonce,
        origin: &str,
        statement: Statement,
        sealed: Vec<Sealed>,
    ) -> Result<Made, AskError> {
        self.file(&Request::Evidence {
            nonce,
            origin: origin.to_owned(),
            statement,
            sealed,
        })
    }

    /// From now on these certificates (DER), at most 6 of at most 8 KiB, complete the endorsement key's chain.
    pub fn ek_certificates(&self, certificates: Vec<Vec<u8>>) -> Result<(), AskError> {
        self.done(&Request::EkCertificates(certificates))
    }

    /// The first file of an auditor's enrolment.
    pub fn enrolment_request(&self) -> Result<Made, AskError> {
        self.file(&Request::EnrolmentRequest)
    }

    /// The third file of an auditor's enrolment, for a challenge.
    pub fn activate(&self, challenge: &[u8]) -> Result<Made, AskError> {
        self.file(&Request::Activate(challenge.to_vec()))
    }

    fn file(&self, request: &Request) -> Result<Made, AskError> {
        match self.ask(request)? {
            Reply::File(made) => Ok(made),
            _ => Err(MalformedError.into()),
        }
    }

    /// The stream itself.
    #[cfg(test)]
    pub(crate) fn raw(&self) -> &UnixStream {
        &self.closer
    }

    fn slot(&self, request: &Request) -> Result<SlotInfo, AskError> {
        let reply = self.ask(request);
        self.forget_status();
        match reply? {
            Reply::Slot(slot) => Ok(slot),
            _ => Err(MalformedError.into()),
        }
    }

    fn done(&self, request: &Request) -> Result<(), AskError> {
        match self.ask(request)? {
            Reply::Done => Ok(()),
            _ => Err(MalformedError.into()),
        }
    }

    fn ask(&self, request: &Request) -> Result<Reply, AskError> {
        let mut stream = self.stream.lock();
        let reply = exchange(&mut stream, &request.encode());
        if matches!(reply, Err(AskError::Frame(_) | AskError::Malformed(_))) {
            // A late answer must not be taken for one to a later request; the holder ends.
            self.close();
        }
        drop(stream);
        reply
    }
}

/// Sends a frame and reads the answer.
fn exchange(stream: &mut UnixStream, request: &[u8]) -> Result<Reply, AskError> {
    frame::write(stream, request)?;
    match Reply::parse(&frame::read(stream)?)? {
        Reply::Refused(reason, sentence) => Err(AskError::Refused(reason, sentence)),
        reply => Ok(reply),
    }
}

fn opened(reply: Reply) -> Result<Opened, AskError> {
    match reply {
        Reply::Keys { by, keys } => Ok(Opened::Keys { by, keys }),
        Reply::Locked { reason, blame, slots } => Ok(Opened::Locked { reason, blame, slots }),
        _ => Err(MalformedError.into()),
    }
}

impl HeadSigner for Client {
    fn identity(&self, origin: &str) -> Result<SignerIdentity, NotarizeError> {
        match self.ask(&Request::LogIdentity(origin.to_owned())) {
            Ok(Reply::LogIdentity { key, kind, signed }) => Ok(SignerIdentity { key, kind, signed }),
            Ok(_) => Err(failed(MalformedError.into())),
            Err(error) => Err(failed(error)),
        }
    }

    fn sign(&self, checkpoint: &Checkpoint, proof: &[Hash]) -> Result<Note, NotarizeError> {
        let request = Request::SignHead {
            checkpoint: checkpoint.clone(),
            proof: proof.to_vec(),
        };
        match self.ask(&request) {
            Ok(Reply::Note(note)) => Ok(note),
            Ok(_) => Err(failed(MalformedError.into())),
            Err(error) => Err(failed(error)),
        }
    }

    fn plan(&self) -> Result<Option<Plan>, NotarizeError> {
        let entry = self.bytes(&Request::PlanKey)?;
        if entry.is_empty() {
            return Ok(None);
        }
        let plan = Plan::of(&entry).ok_or_else(|| failed(MalformedError.into()))?;
        Ok(Some(plan))
    }

    fn change(
        &self,
        checkpoint: &Checkpoint,
        proof: &[Hash],
        entry: &[u8],
        peaks: &[Hash],
    ) -> Result<KeyChange, NotarizeError> {
        let request = Request::ChangeKey {
            checkpoint: checkpoint.clone(),
            proof: proof.to_vec(),
            entry: entry.to_vec(),
            peaks: peaks.to_vec(),
        };
        key_change(&self.bytes(&request)?)
    }

    fn last_change(&self, origin: &str) -> Result<Option<KeyChange>, NotarizeError> {
        let line = self.bytes(&Request::LastKeyChange(origin.to_owned()))?;
        if line.is_empty() {
            return Ok(None);
        }
        key_change(&line).map(Some)
    }
}

impl Client {
    fn bytes(&self, request: &Request) -> Result<Vec<u8>, NotarizeError> {
        match self.ask(request) {
            Ok(Reply::Bytes(bytes)) => Ok(bytes),
            Ok(_) => Err(failed(MalformedError.into())),
            Err(error) => Err(failed(error)),
        }
    }
}

fn key_change(line: &[u8]) -> Result<KeyChange, NotarizeError> {
    let change = std::str::from_utf8(line).ok().and_then(KeyChange::parse);
    change.ok_or_else(|| failed(MalformedError.into()))
}

/// The holder's sentence says what is the matter.
fn failed(error: AskError) -> NotarizeError {
    NotarizeError::Signer(match error {
        AskError::Refused(Reason::Tpm, sentence) => SignerError::Waiting(sentence),
        error => SignerError::Failed(error.to_string()),
    })
}

/// Reads notices from the holder and answers each by what `note` makes of it, until the holder is gone. Blocks.
pub fn listen(mut stream: UnixStream, mut note: impl FnMut(&Notice) -> Result<(), String>) -> Result<(), AskError> {
    loop {
        let frame = match frame::read(&mut stream) {
            Err(FrameError::Ended) => return Ok(()),
            other => other?,
        };
        let ack = match note(&Notice::parse(&frame)?) {
            Ok(()) => Ack::Noted,
            Err(error) => {
                tracing::error!(error, "an act of the key holder could not be noted");
                Ack::NotNoted
            }
        };
        frame::write(&mut stream, &ack.encode())?;
    }
}

/// Asks at the holder's own socket, where people's secrets go past the exchange.
pub fn ask_typed(socket: &Path, request: &Typed) -> Result<Reply, AskError> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    exchange(&mut stream, &request.encode())
}
