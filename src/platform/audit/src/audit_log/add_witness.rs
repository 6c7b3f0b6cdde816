//! Keeping what a witness signed: a checkpoint of this log, for later exports.
//!
//! What must never happen here: a checkpoint kept that the log does not continue.

use super::rows::{parse, witnessed};
use super::{AuditError, AuditLog, Keys};
use crate::change::Chain;
use crate::checkpoint::Checkpoint;
use crate::entry::{Actor, Entry};
use crate::export::WITNESSED_MAX;
use crate::log::{self, WITNESSED};
use crate::note::Note;
use crate::verify::VerifyError;
use lamchat_store::{Read, WriteTxn};

impl AuditLog {
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
