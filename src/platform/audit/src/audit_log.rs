//! The log of a running server: which one it is, its signed head, its witnesses, its export.

mod add_witness;
mod rows;
mod sign;

use crate::change::{Chain, Span};
use crate::entry::{Actor, Entry};
use crate::export::{WITNESSED_MAX, change_line, end_lines, entry_line, head_lines, witnessed_line};
use crate::key::{NotAKey, VerifierKey, hex};
use crate::log::{self, META, WITNESSED};
use crate::notary::{HeadSigner, NotarizeError, SignerError, SignerIdentity};
use crate::note::{Note, NoteError};
use crate::verify::VerifyError;
use lamchat_base::{Clock, Entropy};
use lamchat_store::{CommitError, KeyRange, Read, ReadError, ReadExt, Store, WriteError};
use parking_lot::{Mutex, RwLock};
use rows::{CHANGE_ROW, HEAD_ROW, change_row, changes, head, keep_change, witnessed};
use std::sync::Arc;

const LOG_ROW: &[u8] = b"log";
/// Entries that are read from the store at a time for an export.
const BATCH: usize = 500;
/// Which log this is.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Identity {
    /// Sixteen hexadecimal digits that no other log has.
    id: String,
    /// The store's epoch in which it began.
    epoch: u32,
}

/// Why the log could not be opened, signed, read or changed.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The signer.
    #[error(transparent)]
    Notarize(#[from] NotarizeError),
    /// The server's name cannot be part of a key's name.
    #[error(transparent)]
    Key(#[from] NotAKey),
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store kept nothing.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// A row is no note.
    #[error("a checkpoint in the database is damaged: {0}")]
    Note(#[from] NoteError),
    /// A checkpoint that was brought is not one of this log.
    #[error(transparent)]
    Foreign(#[from] VerifyError),
    /// It has no signature but the log's own.
    #[error("no witness has signed this checkpoint; `lamchat audit witness` does")]
    NoWitness,
    /// There are too many.
    #[error("checkpoints of {WITNESSED_MAX} witnesses are kept already")]
    TooManyWitnesses,
    /// Whoever takes an export wants no more.
    #[error("whoever asked for the export is gone")]
    Stopped,
}

impl From<WriteError<Self>> for AuditError {
    fn from(error: WriteError<Self>) -> Self {
        error.flatten()
    }
}

/// The log as it is now.
#[derive(Debug, Clone)]
pub struct Status {
    /// The key of whoever verifies.
    pub key: VerifierKey,
    /// What sort of key signs.
    pub key_kind: String,
    /// All keys that signed it, the one of now last.
    pub keys: Vec<Span>,
    /// How many entries there are.
    pub size: u64,
    /// How many of them the newest signed head covers.
    pub signed: u64,
    /// Each witness, and how many entries it has seen.
    pub witnesses: Vec<(String, u64)>,
    /// Why signing waits, or is not done by the key that should.
    pub trouble: Option<Trouble>,
}

/// What keeps the log from being signed as it should. Nothing is lost by it: entries wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// One sentence.
    pub sentence: String,
}

/// The keys as they are known without asking whoever signs.
#[derive(Debug, Clone)]
struct Keys {
    key: VerifierKey,
    kind: String,
    chain: Chain,
}

/// The log of a running server. Made once. Its methods block: on the disk, on the signer.
pub struct AuditLog {
    store: Store,
    clock: Arc<dyn Clock>,
    origin: String,
    signer: Arc<dyn HeadSigner>,
    /// Held while a head is signed and kept, so that heads are kept in the order in which they were signed.
    signing: Mutex<()>,
    /// As they are known without asking the signer, who may be waiting for a TPM.
    keys: RwLock<Keys>,
    trouble: Mutex<Option<Trouble>>,
    /// No change of the key is announced before.
    change_after_ms: Mutex<u64>,
}

impl std::fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuditLog")
            .field("origin", &self.origin)
            .finish_non_exhaustive()
    }
}

impl AuditLog {
    /// Opens the log, which begins with its first entry. In a restored database it becomes another log, whose first
    /// entry of its own says so: what was appended after the backup is missing, and so it does not continue the old one.
    pub fn open(
        store: Store,
        signer: Arc<dyn HeadSigner>,
        server_name: &str,
        clock: Arc<dyn Clock>,
        entropy: &dyn Entropy,
    ) -> Result<Self, AuditError> {
        let (epoch, now_ms) = (store.epoch().0, clock.now_ms());
        let fresh = Identity {
            id: hex(&entropy.u64().to_be_bytes()),
            epoch,
        };
        let identity = store.write_blocking(move |txn| {
            let Some(known) = txn.get_json::<Identity>(META, LOG_ROW)? else {
                txn.put_json(META, LOG_ROW, &fresh)?;
                return Ok::<_, AuditError>(fresh);
            };
            if known.epoch == epoch {
                return Ok(known);
            }
            let entry = Entry::new(now_ms, Actor::Server, "backup.restored")
                .subject(&known.id)
                .fact("new_log", &fresh.id)
                .fact("epoch", epoch);
            log::append(txn, &entry)?;
            txn.put_json(META, LOG_ROW, &fresh)?;
            txn.delete(META, HEAD_ROW);
            // They are of the old log.
            txn.delete_range(META, &KeyRange::prefix(CHANGE_ROW))?;
            txn.delete_range(WITNESSED, &KeyRange::all())?;
            Ok(fresh)
        })?;
        let origin = format!("{server_name}/audit/{}", identity.id);
        // A change that was signed, but that the power went before it was kept here.
        if let Some(change) = signer.last_change(&origin)?
            && store.read().get(META, &change_row(change.number))?.is_none()
        {
            keep_change(&store, &change)?;
        }
        let keys = Keys::of(signer.identity(&origin)?, &store.read())?;
        Ok(Self {
            store,
            clock,
            origin,
            signer,
            signing: Mutex::new(()),
            keys: RwLock::new(keys),
            trouble: Mutex::new(None),
            change_after_ms: Mutex::new(0),
        })
    }

    /// The name under which its heads are signed.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// What a command shows. Never waits for whoever signs.
    pub fn status(&self) -> Result<Status, AuditError> {
        // Before the snapshot: a head that another key signed is in no snapshot whose key is not known here.
        let known = self.keys.read();
        let read = self.store.read();
        let Keys { key, kind, chain } = known.clone();
        drop(known);
        let mut witnesses = Vec::new();
        for (name, note) in witnessed(&read)? {
            witnesses.push((name, chain.signed_by(&note)?.size));
        }
        let signed = match head(&read)? {
            Some(head) => chain.signed_by(&head)?.size,
            None => 0,
        };
        Ok(Status {
            key,
            key_kind: kind,
            keys: chain.spans().to_vec(),
            size: log::size(&read)?,
            signed,
            witnesses,
            trouble: self.trouble.lock().clone(),
        })
    }

    /// The head for an export: signed now, or the last one if whoever signs does not answer.
    pub fn newest_head(&self) -> Result<Note, AuditError> {
        match self.sign() {
            Err(
                error @ AuditError::Notarize(NotarizeError::Signer(SignerError::Waiting(_) | SignerError::Lost(_))),
            ) => match head(&self.store.read())? {
                Some(kept) => Ok(kept),
                None => Err(error),
            },
            other => other,
        }
    }

    /// Writes an export of the entries from `since` on, up to a head that is signed now, piece by piece.
    pub fn export(&self, since: u64, sink: &mut dyn FnMut(String) -> Result<(), AuditError>) -> Result<(), AuditError> {
        let note = self.newest_head()?;
        let Keys { key, chain, .. } = self.keys.read().clone();
        let size = chain.signed_by(&note)?.size;
        let read = self.store.read();
        let since = since.min(size);
        sink(head_lines(&key, since, &log::peaks(&read, since)?))?;
        for change in changes(&read)? {
            let at = change.number.saturating_add(1);
            if at <= size {
                sink(change_line(&change, &log::consistency(&read, at, size)?))?;
            }
        }
        let mut next = since;
        while next < size {
            let left = usize::try_from(size - next).unwrap_or(BATCH).min(BATCH);
            let batch = log::raw_entries(&read, next, left)?;
            if batch.is_empty() {
                return Err(log::malformed(META, "a head without its entries").into());
            }
            next += u64::try_from(batch.len()).unwrap_or(0);
            sink(batch.iter().map(|(_, entry)| entry_line(entry)).collect())?;
        }
        for (_, witnessed) in witnessed(&read)? {
            let earlier = chain.signed_by(&witnessed)?;
            if earlier.size <= size {
                let proof = log::consistency(&read, earlier.size, size)?;
                sink(witnessed_line(&witnessed, &proof))?;
            }
        }
        sink(end_lines(&note))
    }
}

impl Keys {
    fn of(signer: SignerIdentity, read: &dyn Read) -> Result<Self, AuditError> {
        let SignerIdentity { key, kind, .. } = signer;
        let chain = match Chain::follow(key.name(), &key, &changes(read)?) {
            Ok(chain) => chain,
            // Rows that somebody changed: an auditor who has an earlier key will see that it leads nowhere.
            Err(_) => Chain::follow(key.name(), &key, &[])?,
        };
        Ok(Self { key, kind, chain })
    }
}
