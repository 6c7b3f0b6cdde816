//! The log of a running server: which one it is, its signed head, its witnesses, its export.

use crate::change::{CHANGES_MAX, Chain, KeyChange, Span};
use crate::checkpoint::Checkpoint;
use crate::entry::{Actor, Entry};
use crate::export::{WITNESSED_MAX, change_line, end_lines, entry_line, head_lines, witnessed_line};
use crate::key::{NotAKey, VerifierKey, hex};
use crate::log::{self, META, WITNESSED};
use crate::notary::{HeadSigner, NotarizeError, SignerError, SignerIdentity};
use crate::note::{Note, NoteError};
use crate::tree::Hash;
use crate::verify::VerifyError;
use lamchat_base::{Clock, Entropy};
use lamchat_store::{CommitError, Key, KeyRange, Order, Read, ReadError, ReadExt, Store, WriteError, WriteTxn};
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;

const LOG_ROW: &[u8] = b"log";
const HEAD_ROW: &[u8] = b"head";
/// Followed by the number of the entry.
const CHANGE_ROW: &[u8] = b"change";
/// Entries that are read from the store at a time for an export.
const BATCH: usize = 500;
/// After a change of the key that failed once it was announced, the next one waits: each costs an entry.
const CHANGE_PAUSE_MS: u64 = 15 * 60 * 1000;
/// Changes that may follow one another at once: a lost key to the fallback, and that to a new one in hardware.
const CHANGES_AT_ONCE: usize = 2;

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

    /// Signs the head if it is not signed yet, and keeps it. Many appends between two calls cost one signature. A change
    /// of the key that is due happens first.
    pub fn sign(&self) -> Result<Note, AuditError> {
        let signing = self.signing.lock();
        // What a change needs may be missing while the present key signs well.
        let changed = self.change_keys();
        let mut signed = self.sign_head();
        // The key may have turned out to be lost just now; then another one takes over.
        if matches!(signed, Err(AuditError::Notarize(NotarizeError::Signer(_)))) && self.change_keys()? {
            signed = self.sign_head();
        }
        let trouble = match (&signed, changed) {
            (Err(error), _) => Some(error.to_string()),
            (Ok(_), Err(error)) => Some(format!("the {} signs for now: {error}", self.keys.read().kind)),
            (Ok(_), Ok(_)) => None,
        };
        self.note_trouble(trouble);
        drop(signing);
        signed
    }

    fn note_trouble(&self, sentence: Option<String>) {
        let mut trouble = self.trouble.lock();
        *trouble = sentence.map(|sentence| Trouble {
            since_ms: trouble
                .as_ref()
                .map_or_else(|| self.clock.now_ms(), |known| known.since_ms),
            sentence,
        });
    }

    fn change_keys(&self) -> Result<bool, AuditError> {
        let mut changed = false;
        for _ in 0..CHANGES_AT_ONCE {
            if !self.change_key()? {
                break;
            }
            changed = true;
        }
        Ok(changed)
    }

    /// Changes the key if that is due: the entry that announces it, then the checkpoint that both keys sign.
    fn change_key(&self) -> Result<bool, AuditError> {
        let now_ms = self.clock.now_ms();
        let signed = self.signer.identity(&self.origin)?.signed;
        if now_ms < *self.change_after_ms.lock() || self.keys.read().chain.spans().len() > CHANGES_MAX {
            return Ok(false);
        }
        // A log of which nothing is signed begins with the key that is there. In one that was put back, or whose last
        // signature was not kept, nothing is announced before a head is signed.
        let kept = head(&self.store.read())?.map(|head| head.text);
        if signed == 0
            || log::size(&self.store.read())? < signed
            || kept != Some(self.checkpoint(signed, signed)?.0.to_string())
        {
            return Ok(false);
        }
        let Some(plan) = self.signer.plan()? else {
            return Ok(false);
        };
        *self.change_after_ms.lock() = now_ms.saturating_add(CHANGE_PAUSE_MS);
        let entry = plan.entry(now_ms);
        let bytes = entry.encode();
        let number = self
            .store
            .write_blocking(move |txn| log::append(txn, &entry).map_err(AuditError::from))?;
        let (checkpoint, proof) = self.checkpoint(signed, number.saturating_add(1))?;
        let peaks = log::peaks(&self.store.read(), number)?;
        let change = self.signer.change(&checkpoint, &proof, &bytes, &peaks)?;
        self.with_new_key(|| keep_change(&self.store, &change))?;
        *self.change_after_ms.lock() = 0;
        Ok(true)
    }

    /// Keeps what the key that signs now has signed first. Nobody sees it before that key is known here, and nobody waits
    /// for the signer by it.
    fn with_new_key(&self, keep: impl FnOnce() -> Result<(), AuditError>) -> Result<(), AuditError> {
        let identity = self.signer.identity(&self.origin);
        let mut keys = self.keys.write();
        // Also where the signer has gone meanwhile: what it signed is good.
        keep()?;
        *keys = Keys::of(identity?, &self.store.read())?;
        Ok(())
    }

    /// The checkpoint of the first `size` entries, and its proof from the first `signed` ones.
    fn checkpoint(&self, signed: u64, size: u64) -> Result<(Checkpoint, Vec<Hash>), AuditError> {
        let read = self.store.read();
        let checkpoint = Checkpoint {
            origin: self.origin.clone(),
            size,
            root: log::frontier(&read, size)?.root(),
        };
        let proof = if signed <= size {
            log::consistency(&read, signed, size)?
        } else {
            Vec::new()
        };
        Ok((checkpoint, proof))
    }

    fn sign_head(&self) -> Result<Note, AuditError> {
        let read = self.store.read();
        let SignerIdentity { key, signed, .. } = self.signer.identity(&self.origin)?;
        let (checkpoint, proof) = self.checkpoint(signed, log::size(&read)?)?;
        // A kept head is good as long as the signer knows of no later one: then the database was put back.
        let kept = head(&read)?.filter(|head| head.text == checkpoint.to_string() && signed == checkpoint.size);
        if let Some(head) = kept {
            return Ok(head);
        }
        let note = self.signer.sign(&checkpoint, &proof)?;
        let row = note.to_string();
        let keep = || {
            let kept = self.store.write_blocking(move |txn| {
                txn.put(META, HEAD_ROW, row.into_bytes());
                Ok::<_, AuditError>(())
            });
            Ok(kept?)
        };
        // A log without its TPM of before begins with another key.
        let is_new = signed == 0 || key != self.keys.read().key;
        if is_new { self.with_new_key(keep) } else { keep() }?;
        Ok(note)
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

    /// Keeps a checkpoint that a witness signed, for later exports, and notes that in the log. It must be one of this
    /// log; the witness's own signature is for those who know its key. Answers the names of its witnesses.
    pub fn add_witness(&self, note: Note, actor: Actor) -> Result<Vec<String>, AuditError> {
        let Keys { key, chain, .. } = self.keys.read().clone();
        let checkpoint = chain.signed_by(&note)?;
        let names = note.signatures.iter().filter(|signature| signature.name != key.name());
        let names: Vec<String> = names.map(|signature| signature.name.clone()).collect();
        if names.is_empty() {
            return Err(AuditError::NoWitness);
        }
        let (now_ms, kept) = (self.clock.now_ms(), names.clone());
        self.store
            .write_blocking(move |txn| keep(txn, &note, &checkpoint, &chain, &kept, now_ms, actor))?;
        Ok(names)
    }
}

fn keep(
    txn: &mut WriteTxn<'_>,
    note: &Note,
    checkpoint: &Checkpoint,
    chain: &Chain,
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
            if chain.signed_by(&parse(&known)?)?.size > checkpoint.size {
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

fn change_row(number: u64) -> Key {
    Key::new().raw(CHANGE_ROW).u64(number)
}

/// Keeps a change; its checkpoint is the head.
fn keep_change(store: &Store, change: &KeyChange) -> Result<(), AuditError> {
    let (row, line) = (change_row(change.number), change.line());
    let head = change.note.to_string();
    let kept = store.write_blocking(move |txn| {
        txn.put(META, &row, line.into_bytes());
        txn.put(META, HEAD_ROW, head.into_bytes());
        Ok::<_, AuditError>(())
    });
    Ok(kept?)
}

fn changes(read: &dyn Read) -> Result<Vec<KeyChange>, AuditError> {
    let rows = read.rows(META, &KeyRange::prefix(CHANGE_ROW), Order::Ascending, CHANGES_MAX)?;
    let parse = |row: &[u8]| KeyChange::parse(std::str::from_utf8(row).ok()?);
    let rows = rows.iter().map(|(_, row)| parse(row));
    rows.map(|change| change.ok_or_else(|| log::malformed(META, "a change of the key").into()))
        .collect()
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
