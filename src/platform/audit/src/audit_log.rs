//! The log of a running server: which one it is, its signed head, its witnesses, its export.

use crate::checkpoint::Checkpoint;
use crate::entry::{Actor, Entry};
use crate::export::{WITNESSED_MAX, end_lines, entry_line, head_lines, witnessed_line};
use crate::key::{NotAKey, VerifierKey, hex};
use crate::log::{self, META, WITNESSED};
use crate::notary::{HeadSigner, NotarizeError};
use crate::note::{Note, NoteError};
use crate::verify::{VerifyError, signed_by};
use lamchat_base::{Clock, Entropy};
use lamchat_store::{CommitError, KeyRange, Order, Read, ReadError, ReadExt, Store, WriteError, WriteTxn};
use parking_lot::Mutex;
use std::sync::Arc;

const LOG_ROW: &[u8] = b"log";
const HEAD_ROW: &[u8] = b"head";
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
    /// How many entries there are.
    pub size: u64,
    /// How many of them the newest signed head covers.
    pub signed: u64,
    /// Each witness, and how many entries it has seen.
    pub witnesses: Vec<(String, u64)>,
}

/// The log of a running server. Made once. Its methods block: on the disk, on the signer.
pub struct AuditLog {
    store: Store,
    clock: Arc<dyn Clock>,
    origin: String,
    signer: Arc<dyn HeadSigner>,
    /// Held while a head is signed and kept, so that heads are kept in the order in which they were signed.
    signing: Mutex<()>,
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
            txn.delete_range(WITNESSED, &KeyRange::all())?;
            Ok(fresh)
        })?;
        let origin = format!("{server_name}/audit/{}", identity.id);
        signer.identity(&origin)?;
        Ok(Self {
            store,
            clock,
            origin,
            signer,
            signing: Mutex::new(()),
        })
    }

    /// The name under which its heads are signed.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// What a command shows.
    pub fn status(&self) -> Result<Status, AuditError> {
        let read = self.store.read();
        let signer = self.signer.identity(&self.origin)?;
        let key = signer.key;
        let mut witnesses = Vec::new();
        for (name, note) in witnessed(&read)? {
            witnesses.push((name, signed_by(&key, &note)?.size));
        }
        let signed = match head(&read)? {
            Some(head) => signed_by(&key, &head)?.size,
            None => 0,
        };
        Ok(Status {
            key,
            key_kind: signer.kind,
            size: log::size(&read)?,
            signed,
            witnesses,
        })
    }

    /// Signs the head if it is not signed yet, and keeps it. Many appends between two calls cost one signature.
    pub fn sign(&self) -> Result<Note, AuditError> {
        let signing = self.signing.lock();
        let read = self.store.read();
        let size = log::size(&read)?;
        let checkpoint = Checkpoint {
            origin: self.origin.clone(),
            size,
            root: log::frontier(&read, size)?.root(),
        };
        let signed = self.signer.identity(&self.origin)?.signed;
        // A kept head is good as long as the signer knows of no later one: then the database was put back.
        let kept = head(&read)?.filter(|head| head.text == checkpoint.to_string() && signed == size);
        if let Some(head) = kept {
            return Ok(head);
        }
        let proof = if signed <= size {
            log::consistency(&read, signed, size)?
        } else {
            Vec::new()
        };
        let note = self.signer.sign(&checkpoint, &proof)?;
        let row = note.to_string();
        self.store.write_blocking(move |txn| {
            txn.put(META, HEAD_ROW, row.into_bytes());
            Ok::<_, AuditError>(())
        })?;
        drop(signing);
        Ok(note)
    }

    /// Writes an export of the entries from `since` on, up to a head that is signed now, piece by piece.
    pub fn export(&self, since: u64, sink: &mut dyn FnMut(String) -> Result<(), AuditError>) -> Result<(), AuditError> {
        let note = self.sign()?;
        let key = self.signer.identity(&self.origin)?.key;
        let size = signed_by(&key, &note)?.size;
        let read = self.store.read();
        let since = since.min(size);
        sink(head_lines(&key, since, &log::peaks(&read, since)?))?;
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
            let earlier = signed_by(&key, &witnessed)?;
            if earlier.size <= size {
                let proof = log::consistency(&read, earlier.size, size)?;
                sink(witnessed_line(&witnessed, &proof))?;
            }
        }
        sink(end_lines(&note))
    }

    /// Keeps a checkpoint that a witness signed, for later exports, and notes that in the log. It must be one of this
    /// log; the witness's own signature is for those who know its key. Answers the names of its witnesses.
    pub fn add_witness(&self, note: Note, actor: Actor) -> Result<Vec<String>, AuditError> {
        let key = self.signer.identity(&self.origin)?.key;
        let checkpoint = signed_by(&key, &note)?;
        let names = note.signatures.iter().filter(|signature| signature.name != key.name());
        let names: Vec<String> = names.map(|signature| signature.name.clone()).collect();
        if names.is_empty() {
            return Err(AuditError::NoWitness);
        }
        let (now_ms, kept) = (self.clock.now_ms(), names.clone());
        self.store
            .write_blocking(move |txn| keep(txn, &note, &checkpoint, &key, &kept, now_ms, actor))?;
        Ok(names)
    }
}

fn keep(
    txn: &mut WriteTxn<'_>,
    note: &Note,
    checkpoint: &Checkpoint,
    key: &VerifierKey,
    names: &[String],
    now_ms: u64,
    actor: Actor,
) -> Result<(), AuditError> {
    let size = log::size(txn)?;
    if checkpoint.size > size {
        let (earlier, now) = (checkpoint.size, size);
        return Err(VerifyError::Shrunk { earlier, now }.into());
    }
    if log::frontier(txn, checkpoint.size)?.root() != checkpoint.root {
        return Err(VerifyError::Forked(checkpoint.size).into());
    }
    for name in names {
        if let Some(known) = txn.get(WITNESSED, name.as_bytes())? {
            // An older one says less than the newer one that is here.
            if signed_by(key, &parse(&known)?)?.size > checkpoint.size {
                continue;
            }
        } else if witnessed(txn)?.len() >= WITNESSED_MAX {
            return Err(AuditError::TooManyWitnesses);
        }
        txn.put(WITNESSED, name.as_bytes(), note.to_string().into_bytes());
        let entry = Entry::new(now_ms, actor.clone(), "audit.witness")
            .subject(name)
            .fact("size", checkpoint.size);
        log::append(txn, &entry)?;
    }
    Ok(())
}

fn head(read: &dyn Read) -> Result<Option<Note>, AuditError> {
    Ok(read.get(META, HEAD_ROW)?.map(|row| parse(&row)).transpose()?)
}

/// Names of witnesses and the newest checkpoint that each has signed.
fn witnessed(read: &dyn Read) -> Result<Vec<(String, Note)>, AuditError> {
    let rows = read.rows(WITNESSED, &KeyRange::all(), Order::Ascending, WITNESSED_MAX)?;
    let rows = rows.into_iter();
    rows.map(|(name, note)| Ok((String::from_utf8_lossy(&name).into_owned(), parse(&note)?)))
        .collect()
}

fn parse(row: &[u8]) -> Result<Note, NoteError> {
    Note::parse(std::str::from_utf8(row).map_err(|_| NoteError::Form)?)
}
