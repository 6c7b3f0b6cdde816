//! For the tests of this crate: an exchange in memory, and requests through the real router without a network.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use crate::limit::{Limiters, RateSettings};
use crate::{App, RegistrationMode, Settings};
use http::StatusCode;
use lamchat_base::{Entropy, ManualClock};
use lamchat_http::{Limits, Router};
use lamchat_store::{Store, Table};
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers that look random and are the same in each run.
#[derive(Debug, Default)]
pub struct Counted(AtomicU64);

impl Entropy for Counted {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            // SplitMix64: its increment and its three steps.
            let mut x = self.0.fetch_add(1, Ordering::Relaxed).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
            x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            chunk.iter_mut().zip((x ^ (x >> 31)).to_le_bytes()).for_each(|(to, from)| *to = from);
        }
    }
}

/// The tables of every crate that the client API reaches.
pub fn tables() -> Vec<Table> {
    [lamchat_accounts::TABLES].concat()
}

/// An exchange for `example.org` in memory at 2026-01-01, registration open, without rate limits.
pub fn app() -> Arc<App> {
    let settings = Settings {
        registration_mode: RegistrationMode::Open,
        rates: RateSettings { enabled: false, ..RateSettings::default() },
        ..Settings::default()
    };
    Arc::new(App {
        store: Store::in_memory(&tables()).expect("a store in memory"),
        clock: Arc::new(ManualClock::new(1_767_225_600_000)),
        entropy: Arc::new(Counted::default()),
        server_name: "example.org".try_into().unwrap(),
        settings: arc_swap::ArcSwap::from_pointee(settings),
        limiters: Limiters::default(),
    })
}

/// Sends a request with an access token and a JSON body, and parses the answer; `Null` if it is not JSON.
pub async fn call(app: &Arc<App>, method: &str, uri: &str, token: Option<&str>, body: Option<Value>) -> (StatusCode, Value) {
    let (status, bytes) = call_bytes(app, method, uri, token, body.map_or_else(Vec::new, |body| body.to_string().into())).await;
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

/// Sends a request with any bytes as its body.
pub async fn call_bytes(app: &Arc<App>, method: &str, uri: &str, token: Option<&str>, body: Vec<u8>) -> (StatusCode, Vec<u8>) {
    let router = Router::new(crate::routes(Arc::clone(app)), Limits::default()).expect("routes without conflicts");
    let mut request = http::Request::builder().method(method).uri(uri);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let response = router.answer(request.body(body.into()).unwrap()).await;
    (response.status(), response.into_body())
}
