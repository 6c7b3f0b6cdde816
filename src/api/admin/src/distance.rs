//! The commands' routes on listeners with the resource `admin`: for who has a credential, over TLS.
//!
//! A route is reachable from a distance only if [`OFFERED`] names it. Each use of a credential is in the audit log
//! before it is answered. Wrong credentials are few for each network ([`WRONG`]); how long a refusal takes tells
//! nothing about a right one.

use crate::{Admin, AdminError, credential};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, StatusCode};
use lamchat_audit::{Actor, Entry};
use lamchat_http::client::Pin;
use lamchat_http::{Auth, Identity, Rate, RateLimit, Request, Response, Route, network};
use lamchat_store::{ReadError, WriteTxn};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

/// Wrong credentials of one network: ten, then one in ten seconds.
const WRONG: Rate = Rate {
    per_second: 0.1,
    burst: 10,
};
/// A question that only reads, asked again within this time, is not noted again: a monitor asks all day long.
const NOTED_MS: u64 = 60_000;

/// What is offered. Not what only process 1 asks, and no new credentials: those are made on the machine itself.
pub(crate) const OFFERED: &[(&str, &str)] = &[
    ("GET", "/_lamchat/admin/v1/health"),
    ("GET", "/_lamchat/admin/v1/users"),
    ("POST", "/_lamchat/admin/v1/users"),
    ("POST", "/_lamchat/admin/v1/users/{user}/password"),
    ("POST", "/_lamchat/admin/v1/users/{user}/deactivate"),
    ("POST", "/_lamchat/admin/v1/users/{user}/reactivate"),
    ("POST", "/_lamchat/admin/v1/users/{user}/admin"),
    ("POST", "/_lamchat/admin/v1/users/{user}/suspended"),
    ("POST", "/_lamchat/admin/v1/users/{user}/locked"),
    ("DELETE", "/_lamchat/admin/v1/users/{user}/media"),
    ("GET", "/_lamchat/admin/v1/media"),
    ("DELETE", "/_lamchat/admin/v1/media/{media}"),
    ("GET", "/_lamchat/admin/v1/reports"),
    ("GET", "/_lamchat/admin/v1/reports/{report}"),
    ("DELETE", "/_lamchat/admin/v1/reports/{report}"),
    ("GET", "/_lamchat/admin/v1/tokens"),
    ("POST", "/_lamchat/admin/v1/tokens"),
    ("DELETE", "/_lamchat/admin/v1/tokens/{token}"),
    ("GET", "/_lamchat/admin/v1/keyring"),
    ("DELETE", "/_lamchat/admin/v1/keyring/slots/{slot}"),
    ("GET", "/_lamchat/admin/v1/seal"),
    ("POST", "/_lamchat/admin/v1/seal/init"),
    ("POST", "/_lamchat/admin/v1/seal/file"),
    ("POST", "/_lamchat/admin/v1/seal/floor"),
    ("POST", "/_lamchat/admin/v1/seal/slots/{slot}/rebind"),
    ("GET", "/_lamchat/admin/v1/signing-key"),
    ("POST", "/_lamchat/admin/v1/signing-key/rotate"),
    ("GET", "/_lamchat/admin/v1/attestation"),
    ("GET", "/_lamchat/admin/v1/attestation/enrolment"),
    ("POST", "/_lamchat/admin/v1/attestation/enrolment"),
    ("GET", "/_lamchat/admin/v1/attestation/ek-certificates"),
    ("POST", "/_lamchat/admin/v1/attestation/ek-certificates"),
    ("POST", "/_lamchat/admin/v1/backup"),
    ("GET", "/_lamchat/admin/v1/audit"),
    ("GET", "/_lamchat/admin/v1/audit/export"),
    ("POST", "/_lamchat/admin/v1/audit/witness"),
    ("GET", "/_lamchat/admin/v1/credentials"),
    ("DELETE", "/_lamchat/admin/v1/credentials/{name}"),
    ("GET", "/_lamchat/admin/v1/box/mirror"),
    ("POST", "/_lamchat/admin/v1/box/mirror"),
    ("GET", "/_lamchat/admin/v1/box/site"),
    ("POST", "/_lamchat/admin/v1/box/site"),
    ("POST", "/_lamchat/admin/v1/box/site/confirm"),
    ("POST", "/_lamchat/admin/v1/box/clock"),
    ("GET", "/_lamchat/admin/v1/box/log"),
    ("POST", "/_lamchat/admin/v1/box/end"),
    ("GET", "/_lamchat/admin/v1/update"),
    ("GET", "/_lamchat/admin/v1/update/bundle"),
    ("POST", "/_lamchat/admin/v1/update/bundle"),
    ("POST", "/_lamchat/admin/v1/update/apply"),
    ("GET", "/_lamchat/admin/v1/tls"),
    ("GET", "/_lamchat/admin/v1/tls/authority"),
    ("POST", "/_lamchat/admin/v1/tls/request"),
    ("POST", "/_lamchat/admin/v1/tls/certificate"),
    ("DELETE", "/_lamchat/admin/v1/tls/certificate"),
];

/// A listener at which credentials are taken.
#[derive(Debug)]
pub struct Door {
    /// Its address as clients write it.
    pub url: String,
    /// What it shows.
    pub identity: Arc<Identity>,
}

impl Door {
    /// By what administrators know it; `None` if the certificate cannot be read.
    pub fn pin(&self) -> Option<Pin> {
        self.identity.public_key_sha256().map(Pin)
    }
}

/// What is remembered about those who come from a distance.
#[derive(Debug, Default)]
pub struct Distance {
    /// Where they come in; set once the listeners are open.
    pub doors: OnceLock<Vec<Door>>,
    /// Whether `/metrics` on listeners asks for a credential, too.
    pub(crate) guards_metrics: bool,
    wrong: RateLimit,
    /// When a credential's use of a route that only reads was noted, within the last [`NOTED_MS`]: at most
    /// credentials × routes.
    noted: Mutex<HashMap<(String, String), u64>>,
}

impl Distance {
    /// Before the listeners are open.
    pub fn new(guards_metrics: bool) -> Self {
        Self {
            guards_metrics,
            ..Self::default()
        }
    }

    /// The doors as JSON.
    pub(crate) fn describe(&self) -> Value {
        let doors = self.doors.get().into_iter().flatten();
        let doors = doors.filter_map(|door| {
            let pin = door.pin()?.to_string();
            Some(json!({"url": door.url, "pin": pin}))
        });
        doors.collect()
    }
}

/// Method, path and authentication of all that is offered.
pub(crate) fn table() -> impl Iterator<Item = (Method, Cow<'static, str>, Auth)> {
    OFFERED.iter().filter_map(|(method, path)| {
        let method = Method::from_bytes(method.as_bytes()).ok()?;
        Some((method, Cow::Borrowed(*path), Auth::Admin))
    })
}

/// Those of `routes` that are offered, each behind the check of a credential.
pub(crate) fn guard(admin: &Arc<Admin>, routes: Vec<Route>) -> impl Iterator<Item = Route> {
    let admin = Arc::clone(admin);
    let is_offered = |route: &Route| OFFERED.contains(&(route.method.as_str(), &*route.path));
    routes.into_iter().filter(is_offered).map(move |route| {
        let (admin, path, inner) = (Arc::clone(&admin), route.path.clone(), route.handler);
        Route {
            handler: Arc::new(move |mut request| {
                let (admin, path, inner) = (Arc::clone(&admin), path.clone(), Arc::clone(&inner));
                Box::pin(async move {
                    match enter(&admin, &request, &path).await {
                        Ok(name) => {
                            request.caller = Some(name);
                            inner(request).await
                        }
                        Err(error) => Response::from(error),
                    }
                })
            }),
            ..route
        }
    })
}

/// Who asks, by the credential's name, with the asking noted.
pub(crate) async fn enter(admin: &Arc<Admin>, request: &Request, path: &str) -> Result<String, AdminError> {
    let is_here = request.peer.is_none_or(|peer| peer.is_loopback());
    if !request.is_encrypted && !is_here {
        return Err(AdminError::new(
            StatusCode::FORBIDDEN,
            "M_FORBIDDEN",
            "Credentials are taken over TLS only. This one has travelled in the clear: revoke it",
        ));
    }
    let Some(text) = bearer(&request.headers) else {
        return Err(AdminError::new(
            StatusCode::UNAUTHORIZED,
            "M_MISSING_TOKEN",
            "A credential is needed: `lamchat admin-credential create NAME` on the server makes one",
        ));
    };
    let (limit, now_ms) = (&admin.distance.wrong, admin.now_ms());
    let from = request.peer.map(network);
    limit.check(from, WRONG, now_ms).map_err(|wait_ms| {
        let wait = wait_ms.div_ceil(1000);
        let sentence = format!("There were too many wrong credentials; wait {wait} s");
        AdminError::new(StatusCode::TOO_MANY_REQUESTS, "M_LIMIT_EXCEEDED", sentence)
    })?;
    let Some(name) = credential::check(&admin.store.read(), text, now_ms)? else {
        tracing::warn!("a wrong or outdated credential was refused");
        return Err(AdminError::new(
            StatusCode::UNAUTHORIZED,
            "M_UNKNOWN_TOKEN",
            "This credential is not valid: it is mistyped, was revoked, or its time is over",
        ));
    };
    limit.give_back(from, WRONG);
    note(admin, request, path, &name).await?;
    Ok(name)
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    // RFC 6750, section 2.1: "credentials = "Bearer" 1*SP b64token"
    headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

async fn note(admin: &Arc<Admin>, request: &Request, path: &str, name: &str) -> Result<(), AdminError> {
    let now_ms = admin.now_ms();
    let reads_only = matches!(request.method, Method::GET | Method::HEAD);
    let key = (name.to_owned(), path.to_owned());
    let noted_ms = admin.distance.noted.lock().get(&key).copied();
    if reads_only && noted_ms.is_some_and(|noted_ms| now_ms < noted_ms.saturating_add(NOTED_MS)) {
        return Ok(());
    }
    let entry = Entry::new(now_ms, Actor::Credential(name.to_owned()), "credential.use")
        .fact("request", format!("{} {path}", request.method));
    let used = name.to_owned();
    let change = move |txn: &mut WriteTxn<'_>| {
        credential::note_use(txn, &used, now_ms)?;
        lamchat_audit::append(txn, &entry).map(drop)
    };
    admin.store.write::<_, ReadError>(change).await?;
    if reads_only {
        let mut noted = admin.distance.noted.lock();
        noted.retain(|_, noted_ms| now_ms < noted_ms.saturating_add(NOTED_MS));
        noted.insert(key, now_ms);
    }
    Ok(())
}
