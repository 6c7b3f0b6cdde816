//! The audit log of this server: opened, told of starts and stops, signed when it has grown.

use super::certificates::Reread;
use super::configuration::{Standing, hex};
use super::wiring::Parts;
use super::{StartError, refused};
use lamchat_audit::notary::HeadSigner;
use lamchat_audit::{APPENDED, Actor, AuditLog, Entry};
use lamchat_base::{Clock, Entropy};
use lamchat_config::{Change, Config};
use lamchat_holder::Client;
use lamchat_store::{CommitError, ReadError, Store, WriteError, WriteTxn};
use std::sync::Arc;
use std::time::Duration;

/// Appends of this time share one signature.
const COALESCE: Duration = Duration::from_secs(1);
/// After a failure, signing is tried again.
const RETRY_MIN: Duration = Duration::from_secs(2);
/// And at least so often.
const RETRY_MAX: Duration = Duration::from_secs(300);
/// While the disk is full, the start is tried again this often.
const FULL_DISK_PAUSE: Duration = Duration::from_secs(10);

/// Opens it.
pub fn open(
    config: &Config,
    store: &Store,
    holder: &Arc<Client>,
    clock: &Arc<dyn Clock>,
    entropy: &dyn Entropy,
) -> Result<Arc<AuditLog>, StartError> {
    let signer = Arc::clone(holder) as Arc<dyn HeadSigner>;
    let (store, clock) = (store.clone(), Arc::clone(clock));
    let log = AuditLog::open(store, signer, config.server_name.as_str(), clock, entropy);
    Ok(Arc::new(log.map_err(refused)?))
}

/// Notes that the server starts: which program, how its keys were unlocked, and what is configured otherwise than was
/// noted last. A full disk keeps nobody from reading: then it is noted as soon as there is room, before which no act that
/// changes something is possible either.
pub async fn note_start(parts: &Parts, config: &Config) -> Result<(), StartError> {
    let standing = Standing::of(config, &parts.certificates, &*parts.entropy);
    let entry = Entry::new(parts.clock.now_ms(), Actor::Server, "server.start")
        .fact("version", crate::cli::VERSION)
        .fact("unlocked_by", parts.unlocked_by)
        .fact("signing_key", &parts.signing_key);
    let entry = standing.told(entry);
    match append_start(&parts.store, entry.clone(), standing.clone()).await {
        Ok(()) => Ok(()),
        Err(WriteError::Commit(error @ CommitError::DiskFull)) => {
            tracing::warn!(%error, "the start is not in the audit log yet");
            tokio::spawn(note_later(parts.store.clone(), entry, standing));
            Ok(())
        }
        Err(error) => Err(refused(sentence(&error))),
    }
}

/// Notes something that has to be noted before the start goes on.
pub async fn note(store: &Store, entry: Entry) -> Result<(), StartError> {
    append(store, entry).await.map_err(|error| refused(sentence(&error)))
}

async fn note_later(store: Store, entry: Entry, standing: Standing) {
    loop {
        tokio::time::sleep(FULL_DISK_PAUSE).await;
        match append_start(&store, entry.clone(), standing.clone()).await {
            Err(WriteError::Commit(CommitError::DiskFull)) => {}
            Ok(()) => return,
            Err(error) => {
                tracing::error!(error = sentence(&error), "the start is not in the audit log");
                return;
            }
        }
    }
}

/// Notes that a key of the server's own is made, before it is kept: `public` is its public part or its certificate's
/// fingerprint. Blocks.
pub fn note_key(store: &Store, now_ms: u64, name: &str, public: &str) -> Result<(), StartError> {
    let entry = Entry::new(now_ms, Actor::Server, "key.made")
        .subject(name)
        .fact("public", public);
    let appended = store.write_blocking(move |txn| lamchat_audit::append(txn, &entry).map(drop));
    appended.map_err(|error| refused(sentence(&error)))
}

/// Notes that the server stops, and signs for the last time.
pub async fn note_stop(parts: &Parts) {
    let entry = Entry::new(parts.clock.now_ms(), Actor::Server, "server.stop");
    if let Err(error) = append(&parts.store, entry).await {
        tracing::error!(error = sentence(&error), "the stop is not in the audit log");
    }
    sign(&parts.audit).await;
}

/// Notes that another certificate is in a file of the operator's, before it is shown.
pub async fn note_certificate(parts: &Parts, read: &Reread) -> Result<(), String> {
    let Some(sha256) = read.is_other() else { return Ok(()) };
    let entry = Entry::new(parts.clock.now_ms(), Actor::Server, "certificate.reload")
        .subject(&read.file)
        .fact("public", hex(&sha256));
    let appended = append(&parts.store, entry).await;
    appended.map_err(|error| sentence(&error))
}

/// Notes which settings a reload changes, their values left out, and the digest of the configuration `in_use` after it.
pub async fn note_reload(parts: &Parts, live: &[Change], waiting: &[Change], in_use: &Config) -> Result<(), String> {
    let mut entry = Entry::new(parts.clock.now_ms(), Actor::Server, "config.reload");
    for (name, count_name, changes) in [
        ("changed", "changed_count", live),
        ("waiting_for_restart", "waiting_count", waiting),
    ] {
        let keys: Vec<&str> = changes.iter().map(|change| change.key.as_str()).collect();
        // The list may be cut off where it is long; the number then tells.
        entry = entry.fact(name, keys.join(", ")).fact(count_name, keys.len());
    }
    let standing = Standing::of(in_use, &parts.certificates, &*parts.entropy);
    let changed: Vec<&str> = live.iter().map(|change| change.key.as_str()).collect();
    let entry = standing.told_with(entry, &changed);
    let appended = parts.store.write(move |txn| {
        standing.keep(txn)?;
        lamchat_audit::append(txn, &entry).map(drop)
    });
    appended.await.map_err(|error| sentence(&error))
}

async fn append_start(store: &Store, entry: Entry, standing: Standing) -> Result<(), WriteError<ReadError>> {
    let append = move |txn: &mut WriteTxn<'_>| {
        lamchat_audit::append(txn, &entry)?;
        standing.note_start(txn, entry.time_ms)
    };
    store.write(append).await
}

async fn append(store: &Store, entry: Entry) -> Result<(), WriteError<ReadError>> {
    store
        .write(move |txn| lamchat_audit::append(txn, &entry).map(drop))
        .await
}

pub fn sentence(error: &WriteError<ReadError>) -> String {
    match error {
        WriteError::Refused(error) => error.to_string(),
        WriteError::Commit(error) => error.to_string(),
    }
}

/// Signs the head now and after every time the log has grown; what could not be signed is tried again, and waits longer
/// each time. Nobody waits for it. Ends with the runtime.
pub async fn sign_forever(parts: Arc<Parts>) {
    let mut appended = parts.store.watch(&[APPENDED]);
    let mut pause = RETRY_MIN;
    loop {
        if sign(&parts.audit).await {
            pause = RETRY_MIN;
            appended.changed().await;
        } else {
            tokio::time::sleep(pause).await;
            pause = RETRY_MAX.min(pause * 2);
        }
        tokio::time::sleep(COALESCE).await;
    }
}

/// Whether nothing is left to be done.
async fn sign(audit: &Arc<AuditLog>) -> bool {
    let log = Arc::clone(audit);
    match tokio::task::spawn_blocking(move || log.sign()).await {
        Ok(Ok(_)) => match audit.status() {
            Ok(status) => status.trouble.is_none(),
            Err(_) => true,
        },
        Ok(Err(error)) => {
            tracing::error!(%error, "the audit log was not signed");
            false
        }
        // The runtime ends.
        Err(_) => true,
    }
}
