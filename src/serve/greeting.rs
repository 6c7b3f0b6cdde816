//! What a start prints: where the server is, whom to trust, how its keys are kept, and how the first account is made.

use super::wiring::{Listening, Parts};
use super::{Start, StartError, refused};
use crate::cli::output;
use lamchat_config::{Config, Listener, Resource};
use lamchat_identity::registration_token;
use lamchat_seal::Status;
use std::net::SocketAddr;
use std::sync::Arc;

/// Prints it.
pub async fn print(parts: &Parts, start: &Start, listening: &Listening) -> Result<(), StartError> {
    let config = &start.config;
    let urls = urls(config, listening.addresses());
    let mut text = format!(
        "LamChat {} is running for {}\n\n",
        crate::cli::VERSION,
        config.server_name
    );
    for url in &urls {
        text.push_str(&format!("  Address       {url}\n"));
    }
    if let Some(authority) = parts.certificates.authority()? {
        let file = std::fs::canonicalize(&authority.file).unwrap_or(authority.file);
        text.push_str(&format!("  CA            {}\n", file.display()));
        text.push_str(&format!("  Fingerprint   {}\n", authority.fingerprint));
    }
    for door in parts.admin.distance.doors.get().into_iter().flatten() {
        if let Some(pin) = door.pin() {
            text.push_str(&format!("  Admin         {} {pin}\n", door.url));
        }
    }
    let holder = Arc::clone(&parts.admin.holder);
    let told = tokio::task::spawn_blocking(move || holder.status()).await;
    let told = told.map_err(refused)?.map_err(refused)?;
    text.push_str(&format!(
        "  Keys          {}\n",
        Status::of(told.slots.clone()).sentence
    ));
    text.push_str(&format!("  Key holder    {}\n", told.confinement));
    text.push_str(&format!("  TPM           {}\n", told.tpm.sentence));
    let federation = parts.admin.federation.with(&told.slots);
    text.push_str(&format!("  Federation    {}\n", federation.sentence()));
    let data = std::fs::canonicalize(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone());
    text.push_str(&format!("  Data          {}\n", data.display()));
    if let Some(token) = first_token(parts).await? {
        text.push_str(&first_account(&token, config, urls.first()));
    }
    output::line(text);
    tracing::info!(server_name = %config.server_name, version = crate::cli::VERSION, "running");
    Ok(())
}

/// The token of the first account, as long as there is none.
async fn first_token(parts: &Parts) -> Result<Option<String>, StartError> {
    let (fresh, now_ms) = (registration_token::generate(&*parts.entropy), parts.clock.now_ms());
    let kept = parts
        .store
        .write(move |txn| registration_token::for_first_admin(txn, &fresh, now_ms))
        .await;
    match kept {
        Ok(token) => Ok(token.map(|token| token.token)),
        Err(lamchat_store::WriteError::Refused(error)) => Err(refused(error)),
        // Reading goes on, and the next start has room again.
        Err(lamchat_store::WriteError::Commit(error @ lamchat_store::CommitError::DiskFull)) => {
            tracing::warn!(%error, "the token of the first account was neither made nor taken away");
            Ok(None)
        }
        Err(lamchat_store::WriteError::Commit(error)) => Err(refused(error)),
    }
}

fn first_account(token: &str, config: &Config, url: Option<&String>) -> String {
    let address = config
        .public_baseurl
        .as_ref()
        .map(|url| url.as_str().to_owned())
        .or_else(|| url.cloned());
    let address = address.unwrap_or_else(|| "this server's address".to_owned());
    format!(
        "\nThere is no account yet. Who registers with this token becomes administrator; it works once:\n\n  \
         {token}\n\n\
         With Element: Create account, Edit the homeserver to {address}, choose a name and a password,\n\
         and enter the token when it is asked for. Or here: lamchat user add NAME --admin\n"
    )
}

/// Where clients reach each listener with the client API.
fn urls(config: &Config, addresses: &[SocketAddr]) -> Vec<String> {
    let listeners = config.listeners.iter().zip(addresses);
    let clients = listeners.filter(|(listener, _)| listener.resources.contains(&Resource::Client));
    clients
        .map(|(listener, address)| url(config, listener, *address))
        .collect()
}

/// A listener's address as clients write it.
pub fn url(config: &Config, listener: &Listener, address: SocketAddr) -> String {
    let tls = listener.tls_local_authority || listener.tls_certificate.is_some();
    let host = if address.ip().is_loopback() {
        "localhost"
    } else {
        config.server_name.host()
    };
    format!("{}://{host}:{}", if tls { "https" } else { "http" }, address.port())
}
