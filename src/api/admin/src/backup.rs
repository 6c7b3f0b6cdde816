//! Backups: `lamchat backup create` takes the stream that this makes and writes it into parts.

use crate::{Admin, AdminError};
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use lamchat_appliance::{Backup, BackupError, PrepareError, Source, Stopped};
use lamchat_http::{Body, BodySender, Request, Response};
use std::sync::Arc;

/// Pieces that may wait for the command; each has at most a few hundred KiB.
const PIECES_AHEAD: usize = 4;

/// Streams a consistent snapshot of database and media.
pub async fn create(admin: Arc<Admin>, _request: Request) -> Result<Response, AdminError> {
    let source = Source {
        store: admin.store.clone(),
        media: admin.media.clone(),
        keyring: Arc::clone(&admin.keyring),
        entropy: Arc::clone(&admin.entropy),
        server_name: admin.server_name.to_string(),
        now_ms: admin.now_ms(),
    };
    let backup = tokio::task::spawn_blocking(move || Backup::prepare(source))
        .await
        .map_err(AdminError::internal)??;
    let (sender, body) = Body::stream(PIECES_AHEAD, None);
    tokio::task::spawn_blocking(move || stream(backup, &sender));
    let mut response = Response {
        body,
        ..Response::default()
    };
    response
        .headers
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok(response)
}

fn stream(backup: Backup, sender: &BodySender) {
    match backup.run(&mut |bytes| sender.blocking_send(Ok(bytes)).map_err(|_| Stopped)) {
        Ok(counts) => tracing::info!(?counts, "a backup was made"),
        Err(BackupError::Stopped(_)) => tracing::warn!("a backup was broken off by the command that takes it"),
        Err(error) => {
            tracing::error!(%error, "a backup broke off");
            // The connection breaks, so that the command knows that something is missing. It may be gone already.
            let _told = sender.blocking_send(Err(std::io::Error::other("the backup broke off")));
        }
    }
}

impl From<PrepareError> for AdminError {
    fn from(error: PrepareError) -> Self {
        match error {
            PrepareError::Export(error) => Self::new(StatusCode::FORBIDDEN, "M_FORBIDDEN", error.to_string()),
            PrepareError::Secret(error) => Self::internal(error),
            PrepareError::Read(error) => error.into(),
        }
    }
}
