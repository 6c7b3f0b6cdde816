//! Whether other servers are let in: follows the keyring's slots while the server runs, and closes their routes. What the
//! slots say of the keys' protection is heard of on the same way.

use super::wiring::Parts;
use super::{StartError, holder, refused};
use http::StatusCode;
use lamchat_config::{Config, Resource};
use lamchat_connections::{Federation, FederationGate};
use lamchat_holder::{HolderStatus, Watcher};
use lamchat_http::{Admission, Gate, Response};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// What other servers ask begins so, whether a route answers it or not.
const PREFIXES: &[&str] = &["/_matrix/federation/", "/_matrix/key/"];

/// Hears of the slots.
struct Follower {
    gate: Arc<FederationGate>,
    hardware_sealed: Arc<AtomicBool>,
    changed: Arc<Notify>,
}

impl Watcher for Follower {
    fn changed(&self) {
        self.changed.notify_one();
    }

    fn told(&self, status: &HolderStatus) {
        self.hardware_sealed.store(is_sealed(status), Ordering::Relaxed);
        let (before, now) = self.gate.learn(&status.slots);
        if before != now {
            say(now);
        }
    }
}

/// The gate, and what tells that the slots may have changed.
pub struct Opened {
    pub gate: Arc<FederationGate>,
    /// Whether the keys open on this machine only.
    pub hardware_sealed: Arc<AtomicBool>,
    pub changed: Arc<Notify>,
}

/// The gate of a server that starts, once its keys are open.
pub async fn open(config: &Config, holder: &holder::Link) -> Result<Opened, StartError> {
    let told = holder.ask(|client| client.status()).await.map_err(refused)?;
    let mut listeners = config.listeners.iter();
    let offered = listeners.any(|listener| listener.resources.contains(&Resource::Federation));
    let gate = Arc::new(FederationGate::new(config.federation.enabled, offered, &told.slots));
    if gate.now() == Federation::Unverified {
        say(Federation::Unverified);
    }
    let changed = Arc::new(Notify::new());
    let hardware_sealed = Arc::new(AtomicBool::new(is_sealed(&told)));
    let follower = Follower {
        gate: Arc::clone(&gate),
        hardware_sealed: Arc::clone(&hardware_sealed),
        changed: Arc::clone(&changed),
    };
    if !holder.client.watch(Arc::new(follower)) {
        return Err(StartError::Refused("the key holder is watched already".to_owned()));
    }
    // What came in between is heard of, too.
    changed.notify_one();
    Ok(Opened {
        gate,
        hardware_sealed,
        changed,
    })
}

/// Whether the keys open on this machine only.
fn is_sealed(status: &HolderStatus) -> bool {
    lamchat_seal::Status::of(status.slots.clone()).hardware_sealed
}

/// Asks the key holder whenever something may have changed, so that the gate is never older than that.
pub async fn follow_forever(parts: Arc<Parts>) {
    loop {
        parts.federation_changed.notified().await;
        let holder = Arc::clone(&parts.admin.holder);
        match tokio::task::spawn_blocking(move || holder.status().map(drop)).await {
            Ok(Ok(())) => {}
            // Without the key holder the server ends.
            Ok(Err(error)) => tracing::warn!(%error, "whether federation may be on is not known anew"),
            // The runtime ends.
            Err(_) => return,
        }
    }
}

/// What closes the routes.
pub fn gate(federation: &Arc<FederationGate>) -> Gate {
    let federation = Arc::clone(federation);
    Gate {
        resource: lamchat_http::Resource::Federation,
        prefixes: PREFIXES,
        ask: Arc::new(move || match federation.now() {
            Federation::On => Admission::Served,
            // Where no listener offers it, the router never asks.
            Federation::Disabled | Federation::NotOffered => Admission::Absent,
            Federation::Unverified => Admission::Refused(not_yet()),
        }),
    }
}

fn not_yet() -> Response {
    let error = serde_json::json!({
        "errcode": "M_FORBIDDEN",
        "error": "This server does not federate yet: its operator has to type the recovery key back first (`lamchat seal \
                  verify-recovery`)",
    });
    Response::json(StatusCode::FORBIDDEN, error.to_string().into_bytes())
}

fn say(now: Federation) {
    if now.is_on() {
        tracing::info!("{}", now.sentence());
    } else {
        tracing::warn!("{}", now.sentence());
    }
}
