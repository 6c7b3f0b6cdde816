//! The audit log: who asks for an act, how acts outside of the database are noted, and `lamchat audit`.

use crate::route::parse;
use crate::{Admin, AdminError};
use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use lamchat_audit::{Actor, AuditError, AuditLog, Entry, Note, Trouble};
use lamchat_holder::{Act, Notice, State};
use lamchat_http::{Body, Request, Response, query_value};
use serde_json::{Value, json};
use std::sync::Arc;

/// Entries on one page, unless the request wants fewer.
const PAGE: usize = 500;
/// Pieces of an export that may wait for the command; each is some hundred entries.
const PIECES_AHEAD: usize = 4;

/// Who sends a request: through the Unix socket, or with a credential from a distance.
pub(crate) fn actor(request: &Request) -> Result<Actor, AdminError> {
    if let Some(name) = &request.caller {
        return Ok(Actor::Credential(name.clone()));
    }
    let uid = request.peer_uid.ok_or_else(|| {
        AdminError::new(
            StatusCode::FORBIDDEN,
            "M_FORBIDDEN",
            "This is answered on the Unix socket only",
        )
    })?;
    Ok(Actor::Socket { uid })
}

/// Carries out something that the database knows nothing of, between two entries: that it begins, and how it ended. If
/// the power goes in between, the log tells of an act that may not have happened, never the reverse. `act` answers what
/// the second entry adds.
pub(crate) async fn noted<F>(admin: &Arc<Admin>, entry: Entry, act: F) -> Result<(), AdminError>
where
    F: FnOnce() -> Result<Vec<(&'static str, String)>, AdminError> + Send + 'static,
{
    let admin = Arc::clone(admin);
    // A task of its own: whoever asked may go away, the second entry must be written all the same.
    let task = tokio::task::spawn_blocking(move || {
        append(&admin, entry.clone().fact("state", "begun"))?;
        let result = act();
        let mut end = Entry {
            time_ms: admin.now_ms(),
            ..entry
        };
        for (name, value) in result.iter().flatten() {
            end = end.fact(name, value);
        }
        append(
            &admin,
            end.fact("state", if result.is_ok() { "done" } else { "failed" }),
        )?;
        result.map(drop)
    });
    task.await.map_err(AdminError::internal)?
}

/// The entry of an act that somebody typed past the exchange, as the key holder tells it.
pub fn entry_of(notice: &Notice) -> Entry {
    let act = match notice.act {
        Act::Unlock => "keyring.unlock",
        Act::AddSlot => "keyring.add-slot",
        Act::VerifyRecovery => "keyring.verify-recovery",
        Act::Rebind => "keyring.rebind",
        Act::RaiseFloor => "keyring.raise-floor",
        Act::RemoveSlot => "keyring.remove-slot",
    };
    let state = match notice.state {
        State::Begun => "begun",
        State::Done => "done",
        State::Failed => "failed",
    };
    let mut entry = Entry::new(notice.time_ms, Actor::Socket { uid: notice.uid }, act).fact("state", state);
    if let Some(slot) = notice.slot {
        entry = entry.fact("slot", slot);
    }
    if let Some(kind) = notice.kind {
        entry = entry.fact("kind", kind);
    }
    if notice.force {
        entry = entry.fact("force", true);
    }
    if let Some(floor) = notice.floor {
        entry = entry.fact("floor", floor);
    }
    entry
}

/// What an operator does at the box's own console and the database knows nothing of.
pub const BOX_ACTS: &[&str] = &[
    "accept-disk",
    "check",
    "crash-log",
    "factory-reset",
    "former-configuration",
    "log",
    "kernel-log",
    "network",
    "network-confirm",
    "pin",
    "time",
    "usb-authority",
    "usb-update",
    "usb-backup",
    "usb-export",
    "usb-configuration",
    "usb-configuration-out",
    "usb-enrolment",
    "restart",
    "restore",
    "set-up",
    "tpm-pin",
    "tpm-pin-off",
    "mirror",
    "power-off",
    "wrong-pin",
];
/// Longest name of a terminal or of an act, and longest version.
const TERMINAL_BYTES_MAX: usize = 32;

#[derive(serde::Deserialize)]
struct BoxAct {
    act: String,
    terminal: String,
    /// The version of a release that it is about.
    version: Option<String>,
    /// When it was begun, if nobody could note it then.
    at_ms: Option<u64>,
}

/// Refuses everybody but process 1 of the box: nobody else is root there.
pub(crate) fn check_box(request: &Request) -> Result<Actor, AdminError> {
    let actor = actor(request)?;
    if matches!(actor, Actor::Socket { uid: 0 }) {
        return Ok(actor);
    }
    let forbidden = "Only process 1 of the box tells what happens at it";
    Err(AdminError::new(StatusCode::FORBIDDEN, "M_FORBIDDEN", forbidden))
}

/// Notes an act of the box's console before it is done, or with `at_ms` afterwards: it has its own time then, and the entry
/// says that it came late.
pub async fn box_act(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let actor = check_box(&request)?;
    let BoxAct {
        act,
        terminal,
        version,
        at_ms,
    } = parse(&request)?;
    let is_long = |text: &String| text.len() > TERMINAL_BYTES_MAX;
    // An act that is told late may be of a release that was left again: refused, it would keep all that follow it waiting.
    let is_known = BOX_ACTS.contains(&act.as_str()) || (at_ms.is_some() && is_act(&act));
    if !is_known || is_long(&terminal) || version.as_ref().is_some_and(is_long) {
        return Err(AdminError::invalid(format!("{act:?} is no act of the box's console")));
    }
    let now = admin.now_ms();
    let mut entry = Entry::new(at_ms.unwrap_or(now), actor, &format!("box.{act}")).fact("terminal", terminal);
    if let Some(version) = version {
        entry = entry.fact("version", version);
    }
    if at_ms.is_some() {
        entry = entry.fact("noted_late_ms", now);
    }
    let task = tokio::task::spawn_blocking(move || append(&admin, entry));
    task.await.map_err(AdminError::internal)??;
    Ok(json!({}))
}

/// Whether it could be the name of an act.
fn is_act(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte == b'-';
    (1..=TERMINAL_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_letter)
}

/// Appends an entry by itself. Blocks.
pub(crate) fn append(admin: &Admin, entry: Entry) -> Result<(), AdminError> {
    let appended = admin
        .store
        .write_blocking(move |txn| lamchat_audit::append(txn, &entry));
    Ok(appended.map(drop)?)
}

/// The log's state and a page of entries: `?since=` is the number of the first one.
pub async fn show(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let (since, limit) = (number(&request, "since", 0)?, number(&request, "limit", PAGE as u64)?);
    let limit = usize::try_from(limit).unwrap_or(PAGE).min(PAGE);
    let status = blocking(&admin, |audit| audit.status()).await?;
    let entries = lamchat_audit::log::entries(&admin.store.read(), since, limit)?;
    let next = entries
        .last()
        .map(|(number, _)| number + 1)
        .filter(|next| *next < status.size);
    let entries: Vec<Value> = entries
        .iter()
        .map(|(number, entry)| entry_json(*number, entry))
        .collect();
    let witnesses: Vec<Value> = status
        .witnesses
        .iter()
        .map(|(name, size)| json!({"name": name, "size": size}))
        .collect();
    Ok(json!({
        "log": status.key.name(),
        "key": status.key.to_string(),
        "key_kind": status.key_kind,
        "keys": status.keys.len(),
        "size": status.size,
        "signed": status.signed,
        "trouble": status.trouble.as_ref().map(describe_trouble),
        "anchor": admin.anchoring.describe(),
        "witnesses": witnesses,
        "entries": entries,
        "next": next,
    }))
}

fn describe_trouble(trouble: &Trouble) -> Value {
    json!({"since_ms": trouble.since_ms, "sentence": trouble.sentence})
}

/// The log for `lamchat health`: whether it is signed, and anchored.
pub(crate) fn describe(admin: &Admin) -> Result<Value, AdminError> {
    let status = admin.audit.status()?;
    Ok(json!({
        "size": status.size,
        "signed": status.signed,
        "key_kind": status.key_kind,
        "trouble": status.trouble.as_ref().map(describe_trouble),
        "anchor": admin.anchoring.describe(),
    }))
}

/// An entry as JSON: `number`, `time_ms`, `actor`, `act`, `subject`, and `facts` by their names.
pub fn entry_json(number: u64, entry: &Entry) -> Value {
    let facts: serde_json::Map<String, Value> = entry
        .facts
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().into()))
        .collect();
    json!({
        "number": number,
        "time_ms": entry.time_ms,
        "actor": entry.actor.to_string(),
        "act": entry.act,
        "subject": entry.subject,
        "facts": facts,
    })
}

/// Streams an export of the entries from `?since=` on.
pub async fn export(admin: Arc<Admin>, request: Request) -> Result<Response, AdminError> {
    let since = number(&request, "since", 0)?;
    // What most likely refuses is tried before the answer begins.
    blocking(&admin, |audit| audit.newest_head()).await?;
    let (sender, body) = Body::stream(PIECES_AHEAD, None);
    let audit = Arc::clone(&admin.audit);
    tokio::task::spawn_blocking(move || {
        let mut sink = |piece: String| {
            let sent = sender.blocking_send(Ok(Bytes::from(piece)));
            sent.map_err(|_| AuditError::Stopped)
        };
        match audit.export(since, &mut sink) {
            Ok(()) | Err(AuditError::Stopped) => {}
            Err(error) => {
                tracing::error!(%error, "an export of the audit log broke off");
                // The connection breaks, so that the command knows that something is missing. It may be gone already.
                let _told = sender.blocking_send(Err(std::io::Error::other("the export broke off")));
            }
        }
    });
    let mut response = Response {
        body,
        ..Response::default()
    };
    response
        .headers
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    Ok(response)
}

#[derive(serde::Deserialize)]
struct AddWitness {
    checkpoint: String,
}

/// Keeps a checkpoint that a witness signed.
pub async fn add_witness(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let actor = actor(&request)?;
    let AddWitness { checkpoint } = parse(&request)?;
    let note = Note::parse(&checkpoint).map_err(|error| AdminError::invalid(error.to_string()))?;
    let witnesses = blocking(&admin, move |audit| audit.add_witness(note, actor)).await?;
    tracing::info!(
        witnesses = witnesses.len(),
        "an administrator brought a witnessed checkpoint of the audit log"
    );
    Ok(json!({"witnesses": witnesses}))
}

async fn blocking<T: Send + 'static>(
    admin: &Arc<Admin>,
    ask: impl FnOnce(&AuditLog) -> Result<T, AuditError> + Send + 'static,
) -> Result<T, AdminError> {
    let audit = Arc::clone(&admin.audit);
    let answer = tokio::task::spawn_blocking(move || ask(&audit)).await;
    Ok(answer.map_err(AdminError::internal)??)
}

fn number(request: &Request, name: &str, default: u64) -> Result<u64, AdminError> {
    match query_value(request.query(), name) {
        None => Ok(default),
        Some(text) => text
            .parse()
            .map_err(|_| AdminError::invalid(format!("{name} is a number"))),
    }
}

impl From<AuditError> for AdminError {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Read(error) => error.into(),
            AuditError::Commit(error) => error.into(),
            AuditError::Foreign(_) | AuditError::NoWitness | AuditError::TooManyWitnesses => {
                Self::invalid(error.to_string())
            }
            // The administrator must see why nothing is signed; there is nothing secret in it.
            AuditError::Notarize(error) => {
                tracing::error!(%error, "the audit log was not signed");
                Self::new(StatusCode::CONFLICT, "M_UNKNOWN", error.to_string())
            }
            AuditError::Key(_) | AuditError::Note(_) | AuditError::Stopped => Self::internal(error),
        }
    }
}
