//! Registration tokens: `lamchat token`.

use crate::audit::actor;
use crate::route::parse;
use crate::{Admin, AdminError};
use lamchat_audit::Entry;
use lamchat_http::Request;
use lamchat_identity::registration_token::{self, CreateTokenError, NewRegistrationToken, RegistrationToken};
use lamchat_store::{ReadError, WriteTxn};
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(serde::Deserialize)]
struct Create {
    token: Option<String>,
    uses_allowed: Option<u32>,
    valid_for_ms: Option<u64>,
}

/// Makes a token: a random one unless the request names it.
pub async fn create(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let create: Create = parse(&request)?;
    if create.uses_allowed == Some(0) {
        return Err(AdminError::invalid(
            "A token that allows no use is useless; leave it out for any number of uses",
        ));
    }
    let now_ms = admin.now_ms();
    let new = NewRegistrationToken {
        token: create
            .token
            .unwrap_or_else(|| registration_token::generate(&*admin.entropy)),
        uses_allowed: create.uses_allowed,
        expires_at_ms: create.valid_for_ms.map(|valid_ms| now_ms.saturating_add(valid_ms)),
        now_ms,
    };
    // The token itself is a secret: the log knows it by the time at which it was made.
    let mut entry = Entry::new(now_ms, actor(&request)?, "token.create").fact("made_ms", now_ms);
    if let Some(uses) = new.uses_allowed {
        entry = entry.fact("uses", uses);
    }
    if let Some(expires_at_ms) = new.expires_at_ms {
        entry = entry.fact("expires_ms", expires_at_ms);
    }
    let change = move |txn: &mut WriteTxn<'_>| {
        lamchat_audit::append(txn, &entry)?;
        registration_token::create(txn, new)
    };
    let token = admin.store.write::<_, CreateTokenError>(change).await?;
    tracing::info!("an administrator made a registration token");
    Ok(show(&admin, &token))
}

/// All tokens.
pub async fn list(admin: Arc<Admin>, _request: Request) -> Result<Value, AdminError> {
    let tokens = registration_token::all(&admin.store.read())?;
    Ok(json!({"tokens": tokens.iter().map(|token| show(&admin, token)).collect::<Vec<_>>()}))
}

/// Makes a token invalid.
pub async fn revoke(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let token = request.params.value("token").to_owned();
    let entry = Entry::new(admin.now_ms(), actor(&request)?, "token.revoke");
    let change = move |txn: &mut WriteTxn<'_>| {
        let Some(known) = registration_token::one(txn, &token)? else {
            return Ok(false);
        };
        lamchat_audit::append(txn, &entry.fact("made_ms", known.created_ms))?;
        registration_token::revoke(txn, &token)
    };
    let was_there = admin.store.write::<_, ReadError>(change).await?;
    if !was_there {
        return Err(AdminError::not_found(
            "There is no such registration token; `lamchat token list` shows all",
        ));
    }
    tracing::info!("an administrator revoked a registration token");
    Ok(json!({}))
}

fn show(admin: &Admin, token: &RegistrationToken) -> Value {
    let now_ms = admin.now_ms();
    let pending = admin.exchange.pending_registrations(&token.token);
    json!({
        "token": token.token,
        "uses_allowed": token.uses_allowed,
        "completed": token.completed,
        "pending": pending,
        "expires_ms": token.expires_at_ms,
        "created_ms": token.created_ms,
        "admin": token.is_for_first_admin,
        "valid": token.is_valid(pending, now_ms),
    })
}
