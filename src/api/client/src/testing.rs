//! For the tests of this crate: an exchange in memory, and requests through the real router without a network.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use crate::limit::{Limiters, RateSettings};
use crate::{App, RegistrationMode, Settings};
use http::StatusCode;
use lamchat_accounts::presence::Presences;
use lamchat_base::{Entropy, ManualClock};
use lamchat_http::{Limits, Router};
use lamchat_identity::password::Cost;
use lamchat_identity::{LoginTokens, Passwords, UiaSessions};
use lamchat_rooms::Rooms;
use lamchat_rooms::delayed::DelayedEvents;
use lamchat_rules::SigningKey;
use lamchat_store::{Store, Table};
use ruma::OwnedServerName;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers that look random and are the same in each run.
#[derive(Debug, Default)]
pub struct Counted(AtomicU64);

impl Entropy for Counted {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            // SplitMix64: its increment and its three steps.
            let mut x = self
                .0
                .fetch_add(1, Ordering::Relaxed)
                .wrapping_add(1)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15);
            x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            chunk
                .iter_mut()
                .zip((x ^ (x >> 31)).to_le_bytes())
                .for_each(|(to, from)| *to = from);
        }
    }
}

/// The tables of every crate that the client API reaches.
pub fn tables() -> Vec<Table> {
    [
        lamchat_accounts::TABLES,
        lamchat_audit::TABLES,
        lamchat_identity::TABLES,
        lamchat_keys::TABLES,
        lamchat_media::TABLES,
        lamchat_push::TABLES,
        lamchat_rooms::TABLES,
    ]
    .concat()
}

/// Files on a simulated disk.
fn media(store: &Store, clock: Arc<ManualClock>, entropy: Arc<Counted>) -> lamchat_media::Media {
    let disk = Arc::new(lamchat_disk::simulation::SimulatedDisk::new(0));
    let (dir, cost) = (std::path::Path::new("/data"), lamchat_seal::PassphraseCost::MINIMUM);
    let keyring =
        lamchat_seal::Keyring::create_on(disk.clone(), dir, &lamchat_seal::Unlock::File, cost, entropy.clone());
    let keys = Arc::new(keyring.unwrap().data_keys(dir).unwrap());
    let options = lamchat_media::Options::new("/data/media");
    lamchat_media::Media::open_on(disk, options, store.clone(), keys, clock, entropy).unwrap()
}

/// An exchange for `example.org` in memory at 2026-01-01, registration open, without rate limits.
pub fn app() -> Arc<App> {
    app_on(Store::in_memory(&tables()).expect("a store in memory"))
}

/// The same on another store.
pub fn app_on(store: Store) -> Arc<App> {
    let settings = Settings {
        registration_mode: RegistrationMode::Open,
        rates: RateSettings {
            enabled: false,
            ..RateSettings::default()
        },
        ..Settings::default()
    };
    let clock = Arc::new(ManualClock::new(1_767_225_600_000));
    let entropy = Arc::new(Counted::default());
    let server_name: OwnedServerName = "example.org".try_into().unwrap();
    let key = SigningKey::from_seed(&[7; 32], "test").unwrap();
    let rooms = Rooms::new(store.clone(), clock.clone(), entropy.clone(), server_name.clone(), key);
    let typing = Arc::new(lamchat_rooms::typing::Typing::new(1_767_225_600_000));
    let presence = Arc::new(Presences::new(typing.counter()));
    let unread = Arc::new(lamchat_push::unread::UnreadCounts::new());
    let syncer = Arc::new(lamchat_sync::Syncer::new(
        store.clone(),
        clock.clone(),
        Arc::clone(&typing),
        unread,
        Arc::clone(&presence),
    ));
    let media = media(&store, clock.clone(), entropy.clone());
    Arc::new(App {
        store,
        media,
        clock,
        entropy,
        server_name,
        settings: arc_swap::ArcSwap::from_pointee(settings),
        limiters: Limiters::default(),
        delayed: Arc::new(DelayedEvents::open(rooms.clone()).unwrap()),
        rooms,
        typing,
        syncer,
        passwords: Passwords::new(Cost::Minimum, 2),
        uia: UiaSessions::new(),
        login_tokens: LoginTokens::new(),
        key_queries: lamchat_keys::QueryCache::new(),
        presence,
        hardware_sealed: Arc::default(),
        server_keys: Arc::new(NoServerKeys),
        searches: Arc::new(tokio::sync::Semaphore::new(crate::app::SEARCHES_MAX)),
    })
}

/// Other servers ask nothing here.
struct NoServerKeys;

impl crate::server_keys::ServerKeys for NoServerKeys {
    fn published(&self) -> Result<String, String> {
        Ok("{}".to_owned())
    }
}

/// The password of everybody whom [`register`] makes.
pub const PASSWORD: &str = "correct horse battery";

/// Makes an account with the device `{NAME}PHONE` and answers its access token.
pub async fn register(app: &Arc<App>, name: &str) -> String {
    let body = json!({
        "username": name,
        "password": PASSWORD,
        "device_id": format!("{}PHONE", name.to_uppercase()),
        "auth": {"type": "m.login.dummy"},
    });
    let (status, answer) = call(app, "POST", "/_matrix/client/v3/register", None, Some(body)).await;
    assert_eq!(status, 200, "{answer}");
    answer
        .get("access_token")
        .and_then(Value::as_str)
        .expect("an access token")
        .to_owned()
}

/// A room by invitation, of version 12, with nothing special.
pub fn private_room() -> lamchat_rooms::create::NewRoom {
    lamchat_rooms::create::NewRoom {
        version: "12".to_owned(),
        preset: lamchat_rooms::create::Preset::PrivateChat,
        is_published: false,
        alias_localpart: None,
        name: None,
        topic: None,
        invite: Vec::new(),
        is_direct: false,
        initial_state: Vec::new(),
        creation_content: Default::default(),
        power_levels: Default::default(),
    }
}

/// Sends a request with an access token and a JSON body, and parses the answer; `Null` if it is not JSON.
pub async fn call(
    app: &Arc<App>,
    method: &str,
    uri: &str,
    token: Option<&str>,
    body: Option<Value>,
) -> (StatusCode, Value) {
    let (status, bytes) = call_bytes(
        app,
        method,
        uri,
        token,
        body.map_or_else(Vec::new, |body| body.to_string().into()),
    )
    .await;
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

/// Sends a request with any bytes as its body.
pub async fn call_bytes(
    app: &Arc<App>,
    method: &str,
    uri: &str,
    token: Option<&str>,
    body: Vec<u8>,
) -> (StatusCode, Vec<u8>) {
    let router = Router::new(crate::routes(Arc::clone(app)), Limits::default()).expect("routes without conflicts");
    let mut request = http::Request::builder().method(method).uri(uri);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let response = router.answer(request.body(body.into()).unwrap()).await;
    (response.status(), response.into_body())
}
