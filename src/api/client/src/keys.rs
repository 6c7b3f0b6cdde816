//! Device keys and one-time keys: upload, query, claim, and whose changed.
//!
//! All routes are raw: keys are passed through as the bytes that were signed.

use crate::device::wake_rooms;
use crate::wire::{body, check_json};
use crate::{ApiError, App, Routes, Session};
use http::{Method, StatusCode};
use lamchat_accounts::user;
use lamchat_base::{DeviceNum, UserNum};
use lamchat_connections::{Reach, may_reach};
use lamchat_http::{Request, Response};
use lamchat_keys::one_time::ClaimedKey;
use lamchat_keys::query::{Asked, QueryError, failures_json};
use lamchat_keys::{Owner, device_keys, one_time};
use lamchat_store::{Read, ReadError};
use lamchat_sync::Token;
use ruma::{DeviceId, UserId};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Most keys claimed by one request.
const CLAIMS_MAX: usize = 5_000;
/// From so many keys on, signatures are verified on the blocking pool: one costs some 31 µs.
const KEYS_INLINE_MAX: usize = 4;
/// How often another key is taken from a device that gave one with a wrong signature.
const CLAIM_ROUNDS_MAX: usize = 4;

/// The endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.raw(Method::POST, "/_matrix/client/v3/keys/upload", upload);
    r.raw(Method::POST, "/_matrix/client/v3/keys/query", query);
    r.raw(Method::POST, "/_matrix/client/v3/keys/claim", claim);
    r.raw(Method::GET, "/_matrix/client/v3/keys/changes", changes);
}

/// The body of a raw route.
pub(crate) async fn json_body(request: &mut Request) -> Result<bytes::Bytes, ApiError> {
    let bytes = body(request).await?;
    check_json(&bytes)?;
    Ok(bytes)
}

#[derive(serde::Deserialize)]
struct UploadBody {
    #[serde(default)]
    device_keys: Option<Box<RawValue>>,
    #[serde(default)]
    one_time_keys: Option<BTreeMap<String, Box<RawValue>>>,
    #[serde(default)]
    fallback_keys: Option<BTreeMap<String, Box<RawValue>>>,
}

/// Verified keys on their way to the store.
type Verified = (Option<device_keys::VerifiedDeviceKeys>, one_time::VerifiedKeys);

async fn upload(app: Arc<App>, session: Session, mut request: Request) -> Result<Response, ApiError> {
    let upload: UploadBody = serde_json::from_slice(&json_body(&mut request).await?)?;
    let number =
        upload.one_time_keys.as_ref().map_or(0, BTreeMap::len) + upload.fallback_keys.as_ref().map_or(0, BTreeMap::len);
    let (device_keys, keys) = if number > KEYS_INLINE_MAX {
        let (app, session) = (Arc::clone(&app), session.clone());
        tokio::task::spawn_blocking(move || verify(&app, &session, upload))
            .await
            .map_err(ApiError::internal)??
    } else {
        verify(&app, &session, upload)?
    };
    let counts = if device_keys.is_none() && keys.is_empty() {
        one_time::counts(&app.store.read(), session.device)?
    } else {
        app.store
            .write(move |txn| -> Result<_, ApiError> {
                let owner = owner(&session);
                if let Some(device_keys) = &device_keys
                    && device_keys::upload(txn, &owner, device_keys)?
                {
                    wake_rooms(txn, session.user)?;
                }
                if keys.is_empty() {
                    Ok(one_time::counts(txn, session.device)?)
                } else {
                    Ok(one_time::upload(txn, &owner, &keys)?)
                }
            })
            .await?
    };
    crate::wire::json(
        StatusCode::OK,
        &serde_json::json!({ "one_time_key_counts": counts.one_time }),
    )
}

fn verify(app: &App, session: &Session, upload: UploadBody) -> Result<Verified, ApiError> {
    let UploadBody {
        device_keys,
        one_time_keys,
        fallback_keys,
    } = upload;
    let (one_time_keys, fallback_keys) = (one_time_keys.unwrap_or_default(), fallback_keys.unwrap_or_default());
    // `null` stands for an absent object.
    let device_keys = match device_keys.filter(|json| json.get() != "null") {
        Some(json) => Some(device_keys::verify(&session.user_id, &session.device_id, &json)?),
        None => None,
    };
    if one_time_keys.is_empty() && fallback_keys.is_empty() {
        return Ok((device_keys, one_time::VerifiedKeys::default()));
    }
    let signing_key = match &device_keys {
        Some(keys) => Some(keys.ed25519().to_owned()),
        None => device_keys::signing_key(&app.store.read(), session.user, &session.device_id)?,
    };
    let keys = one_time::verify(
        &session.user_id,
        &session.device_id,
        signing_key.as_deref(),
        &one_time_keys,
        &fallback_keys,
    )?;
    Ok((device_keys, keys))
}

fn owner(session: &Session) -> Owner<'_> {
    Owner {
        user: session.user,
        user_id: &session.user_id,
        device: session.device,
        device_id: &session.device_id,
    }
}

async fn query(app: Arc<App>, session: Session, mut request: Request) -> Result<Response, ApiError> {
    #[derive(serde::Deserialize)]
    struct QueryBody<'q> {
        #[serde(borrow)]
        device_keys: Asked<'q>,
    }
    let bytes = json_body(&mut request).await?;
    let QueryBody { device_keys } = serde_json::from_slice(&bytes)?;
    let answer = app
        .key_queries
        .query(&app.store.read(), &app.server_name, session.user, &device_keys)?;
    Ok(Response::json(StatusCode::OK, answer.into_bytes()))
}

/// A key to claim: whose, of which algorithm, and the names for the answer.
struct Claim {
    user: UserNum,
    user_id: String,
    device: DeviceNum,
    device_id: String,
    algorithm: String,
}

async fn claim(app: Arc<App>, session: Session, mut request: Request) -> Result<Response, ApiError> {
    #[derive(serde::Deserialize)]
    struct ClaimBody<'q> {
        #[serde(borrow)]
        one_time_keys: BTreeMap<Cow<'q, str>, BTreeMap<Cow<'q, str>, Cow<'q, str>>>,
    }
    let bytes = json_body(&mut request).await?;
    let ClaimBody { one_time_keys } = serde_json::from_slice(&bytes)?;
    if one_time_keys.values().map(BTreeMap::len).sum::<usize>() > CLAIMS_MAX {
        return Err(ApiError::too_large(format!(
            "At most {CLAIMS_MAX} keys can be claimed at once"
        )));
    }
    let (claims, failures) = {
        let read = app.store.read();
        let mut failures = BTreeSet::new();
        let mut claims = Vec::new();
        for (user_id, devices) in one_time_keys {
            let Some(user) = local_user(&app, &read, &user_id, &mut failures)? else {
                continue;
            };
            if !may_reach(session.user, user, Reach::ClaimKey) {
                continue;
            }
            for (device_id, algorithm) in devices {
                // "If the user or device was unknown, no failure is recorded. Instead, the corresponding user or device is
                // missing from the result."
                if let Some(device) = device_keys::device_num(&read, user, &device_id)? {
                    let (user_id, device_id) = (user_id.clone().into_owned(), device_id.into_owned());
                    claims.push(Claim {
                        user,
                        user_id,
                        device,
                        device_id,
                        algorithm: algorithm.into_owned(),
                    });
                }
            }
        }
        (claims, failures)
    };
    let mut users: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut claims = claims;
    for _ in 0..CLAIM_ROUNDS_MAX {
        if claims.is_empty() {
            break;
        }
        let (good, bad) = take(&app, claims).await?;
        for (claim, key) in good {
            let named = format!("{{{}:{}}}", quoted(&key.name), key.json);
            users.entry(claim.user_id).or_default().insert(claim.device_id, named);
        }
        claims = bad;
    }
    let users: Vec<String> = users
        .iter()
        .map(|(user, devices)| format!("{}:{}", quoted(user), object(devices)))
        .collect();
    let answer = format!(
        r#"{{"failures":{{{}}},"one_time_keys":{{{}}}}}"#,
        failures_json(&failures),
        users.join(",")
    );
    Ok(Response::json(StatusCode::OK, answer.into_bytes()))
}

/// What was taken: keys that their devices have signed, and the claims that got another.
type SortedOut = (Vec<(Claim, ClaimedKey)>, Vec<Claim>);

/// Takes keys. Answers those that their device has signed, and the claims for which there was one that it has not: such a
/// key is gone, and the next one may be good.
async fn take(app: &Arc<App>, claims: Vec<Claim>) -> Result<SortedOut, ApiError> {
    let taken = app
        .store
        .write(move |txn| -> Result<_, ReadError> {
            let mut taken = Vec::with_capacity(claims.len());
            for claim in claims {
                if let Some(key) = one_time::claim(txn, claim.user, claim.device, &claim.algorithm)? {
                    taken.push((claim, key));
                }
            }
            Ok(taken)
        })
        .await?;
    if taken.len() <= KEYS_INLINE_MAX {
        return sort_out(app, taken);
    }
    let app = Arc::clone(app);
    tokio::task::spawn_blocking(move || sort_out(&app, taken))
        .await
        .map_err(ApiError::internal)?
}

fn sort_out(app: &App, taken: Vec<(Claim, ClaimedKey)>) -> Result<SortedOut, ApiError> {
    let read = app.store.read();
    let (mut good, mut bad) = (Vec::with_capacity(taken.len()), Vec::new());
    for (claim, key) in taken {
        let device_id = <&DeviceId>::from(claim.device_id.as_str());
        let signing_key = device_keys::signing_key(&read, claim.user, device_id)?;
        if signing_key.is_some_and(|by| one_time::is_signed(&claim.user_id, &claim.device_id, &by, &key)) {
            good.push((claim, key));
        } else {
            bad.push(claim);
        }
    }
    Ok((good, bad))
}

/// The number of a local user; those of other servers are noted as failures.
pub(crate) fn local_user(
    app: &App,
    read: &dyn Read,
    user_id: &str,
    failures: &mut BTreeSet<String>,
) -> Result<Option<UserNum>, ApiError> {
    let user_id = <&UserId>::try_from(user_id).map_err(|_| ApiError::invalid_param("A user id is malformed"))?;
    if user_id.server_name() != app.server_name {
        failures.insert(user_id.server_name().as_str().to_owned());
        return Ok(None);
    }
    Ok(user::num(read, user_id)?)
}

/// A JSON object of values that are JSON already.
fn object(members: &BTreeMap<String, String>) -> String {
    let members: Vec<String> = members
        .iter()
        .map(|(name, json)| format!("{}:{json}", quoted(name)))
        .collect();
    format!("{{{}}}", members.join(","))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

async fn changes(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    // "to: (…) This may be used by the server as a hint to check its caches are up to date": what came after it is
    // answered as well, and once more by the next sync.
    let [from, to] = ["from", "to"].map(|name| lamchat_http::query_value(request.query(), name));
    let from = from.ok_or_else(|| ApiError::missing_param("`from` is missing"))?;
    let bad_token = |_| ApiError::invalid_param("`from` and `to` must be tokens of /sync");
    let from = Token::parse(&from).map_err(bad_token)?;
    if let Some(to) = to {
        Token::parse(&to).map_err(bad_token)?;
    }
    let read = app.store.read();
    // A token from before a restore says nothing about now: everybody may have changed.
    let since = if from.epoch == app.store.epoch() {
        from.position
    } else {
        lamchat_base::Position(0)
    };
    let lists = lamchat_sync::changes::since(&read, session.user, since)?;
    crate::wire::json(
        StatusCode::OK,
        &serde_json::json!({ "changed": lists.changed, "left": lists.left }),
    )
}

impl From<device_keys::UploadError> for ApiError {
    fn from(error: device_keys::UploadError) -> Self {
        use device_keys::UploadError as E;
        match error {
            E::Json(_) | E::Malformed(_) => Self::bad_json(error.to_string()),
            E::NotYours | E::IdentityChanged => Self::invalid_param(error.to_string()),
            E::TooLarge => Self::too_large(error.to_string()),
            E::Signature => Self::new(StatusCode::BAD_REQUEST, "M_INVALID_SIGNATURE", error.to_string()),
            E::IdInUse => Self::forbidden(error.to_string()),
            E::Read(error) => error.into(),
            E::Commit(error) => error.into(),
        }
    }
}

impl From<one_time::UploadError> for ApiError {
    fn from(error: one_time::UploadError) -> Self {
        use one_time::UploadError as E;
        match error {
            E::Malformed(..) => Self::bad_json(error.to_string()),
            E::Signature(_) => Self::new(StatusCode::BAD_REQUEST, "M_INVALID_SIGNATURE", error.to_string()),
            E::NoDeviceKeys | E::Exists(_) => Self::invalid_param(error.to_string()),
            E::TooMany => Self::too_large(error.to_string()),
            E::Read(error) => error.into(),
            E::Commit(error) => error.into(),
        }
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        match error {
            QueryError::UserId(_) => Self::invalid_param(error.to_string()),
            QueryError::TooMany => Self::too_large(error.to_string()),
            QueryError::Read(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests;
