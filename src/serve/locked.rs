//! The start while the keys are locked: only the Unix socket answers, until somebody unlocks them.

use super::holder::Link;
use super::wiring::SOCKET_MODE;
use super::{StartError, refused, settings, tell};
use crate::cli::output;
use lamchat_api_admin::{Locked, locked_routes};
use lamchat_config::Config;
use lamchat_holder::Opened;
use lamchat_host::Notice;
use lamchat_http::{Bind, Listener, Resource, Router, Server};
use lamchat_seal::{ReleasedKey, SlotInfo, SlotKind};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

/// How long an answer may take on its way out.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the start waits.
#[derive(Debug)]
pub struct Why {
    /// A sentence without its full stop.
    pub reason: String,
    /// Whether the TPM's PIN would do.
    pub asks_for_pin: bool,
}

/// Waits for the right key, for as long as it takes. Dropping the future ends the waiting.
pub async fn wait(
    config: &Config,
    why: Why,
    slots: Vec<SlotInfo>,
    holder: &Link,
) -> Result<(SlotKind, Vec<ReleasedKey>), StartError> {
    let server = announce(config, why, Some(slots), holder).await?;
    let opened = holder.ask(|client| client.await_unlock()).await;
    go_on(server, holder).await;
    match opened.map_err(refused)? {
        Opened::Keys { by, keys } => {
            tracing::warn!(%by, "unlocked by hand: the start goes on");
            Ok((by, keys))
        }
        Opened::Locked { reason, .. } => Err(StartError::Refused(reason)),
    }
}

/// The same where the keys are open, but the database is not to be served before somebody has opened them by hand;
/// `another_log`: the reason says that it goes on as a new epoch, with another audit log.
pub async fn wait_for_hand(
    config: &Config,
    reason: String,
    another_log: bool,
    holder: &Link,
) -> Result<(), StartError> {
    let why = Why {
        reason,
        asks_for_pin: false,
    };
    let server = announce(config, why, None, holder).await?;
    let confirmed = holder.ask(move |client| client.await_hand(another_log)).await;
    go_on(server, holder).await;
    confirmed.map_err(refused)?;
    tracing::warn!("confirmed by hand: the start goes on");
    Ok(())
}

async fn announce(
    config: &Config,
    Why { reason, asks_for_pin }: Why,
    slots: Option<Vec<SlotInfo>>,
    holder: &Link,
) -> Result<Server, StartError> {
    // Another data folder may have the same socket.
    let socket = config.admin_socket();
    if !lamchat_host::is_handed(&socket) && UnixStream::connect(&socket).is_ok() {
        return Err(StartError::Refused(format!(
            "another lamchat answers at {}: it runs already, or waits to be unlocked",
            socket.display()
        )));
    }
    let told = holder.ask(|client| client.status()).await.map_err(refused)?;
    let keys_are_open = slots.is_none();
    let locked = Arc::new(Locked {
        reason: reason.clone(),
        asks_for_pin,
        keys_are_open,
        slots: slots.unwrap_or_else(|| told.slots.clone()),
        holder: told,
        server_name: config.server_name.to_string(),
        version: crate::cli::VERSION.to_owned(),
    });
    let router = Router::new(locked_routes(&locked), settings::http(&config.http)).map_err(refused)?;
    let listener = Listener {
        bind: Bind::Unix {
            path: socket,
            mode: SOCKET_MODE,
        },
        tls: None,
        resources: vec![Resource::Admin],
    };
    let server = Server::start(vec![listener], Arc::new(router)).await.map_err(refused)?;
    output::line(format!(
        "LamChat {} is locked: {reason}.\n\n  To go on: {}",
        crate::cli::VERSION,
        locked.advice()
    ));
    tracing::warn!(reason, "locked: waiting for `lamchat seal unlock`");
    // The start is as far as it gets by itself: a service manager that went on waiting would end it.
    tell(Notice::Ready);
    status(&format!("locked, waiting for `lamchat seal unlock`: {reason}"));
    Ok(server)
}

async fn go_on(server: Server, holder: &Link) {
    holder.client.forget_status();
    server.stop(STOP_TIMEOUT).await;
    status("unlocked by hand; starting");
}

/// Tells the service manager, in a line for people.
fn status(text: &str) {
    if let Err(error) = lamchat_host::notify_status(text) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}
