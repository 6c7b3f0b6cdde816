//! The start while the keys are locked: only the Unix socket answers, until somebody unlocks them.

use super::wiring::SOCKET_MODE;
use super::{StartError, refused, settings, tell};
use crate::cli::output;
use lamchat_api_admin::{Guesses, Locked, Tpm, locked_routes};
use lamchat_base::{Clock, Entropy};
use lamchat_config::Config;
use lamchat_host::Notice;
use lamchat_http::{Bind, Listener, Resource, Router, Server};
use lamchat_seal::{Keyring, SlotInfo};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long the answer to the right key may take on its way out.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Waits for the right key, for as long as it takes. Dropping the future ends the waiting.
pub async fn wait(
    config: &Config,
    reason: String,
    slots: Vec<SlotInfo>,
    dir: &Path,
    tpm: &Tpm,
    entropy: &Arc<dyn Entropy>,
    clock: &Arc<dyn Clock>,
) -> Result<Keyring, StartError> {
    // The database's lock, which keeps a second server away, is not to be had before the keys.
    let socket = config.admin_socket();
    if UnixStream::connect(&socket).is_ok() {
        return Err(StartError::Refused(format!(
            "another lamchat answers at {}: it runs already, or waits to be unlocked",
            socket.display()
        )));
    }
    let (sender, opened) = oneshot::channel();
    let locked = Arc::new(Locked {
        reason: reason.clone(),
        slots,
        tpm: tpm.clone(),
        dir: dir.to_owned(),
        server_name: config.server_name.to_string(),
        version: crate::cli::VERSION.to_owned(),
        entropy: Arc::clone(entropy),
        clock: Arc::clone(clock),
        guesses: Arc::new(Guesses::default()),
        opened: parking_lot::Mutex::new(Some(sender)),
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
        "LamChat {} is locked: {reason}.\n\n  To go on: lamchat seal unlock, with the recovery key or the passphrase",
        crate::cli::VERSION
    ));
    tracing::warn!(reason, "locked: waiting for `lamchat seal unlock`");
    // The start is as far as it gets by itself: a service manager that went on waiting would end it.
    tell(Notice::Ready);
    status(&format!("locked, waiting for `lamchat seal unlock`: {reason}"));
    let keyring = opened.await.map_err(refused)?;
    server.stop(STOP_TIMEOUT).await;
    status("unlocked by hand; starting");
    Ok(keyring)
}

/// Tells the service manager, in a line for people.
fn status(text: &str) {
    if let Err(error) = lamchat_host::notify_status(text) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}
