//! Backups: `lamchat backup create` takes the stream that this makes and writes it into parts.

use crate::audit::{actor, append};
use crate::{Admin, AdminError, backup_record};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use lamchat_appliance::{Backup, BackupError, PrepareError, Source, Stopped};
use lamchat_audit::Entry;
use lamchat_http::{Body, BodySender, Request, Response};
use std::sync::Arc;

/// Pieces that may wait for the command; each has at most a few hundred KiB.
const PIECES_AHEAD: usize = 4;

/// How a backup ends that is whole.
const DONE: &str = "done";

/// Streams a consistent snapshot of database and media.
pub async fn create(admin: Arc<Admin>, request: Request) -> Result<Response, AdminError> {
    let entry = Entry::new(admin.now_ms(), actor(&request)?, "backup.create");
    let source = Source {
        store: admin.store.clone(),
        media: admin.media.clone(),
        keys: Arc::clone(&admin.keys),
        keyring: Arc::clone(&admin.holder) as Arc<dyn lamchat_appliance::KeyringSource>,
        entropy: Arc::clone(&admin.entropy),
        server_name: admin.server_name.to_string(),
        now_ms: admin.now_ms(),
        is_damaged: false,
    };
    let backup = tokio::task::spawn_blocking({
        let (admin, entry) = (Arc::clone(&admin), entry.clone());
        move || {
            // Before the snapshot, so that a restored backup tells of itself.
            append(&admin, entry.clone().fact("state", "begun"))?;
            match Backup::prepare(source) {
                Ok(backup) => Ok(backup),
                Err(error) => {
                    append(&admin, entry.fact("state", "failed"))?;
                    Err(AdminError::from(error))
                }
            }
        }
    });
    let backup = backup.await.map_err(AdminError::internal)??;
    let (sender, body) = Body::stream(PIECES_AHEAD, None);
    tokio::task::spawn_blocking(move || {
        let mut bytes = 0;
        let state = stream(backup, &sender, &mut bytes);
        let end = Entry {
            time_ms: admin.now_ms(),
            ..entry
        };
        let end = end.fact("state", state).fact("bytes", bytes);
        let noted = if state == DONE {
            let kept = admin
                .store
                .write_blocking(move |txn| backup_record::keep(txn, &end, bytes));
            kept.map_err(AdminError::from)
        } else {
            append(&admin, end)
        };
        // The stream has ended, and with it the command: the log of the server is where the failure shows.
        if let Err(error) = noted {
            tracing::error!(error = error.message, "the end of a backup is not in the audit log");
        }
    });
    let mut response = Response {
        body,
        ..Response::default()
    };
    response
        .headers
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok(response)
}

/// Answers how it ended.
fn stream(backup: Backup, sender: &BodySender, sent: &mut u64) -> &'static str {
    let mut send = |bytes: bytes::Bytes| {
        *sent += bytes.len() as u64;
        sender.blocking_send(Ok(bytes)).map_err(|_| Stopped)
    };
    match backup.run(&mut send) {
        Ok(counts) => {
            tracing::info!(?counts, "a backup was made");
            DONE
        }
        Err(BackupError::Stopped(_)) => {
            tracing::warn!("a backup was broken off by the command that takes it");
            "broken off"
        }
        Err(error) => {
            tracing::error!(%error, "a backup broke off");
            // The connection breaks, so that the command knows that something is missing. It may be gone already.
            let _told = sender.blocking_send(Err(std::io::Error::other("the backup broke off")));
            "failed"
        }
    }
}

impl From<PrepareError> for AdminError {
    fn from(error: PrepareError) -> Self {
        match error {
            PrepareError::Export(error) => Self::new(StatusCode::FORBIDDEN, "M_FORBIDDEN", error.to_string()),
            PrepareError::Holder(error) => error.into(),
            PrepareError::Secret(error) => Self::internal(error),
            PrepareError::Read(error) => error.into(),
        }
    }
}
