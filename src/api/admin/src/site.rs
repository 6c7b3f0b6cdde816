//! The configuration of a box from a distance: `lamchat box`. The exchange notes who asks and hands the question on to
//! process 1, which knows what a configuration may say.

use crate::audit::actor;
use crate::route::parse;
use crate::{Admin, AdminError, next_start};
use http::StatusCode;
use lamchat_audit::Entry;
use lamchat_http::{Request, query_value};
use lamchat_store::{ReadError, WriteTxn};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Longest answer of process 1.
const ANSWER_BYTES_MAX: u64 = 256 << 10;
/// How long process 1 may take.
const PATIENCE: Duration = Duration::from_secs(70);

/// What the box is configured to, and how its network is.
pub async fn show(admin: Arc<Admin>, _request: Request) -> Result<Value, AdminError> {
    ask(&admin, &json!({"act": "show"})).await
}

/// Changes it. A change of the network goes back by itself unless it is confirmed.
pub async fn change(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let site: Value = parse(&request)?;
    act(
        &admin,
        &request,
        "box.configure",
        json!({"act": "change", "site": site}),
    )
    .await
}

/// A change of the network stays: whoever asks still reaches the box.
pub async fn confirm(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    act(&admin, &request, "box.network-confirm", json!({"act": "confirm"})).await
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Clock {
    /// Milliseconds since 1970.
    ms: u64,
}

/// Sets the box's clock. What is noted has the clock of before where it begins, and the new one where it is done.
pub async fn set_clock(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let Clock { ms } = parse(&request)?;
    let entry = Entry::new(admin.now_ms(), actor(&request)?, "box.time").fact("to_ms", ms);
    noted(&admin, entry, json!({"act": "set-clock", "ms": ms})).await
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct EndOf {
    restart: bool,
}

/// The last lines of a log of the machine's: `?of=init`, `kernel` or `crash`.
pub async fn log(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let of = query_value(request.query(), "of").unwrap_or_else(|| "init".into());
    if !["init", "kernel", "crash"].contains(&of.as_ref()) {
        return Err(AdminError::invalid("There are the logs init, kernel and crash"));
    }
    ask(&admin, &json!({"act": "log", "of": of})).await
}

/// The machine starts again, or goes off; answered with whether its next start waits for somebody at the console.
pub async fn end(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let EndOf { restart } = parse(&request)?;
    let name = if restart { "box.restart" } else { "box.power-off" };
    let answer = act(&admin, &request, name, json!({"act": "end", "restart": restart})).await?;
    Ok(next_start::told(&admin, answer).await)
}

/// Noted before it is done, and afterwards whether it was.
pub(crate) async fn act(
    admin: &Arc<Admin>,
    request: &Request,
    name: &str,
    question: Value,
) -> Result<Value, AdminError> {
    noted(admin, Entry::new(admin.now_ms(), actor(request)?, name), question).await
}

/// The same with an entry that has facts of its own.
pub(crate) async fn noted(admin: &Arc<Admin>, entry: Entry, question: Value) -> Result<Value, AdminError> {
    if admin.box_socket.is_none() {
        return Err(not_a_box());
    }
    let admin = Arc::clone(admin);
    // A task of its own: whoever asked may go away, the end must be noted all the same.
    let task = tokio::spawn(async move {
        note(&admin, entry.clone().fact("state", "begun")).await?;
        let answer = ask(&admin, &question).await;
        let state = if answer.is_ok() { "done" } else { "failed" };
        let mut entry = Entry {
            time_ms: admin.now_ms(),
            ..entry.fact("state", state)
        };
        let version = answer
            .as_ref()
            .ok()
            .and_then(|answer| answer.pointer("/site/version")?.as_u64());
        if let Some(version) = version {
            entry = entry.fact("version", version);
        }
        note(&admin, entry).await?;
        answer
    });
    task.await.map_err(AdminError::internal)?
}

async fn note(admin: &Arc<Admin>, entry: Entry) -> Result<(), AdminError> {
    let change = move |txn: &mut WriteTxn<'_>| lamchat_audit::append(txn, &entry).map(drop);
    Ok(admin.store.write::<_, ReadError>(change).await?)
}

fn not_a_box() -> AdminError {
    AdminError::not_found("This server is not a box with an image: its network is its system's business")
}

/// One question at process 1's socket, and its answer.
pub async fn ask_process_1(socket: &Path, question: &Value) -> std::io::Result<Value> {
    let conversation = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(format!("{question}\n").as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = timeout(PATIENCE, conversation).await.map_err(std::io::Error::other)??;
    serde_json::from_slice(&answer).map_err(std::io::Error::other)
}

pub(crate) async fn ask(admin: &Admin, question: &Value) -> Result<Value, AdminError> {
    let socket = admin.box_socket.as_deref().ok_or_else(not_a_box)?;
    let answer = ask_process_1(socket, question).await.map_err(|error| gone(&error))?;
    match answer.get("error").and_then(Value::as_str) {
        Some(error) => Err(AdminError::new(StatusCode::CONFLICT, "M_UNKNOWN", error)),
        None => Ok(answer),
    }
}

fn gone(error: &dyn std::fmt::Display) -> AdminError {
    tracing::error!(%error, "process 1 does not answer");
    AdminError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "M_UNKNOWN",
        format!("Process 1 of the box does not answer: {error}"),
    )
}
