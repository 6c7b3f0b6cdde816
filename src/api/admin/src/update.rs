//! Updates of a box: `lamchat update`. The exchange hands a bundle on to process 1's updater and notes who did so; it
//! neither checks nor keeps it. Each answer says whether the next start waits for somebody at the console.

mod offer;

pub use offer::{Offer, OfferError, Offered, install, running, stage_file, staged};

use crate::audit::actor;
use crate::route::parse;
use crate::{Admin, AdminError, next_start};
use bytes::{Bytes, BytesMut};
use http::StatusCode;
use lamchat_audit::Entry;
use lamchat_http::{BodyReader, Request};
use lamchat_store::{ReadError, WriteTxn};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Largest bundle: its files and its header.
pub(crate) const BUNDLE_BYTES_MAX: u64 = (1 << 30) + (1 << 20);
/// Longest answer of the updater.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// How long the updater may work: it reads a bundle twice and writes a release on a slow disk.
const WORK_TIME: Duration = Duration::from_secs(600);
/// Bytes of a file that are sent at once.
const FILE_CHUNK_BYTES: usize = 256 << 10;
/// How long it may not take any bytes.
const STALL_TIME: Duration = Duration::from_secs(60);

/// The slots, and what is staged.
pub async fn status(admin: Arc<Admin>, _request: Request) -> Result<Value, AdminError> {
    let answer = ask(&admin, json!({"act": "status"}), None).await?;
    Ok(next_start::told(&admin, answer).await)
}

/// The staged update, and what it changes.
pub async fn show(admin: Arc<Admin>, _request: Request) -> Result<Value, AdminError> {
    let answer = ask(&admin, json!({"act": "show"}), None).await?;
    Ok(next_start::told(&admin, answer).await)
}

/// Takes a bundle in: checked wholly, and written to no slot yet.
pub async fn stage(admin: Arc<Admin>, mut request: Request) -> Result<Value, AdminError> {
    socket(&admin)?;
    let entry = Entry::new(admin.now_ms(), actor(&request)?, "update.stage");
    let bundle = Bundle::Body(request.take_stream());
    // A task of its own: whoever asked may go away, the end must be noted all the same.
    let task = tokio::spawn(async move {
        note(&admin, entry.clone().fact("state", "begun")).await?;
        let answer = ask(&admin, json!({"act": "stage"}), Some(bundle)).await;
        end(&admin, entry, &answer).await?;
        Ok(next_start::told(&admin, answer?).await)
    });
    task.await.map_err(AdminError::internal)?
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Apply {
    id: String,
    #[serde(default)]
    restart: bool,
}

/// Writes the staged update into the slot that does not run, if it is the one that was shown.
pub async fn apply(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    socket(&admin)?;
    let Apply { id, restart } = parse(&request)?;
    let entry = Entry::new(admin.now_ms(), actor(&request)?, "update.apply").fact("restart", restart);
    // A task of its own: whoever asked may go away, the end must be noted all the same.
    let task = tokio::spawn(async move {
        note(&admin, entry.clone().fact("state", "begun")).await?;
        let answer = ask(&admin, json!({"act": "apply", "id": id, "restart": restart}), None).await;
        end(&admin, entry, &answer).await?;
        if answer.is_ok() {
            admin.offer.set(None);
        }
        Ok(next_start::told(&admin, answer?).await)
    });
    task.await.map_err(AdminError::internal)?
}

async fn end(admin: &Arc<Admin>, entry: Entry, answer: &Result<Value, AdminError>) -> Result<(), AdminError> {
    let mut entry = Entry {
        time_ms: admin.now_ms(),
        ..entry
    };
    entry = entry.fact("state", if answer.is_ok() { "done" } else { "failed" });
    let version = answer.as_ref().ok().and_then(|answer| answer.get("version")?.as_str());
    if let Some(version) = version {
        entry = entry.fact("version", version);
    }
    note(admin, entry).await
}

async fn note(admin: &Arc<Admin>, entry: Entry) -> Result<(), AdminError> {
    let change = move |txn: &mut WriteTxn<'_>| lamchat_audit::append(txn, &entry).map(drop);
    Ok(admin.store.write::<_, ReadError>(change).await?)
}

fn socket(admin: &Admin) -> Result<&Path, AdminError> {
    admin.updates.as_deref().ok_or_else(|| {
        AdminError::not_found("This server is not a box with images: its updates come from whoever installed it")
    })
}

/// Asks the updater, with a bundle or without.
pub(crate) async fn ask(admin: &Admin, question: Value, bundle: Option<Bundle>) -> Result<Value, AdminError> {
    let stream = UnixStream::connect(socket(admin)?).await;
    let mut stream = stream.map_err(|error| gone(&error))?;
    let line = format!("{question}\n");
    // It may refuse before it has taken everything; what it says then is the answer.
    let sent = async {
        stalled(stream.write_all(line.as_bytes())).await?;
        let Some(mut bundle) = bundle else { return Ok(()) };
        loop {
            match bundle.chunk().await {
                Ok(Some(bytes)) => stalled(stream.write_all(&bytes)).await?,
                Ok(None) => return Ok(()),
                Err(error) => return Err(Sending::Bundle(error.to_string())),
            }
        }
    };
    let sent: Result<(), Sending> = sent.await;
    if let Err(Sending::Bundle(error)) = sent {
        // The updater sees the end too early, and keeps nothing.
        return Err(AdminError::invalid(format!("The update did not arrive: {error}")));
    }
    stream.shutdown().await.map_err(|error| gone(&error))?;
    let mut answer = Vec::new();
    let read = timeout(WORK_TIME, stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)).await;
    match read {
        Ok(Ok(_)) if !answer.is_empty() => {}
        Ok(Ok(_)) => return Err(gone(&"it ended without an answer")),
        Ok(Err(error)) => return Err(gone(&error)),
        Err(late) => return Err(gone(&late)),
    }
    let answer: Value = serde_json::from_slice(&answer).map_err(AdminError::internal)?;
    match answer.get("error").and_then(Value::as_str) {
        Some(error) => Err(AdminError::new(StatusCode::CONFLICT, "M_UNKNOWN", error)),
        None => Ok(answer),
    }
}

/// Why not all was sent.
enum Sending {
    /// The updater takes no more.
    Updater,
    /// The bundle did not arrive.
    Bundle(String),
}

/// Where a bundle comes from.
pub(crate) enum Bundle {
    /// An administrator sends it.
    Body(BodyReader),
    /// It was found and lies here.
    File(File),
}

impl Bundle {
    async fn chunk(&mut self) -> Result<Option<Bytes>, Box<dyn std::error::Error + Send + Sync>> {
        match self {
            Self::Body(body) => Ok(body.chunk().await?),
            Self::File(file) => {
                let mut bytes = BytesMut::with_capacity(FILE_CHUNK_BYTES);
                let length = file.read_buf(&mut bytes).await?;
                Ok((length > 0).then(|| bytes.freeze()))
            }
        }
    }
}

async fn stalled(write: impl Future<Output = std::io::Result<()>>) -> Result<(), Sending> {
    match timeout(STALL_TIME, write).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Sending::Updater),
    }
}

fn gone(error: &dyn std::fmt::Display) -> AdminError {
    tracing::error!(%error, "the updater does not answer");
    AdminError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "M_UNKNOWN",
        format!("The updater does not answer: {error}"),
    )
}
