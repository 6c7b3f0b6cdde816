//! `lamchat admin-credential create|list|revoke`.

use super::{CreateError, Credential, VALID_DEFAULT_MS, create as make, secret, text};
use crate::audit::actor;
use crate::route::parse;
use crate::{Admin, AdminError};
use http::StatusCode;
use lamchat_audit::Entry;
use lamchat_http::Request;
use lamchat_store::{ReadError, WriteTxn};
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(serde::Deserialize)]
struct Create {
    name: String,
    valid_for_ms: Option<u64>,
}

/// Makes one and answers its secret, once. Only on the machine itself.
pub async fn create(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let Create { name, valid_for_ms } = parse(&request)?;
    let (now_ms, secret) = (admin.now_ms(), secret(&*admin.entropy));
    let valid_ms = valid_for_ms.unwrap_or(VALID_DEFAULT_MS);
    let entry = Entry::new(now_ms, actor(&request)?, "credential.create")
        .subject(&name)
        .fact("expires_ms", now_ms.saturating_add(valid_ms));
    let kept = secret.clone();
    let change = move |txn: &mut WriteTxn<'_>| {
        let made = make(txn, &name, &kept, now_ms, valid_ms)?;
        lamchat_audit::append(txn, &entry)?;
        Ok(made)
    };
    let made = admin.store.write::<_, CreateError>(change).await?;
    tracing::info!("an administrator made a credential");
    let mut answer = describe(&made, now_ms);
    if let Value::Object(fields) = &mut answer {
        fields.insert("credential".to_owned(), text(&made.name, &secret).into());
        fields.insert("servers".to_owned(), admin.distance.describe());
    }
    Ok(answer)
}

/// All of them, without what is secret, and where they are good for something.
pub async fn list(admin: Arc<Admin>, _request: Request) -> Result<Value, AdminError> {
    let known = super::all(&admin.store.read())?;
    let known: Vec<Value> = known.iter().map(|known| describe(known, admin.now_ms())).collect();
    Ok(json!({"credentials": known, "servers": admin.distance.describe()}))
}

/// Makes one invalid.
pub async fn revoke(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let name = request.params.value("name").to_owned();
    let entry = Entry::new(admin.now_ms(), actor(&request)?, "credential.revoke").subject(&name);
    let change = move |txn: &mut WriteTxn<'_>| {
        let was_there = super::revoke(txn, &name)?;
        if was_there {
            lamchat_audit::append(txn, &entry)?;
        }
        Ok(was_there)
    };
    if !admin.store.write::<_, ReadError>(change).await? {
        return Err(AdminError::not_found(
            "There is no such credential; `lamchat admin-credential list` shows all",
        ));
    }
    tracing::info!("an administrator revoked a credential");
    Ok(json!({}))
}

fn describe(known: &Credential, now_ms: u64) -> Value {
    json!({
        "name": known.name,
        "created_ms": known.created_ms,
        "expires_ms": known.expires_ms,
        "used_ms": known.used_ms,
        "valid": now_ms < known.expires_ms,
    })
}

impl From<CreateError> for AdminError {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::Name | CreateError::Time | CreateError::Exists => Self::invalid(error.to_string()),
            CreateError::TooMany => Self::new(StatusCode::CONFLICT, "M_UNKNOWN", error.to_string()),
            CreateError::Read(error) => error.into(),
        }
    }
}
