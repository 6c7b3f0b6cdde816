//! Before the keys are open: what the Unix socket answers while the start waits for somebody to unlock them. It only
//! tells; the key goes to the key holder's own socket.

use crate::route::BODY_BYTES_MAX;
use crate::seal;
use http::{Method, StatusCode};
use lamchat_holder::HolderStatus;
use lamchat_http::{Auth, BodyPolicy, Patience, Request, Resource, Response, Route};
use lamchat_seal::{SlotInfo, SlotKind};
use serde_json::{Value, json};
use std::sync::Arc;

/// How to go on.
const ADVICE: &str = "type the recovery key or the passphrase into `lamchat seal unlock`";
/// How to go on where the TPM waits for its PIN.
const ADVICE_PIN: &str = "type the PIN, the recovery key or the passphrase into `lamchat seal unlock`";

/// How to go on where the keys are open and the disk is an older one.
const ADVICE_RECOVERY: &str = "type the recovery key into `lamchat seal unlock`";

/// A server whose keys did not open by themselves.
pub struct Locked {
    /// Why: a sentence without its full stop.
    pub reason: String,
    /// Whether the TPM waits for its PIN and for nothing else.
    pub asks_for_pin: bool,
    /// Whether the keys are open, and the disk is an older one that waits for its owner.
    pub keys_are_open: bool,
    /// The slots, from the unauthenticated file.
    pub slots: Vec<SlotInfo>,
    /// The TPM and the key holder.
    pub holder: Arc<HolderStatus>,
    /// The server's name.
    pub server_name: String,
    /// Version and commit of the program.
    pub version: String,
}

impl Locked {
    /// How to go on.
    pub fn advice(&self) -> &'static str {
        let has_recovery = self.slots.iter().any(|slot| slot.kind == SlotKind::Recovery);
        match (self.keys_are_open && has_recovery, self.asks_for_pin) {
            (true, _) => ADVICE_RECOVERY,
            (false, true) if !self.keys_are_open => ADVICE_PIN,
            _ => ADVICE,
        }
    }

    fn describe(&self) -> Value {
        let slots: Vec<Value> = self
            .slots
            .iter()
            .map(|slot| seal::describe(slot, &self.holder.seals))
            .collect();
        let advice = self.advice();
        json!({
            "state": "locked",
            "server_name": self.server_name,
            "version": self.version,
            "reason": self.reason,
            "asks_for_pin": self.asks_for_pin,
            "advice": advice,
            "slots": slots,
            "hardware_sealed": false,
            "sentence": format!("the keys are locked: {}", self.reason),
            "keys": format!("the keys are locked: {}; {advice}", self.reason),
            "tpm": seal::describe_tpm(&self.holder.tpm),
            "holder": seal::describe_holder(&self.holder),
        })
    }
}

/// The routes of the Unix socket while the keys are locked.
pub fn locked_routes(locked: &Arc<Locked>) -> Vec<Route> {
    vec![
        on(locked, "/_lamchat/admin/v1/health"),
        on(locked, "/_lamchat/admin/v1/keyring"),
        on(locked, "/_lamchat/admin/v1/seal"),
    ]
}

fn on(locked: &Arc<Locked>, path: &'static str) -> Route {
    let locked = Arc::clone(locked);
    Route {
        method: Method::GET,
        path: path.into(),
        resource: Resource::Admin,
        auth: Auth::Admin,
        body: BodyPolicy::Limit(BODY_BYTES_MAX),
        patience: Patience::Own,
        handler: Arc::new(move |_request: Request| {
            let locked = Arc::clone(&locked);
            Box::pin(async move { Response::json(StatusCode::OK, locked.describe().to_string().into_bytes()) })
        }),
    }
}
