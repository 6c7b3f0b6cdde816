//! An update that was found without anybody handing it over: checked by the updater, offered to the operator, and installed
//! at an operator's word, or by itself where the configuration says so. Every step is in the audit log as the server's.

use super::{Bundle, ask, end, note};
use crate::{Admin, AdminError};
use http::StatusCode;
use lamchat_audit::{Actor, Entry};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

/// A checked update that waits to be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// By what it is accepted: the digest of its header.
    pub id: String,
    /// The release.
    pub version: String,
}

/// What `health` tells of updates.
#[derive(Debug, Default)]
pub struct Offered(Mutex<(Option<Offer>, Option<String>)>);

impl Offered {
    /// What waits now.
    pub fn set(&self, offer: Option<Offer>) {
        self.0.lock().0 = offer;
    }

    /// What waits.
    pub fn current(&self) -> Option<Offer> {
        self.0.lock().0.clone()
    }

    /// Why nothing could be looked for, or what was found is not taken.
    pub fn problem(&self, problem: Option<String>) {
        self.0.lock().1 = problem;
    }

    /// As JSON.
    pub(crate) fn describe(&self) -> Value {
        let (offer, problem) = &*self.0.lock();
        json!({"offered": offer.as_ref().map(|offer| &offer.version), "problem": problem})
    }
}

/// Why an update is not offered, or not installed.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    /// The updater refuses this bundle, and would again.
    #[error("{0}")]
    Refused(String),
    /// The updater does not answer, or the act could not be noted.
    #[error("{0}")]
    Away(String),
}

impl OfferError {
    /// Whether it says something about the bundle.
    pub fn is_verdict(&self) -> bool {
        matches!(self, Self::Refused(_))
    }
}

impl From<AdminError> for OfferError {
    fn from(error: AdminError) -> Self {
        if error.status == StatusCode::CONFLICT {
            Self::Refused(error.message)
        } else {
            Self::Away(error.message)
        }
    }
}

fn text(answer: &Value, key: &str) -> Option<String> {
    answer.get(key).and_then(Value::as_str).map(str::to_owned)
}

/// The release that runs.
pub async fn running(admin: &Admin) -> Result<String, OfferError> {
    let status = ask(admin, json!({"act": "status"}), None).await?;
    text(&status, "running").ok_or_else(|| OfferError::Away("the updater does not say what runs".to_owned()))
}

/// What an earlier run of the server left to be installed.
pub async fn staged(admin: &Admin) -> Result<Option<Offer>, OfferError> {
    let status = ask(admin, json!({"act": "status"}), None).await?;
    let (Some(running), Some(staged)) = (text(&status, "running"), text(&status, "staged")) else {
        return Ok(None);
    };
    if running == staged {
        return Ok(None);
    }
    let shown = ask(admin, json!({"act": "show"}), None).await?;
    Ok(text(&shown, "id").map(|id| Offer { id, version: staged }))
}

/// Hands a bundle that was found at an address to the updater.
pub async fn stage_file(admin: &Arc<Admin>, path: &Path, from: &str) -> Result<Offer, OfferError> {
    let file = tokio::fs::File::open(path).await;
    let file = file.map_err(|error| OfferError::Away(format!("{}: {error}", path.display())))?;
    let entry = Entry::new(admin.now_ms(), Actor::Server, "update.stage").fact("from", from);
    note(admin, entry.clone().fact("state", "begun")).await?;
    let answer = ask(admin, json!({"act": "stage"}), Some(Bundle::File(file))).await;
    end(admin, entry, &answer).await?;
    let answer = answer?;
    match (text(&answer, "id"), text(&answer, "version")) {
        (Some(id), Some(version)) => Ok(Offer { id, version }),
        _ => Err(OfferError::Away("the updater does not say what it took".to_owned())),
    }
}

/// Installs what is offered, and has the machine start again with it.
pub async fn install(admin: &Arc<Admin>, id: &str) -> Result<(), OfferError> {
    let entry = Entry::new(admin.now_ms(), Actor::Server, "update.apply").fact("restart", true);
    note(admin, entry.clone().fact("state", "begun")).await?;
    let answer = ask(admin, json!({"act": "apply", "id": id, "restart": true}), None).await;
    end(admin, entry, &answer).await?;
    answer?;
    admin.offer.set(None);
    Ok(())
}
