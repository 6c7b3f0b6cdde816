//! The server's signing key: which one signs, which ones did, and a new one: `lamchat signing-key`.

use crate::audit::{actor, noted};
use crate::{Admin, AdminError};
use lamchat_audit::Entry;
use lamchat_http::Request;
use lamchat_rules::OldKey;
use serde_json::{Value, json};
use std::sync::Arc;

/// The signing keys, which the rest of the exchange has.
pub trait SigningKeys: Send + Sync + 'static {
    /// Identifier and public key of the one that signs.
    fn current(&self) -> (String, String);
    /// Those that signed before. Blocks, as the next one.
    fn old(&self) -> Result<Vec<OldKey>, String>;
    /// Makes a new one, which signs from now on. Durable on return.
    fn rotate(&self) -> Result<(), String>;
}

/// All of them.
pub async fn show(admin: Arc<Admin>, _request: Request) -> Result<Value, AdminError> {
    let keys = Arc::clone(&admin.signing_keys);
    let old = tokio::task::spawn_blocking(move || keys.old()).await;
    let old = old.map_err(AdminError::internal)?.map_err(AdminError::internal)?;
    let (id, public) = admin.signing_keys.current();
    let old: Vec<Value> = old
        .iter()
        .map(|old| json!({"id": old.id, "key": old.public_base64, "expired_ms": old.expired_ms}))
        .collect();
    Ok(json!({"id": id, "key": public, "old": old}))
}

/// A new one in place of the one that signs.
pub async fn rotate(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let before = admin.signing_keys.current();
    let entry = Entry::new(admin.now_ms(), actor(&request)?, "key.rotate")
        .subject("signing-key")
        .fact("before", format!("{} {}", before.0, before.1));
    let keys = Arc::clone(&admin.signing_keys);
    let change = move || {
        keys.rotate().map_err(AdminError::internal)?;
        let (id, public) = keys.current();
        Ok(vec![("public", format!("{id} {public}"))])
    };
    noted(&admin, entry, change).await?;
    tracing::info!("an administrator changed the signing key");
    show(admin, request).await
}
