//! Before the keys are open: what the Unix socket answers while the start waits for somebody to unlock them.

use crate::AdminError;
use crate::guesses::Guesses;
use crate::routes::{BODY_BYTES_MAX, parse};
use crate::seal::{self, Tpm};
use http::{Method, StatusCode};
use lamchat_base::{Clock, Entropy};
use lamchat_http::{Auth, BodyPolicy, Patience, Request, Resource, Response, Route};
use lamchat_seal::{Keyring, OpenError, SlotInfo, Unlock};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::oneshot;

/// How to go on.
const ADVICE: &str = "type the recovery key or the passphrase into `lamchat seal unlock`";

/// A server whose keys did not open by themselves.
pub struct Locked {
    /// Why: a sentence without its full stop.
    pub reason: String,
    /// The slots, from the unauthenticated file.
    pub slots: Vec<SlotInfo>,
    /// The TPM.
    pub tpm: Tpm,
    /// The folder of the keyring.
    pub dir: PathBuf,
    /// The server's name.
    pub server_name: String,
    /// Version and commit of the program.
    pub version: String,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Wrong keys.
    pub guesses: Arc<Guesses>,
    /// Takes the keyring when it opens; empty afterwards.
    pub opened: Mutex<Option<oneshot::Sender<Keyring>>>,
}

impl Locked {
    fn describe(&self) -> Value {
        let slots: Vec<Value> = self.slots.iter().map(seal::describe).collect();
        json!({
            "state": "locked",
            "server_name": self.server_name,
            "version": self.version,
            "reason": self.reason,
            "advice": ADVICE,
            "slots": slots,
            "hardware_sealed": false,
            "sentence": format!("the keys are locked: {}", self.reason),
            "keys": format!("the keys are locked: {}; {ADVICE}", self.reason),
            "tpm": self.tpm.describe(),
        })
    }
}

/// The routes of the Unix socket while the keys are locked.
pub fn locked_routes(locked: &Arc<Locked>) -> Vec<Route> {
    let described = |locked: Arc<Locked>, _request: Request| async move { Ok(locked.describe()) };
    vec![
        on(locked, Method::GET, "/_lamchat/admin/v1/health", described),
        on(locked, Method::GET, "/_lamchat/admin/v1/keyring", described),
        on(locked, Method::GET, "/_lamchat/admin/v1/seal", described),
        on(locked, Method::POST, "/_lamchat/admin/v1/seal/unlock", unlock),
    ]
}

#[derive(serde::Deserialize)]
struct Typed {
    key: String,
}

async fn unlock(locked: Arc<Locked>, request: Request) -> Result<Value, AdminError> {
    let Typed { key } = parse(&request)?;
    let unlock = seal::typed(key)?;
    let by = if matches!(unlock, Unlock::Recovery(_)) {
        "recovery key"
    } else {
        "passphrase"
    };
    let guess = locked.guesses.begin(locked.clock.now_ms())?;
    let (dir, entropy) = (locked.dir.clone(), Arc::clone(&locked.entropy));
    let opened = tokio::task::spawn_blocking(move || Keyring::open(&dir, &unlock, entropy))
        .await
        .map_err(AdminError::internal)?;
    match opened {
        Ok(keyring) => {
            guess.right();
            let waiting = locked.opened.lock().take();
            if waiting.is_none_or(|waiting| waiting.send(keyring).is_err()) {
                return Err(AdminError::new(
                    StatusCode::CONFLICT,
                    "M_INVALID_PARAM",
                    "The keys were unlocked a moment ago; the server is starting",
                ));
            }
            tracing::warn!(by, "the keys were unlocked by hand; the start goes on");
            Ok(json!({"state": "starting", "by": by}))
        }
        Err(error @ (OpenError::WrongPassphrase | OpenError::WrongRecoveryKey)) => {
            guess.wrong(locked.clock.now_ms());
            tracing::warn!(by, "a wrong key was tried");
            Err(refusal(&error))
        }
        Err(error) => Err(refusal(&error)),
    }
}

fn refusal(error: &OpenError) -> AdminError {
    AdminError::new(
        StatusCode::FORBIDDEN,
        "M_FORBIDDEN",
        crate::error::capital(&error.to_string()),
    )
}

fn on<F, Fut>(locked: &Arc<Locked>, method: Method, path: &'static str, handler: F) -> Route
where
    F: Fn(Arc<Locked>, Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Value, AdminError>> + Send + 'static,
{
    let (locked, handler) = (Arc::clone(locked), Arc::new(handler));
    Route {
        method,
        path: path.into(),
        resource: Resource::Admin,
        auth: Auth::Admin,
        body: BodyPolicy::Limit(BODY_BYTES_MAX),
        patience: Patience::Own,
        handler: Arc::new(move |request| {
            let (locked, handler) = (Arc::clone(&locked), Arc::clone(&handler));
            Box::pin(async move {
                match handler(locked, request).await {
                    Ok(answer) => Response::json(StatusCode::OK, answer.to_string().into_bytes()),
                    Err(error) => error.into(),
                }
            })
        }),
    }
}
