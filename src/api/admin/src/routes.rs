//! Which route answers what, and the way from a request to a handler and back.

use crate::{
    Admin, AdminError, attestation, audit, backup, health, keyring, media, metrics, report, seal, shared_secret,
    signing_key, token, user,
};
use http::{Method, StatusCode};
use lamchat_http::{Auth, BodyPolicy, Patience, Request, Resource, Response, Route};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;

/// Largest body of an administrative request.
pub(crate) const BODY_BYTES_MAX: usize = 64 << 10;

/// The routes of the Unix socket.
pub fn socket_routes(admin: &Arc<Admin>) -> Vec<Route> {
    let (get, post, delete) = (Method::GET, Method::POST, Method::DELETE);
    vec![
        on(admin, &get, "/_lamchat/admin/v1/health", health::health),
        on(admin, &get, "/_lamchat/admin/v1/users", user::list),
        on(admin, &post, "/_lamchat/admin/v1/users", user::add),
        on(
            admin,
            &post,
            "/_lamchat/admin/v1/users/{user}/password",
            user::set_password,
        ),
        on(
            admin,
            &post,
            "/_lamchat/admin/v1/users/{user}/deactivate",
            user::deactivate,
        ),
        on(
            admin,
            &post,
            "/_lamchat/admin/v1/users/{user}/reactivate",
            user::reactivate,
        ),
        on(admin, &post, "/_lamchat/admin/v1/users/{user}/admin", user::set_admin),
        on(
            admin,
            &post,
            "/_lamchat/admin/v1/users/{user}/suspended",
            user::set_suspended,
        ),
        on(admin, &post, "/_lamchat/admin/v1/users/{user}/locked", user::set_locked),
        on(
            admin,
            &delete,
            "/_lamchat/admin/v1/users/{user}/media",
            media::delete_of_user,
        ),
        on(admin, &get, "/_lamchat/admin/v1/media", media::list),
        on(admin, &delete, "/_lamchat/admin/v1/media/{media}", media::delete),
        on(admin, &get, "/_lamchat/admin/v1/reports", report::list),
        on(admin, &get, "/_lamchat/admin/v1/reports/{report}", report::show),
        on(admin, &delete, "/_lamchat/admin/v1/reports/{report}", report::close),
        on(admin, &get, "/_lamchat/admin/v1/tokens", token::list),
        on(admin, &post, "/_lamchat/admin/v1/tokens", token::create),
        on(admin, &delete, "/_lamchat/admin/v1/tokens/{token}", token::revoke),
        on(admin, &get, "/_lamchat/admin/v1/keyring", keyring::list),
        on(
            admin,
            &delete,
            "/_lamchat/admin/v1/keyring/slots/{slot}",
            keyring::remove,
        ),
        on(admin, &get, "/_lamchat/admin/v1/seal", seal::status),
        on(admin, &post, "/_lamchat/admin/v1/seal/init", seal::init),
        on(
            admin,
            &post,
            "/_lamchat/admin/v1/seal/slots/{slot}/rebind",
            seal::rebind,
        ),
        on(admin, &get, "/_lamchat/admin/v1/signing-key", signing_key::show),
        on(
            admin,
            &post,
            "/_lamchat/admin/v1/signing-key/rotate",
            signing_key::rotate,
        ),
        on(admin, &get, "/_lamchat/admin/v1/attestation", attestation::evidence),
        on(
            admin,
            &get,
            "/_lamchat/admin/v1/attestation/enrolment",
            attestation::request,
        ),
        on(
            admin,
            &post,
            "/_lamchat/admin/v1/attestation/enrolment",
            attestation::activate,
        ),
        raw(admin, &post, "/_lamchat/admin/v1/backup", Auth::Admin, backup::create),
        on(admin, &get, "/_lamchat/admin/v1/audit", audit::show),
        raw(
            admin,
            &get,
            "/_lamchat/admin/v1/audit/export",
            Auth::Admin,
            audit::export,
        ),
        on(admin, &post, "/_lamchat/admin/v1/audit/witness", audit::add_witness),
        on(admin, &post, "/_lamchat/admin/v1/box/acts", audit::box_act),
        raw(admin, &get, METRICS, Auth::Admin, metrics::metrics),
    ]
}

/// Where accounts are made by shared secret.
const REGISTER: &str = "/_synapse/admin/v1/register";
const METRICS: &str = "/metrics";
/// Where everybody may ask for evidence, on listeners with the resource `client`.
const ATTESTATION: &str = "/_lamchat/v1/attestation";

/// The method, path and kind of authentication of each of [`listener_routes`]; for tests that prove something about all.
pub fn listener_table() -> Vec<(Method, Cow<'static, str>, Auth)> {
    vec![
        (Method::GET, REGISTER.into(), Auth::SharedSecret),
        (Method::POST, REGISTER.into(), Auth::SharedSecret),
        (Method::GET, METRICS.into(), Auth::Open),
        (Method::GET, ATTESTATION.into(), Auth::Open),
    ]
}

/// The routes of TCP listeners: with the resource `admin`, and evidence with the resource `client`.
pub fn listener_routes(admin: &Arc<Admin>) -> Vec<Route> {
    let evidence = raw(admin, &Method::GET, ATTESTATION, Auth::Open, attestation::public);
    vec![
        raw(admin, &Method::GET, REGISTER, Auth::SharedSecret, |admin, request| {
            json_answer(shared_secret::nonce(admin, request))
        }),
        raw(admin, &Method::POST, REGISTER, Auth::SharedSecret, |admin, request| {
            json_answer(shared_secret::register(admin, request))
        }),
        // Numbers only, no names; which listener offers the resource `admin` is the operator's decision.
        raw(admin, &Method::GET, METRICS, Auth::Open, metrics::metrics),
        Route {
            resource: Resource::Client,
            // It has the TPM's own time limit.
            patience: Patience::Own,
            ..evidence
        },
    ]
}

/// A route of the Unix socket whose answer is JSON.
fn on<F, Fut>(admin: &Arc<Admin>, method: &Method, path: &'static str, handler: F) -> Route
where
    F: Fn(Arc<Admin>, Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Value, AdminError>> + Send + 'static,
{
    raw(admin, method, path, Auth::Admin, move |admin, request| {
        json_answer(handler(admin, request))
    })
}

async fn json_answer(answer: impl Future<Output = Result<Value, AdminError>>) -> Result<Response, AdminError> {
    Ok(Response::json(StatusCode::OK, answer.await?.to_string().into_bytes()))
}

fn raw<F, Fut>(admin: &Arc<Admin>, method: &Method, path: &'static str, auth: Auth, handler: F) -> Route
where
    F: Fn(Arc<Admin>, Request) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Response, AdminError>> + Send + 'static,
{
    let (admin, handler) = (Arc::clone(admin), Arc::new(handler));
    Route {
        method: method.clone(),
        path: path.into(),
        resource: Resource::Admin,
        auth,
        body: BodyPolicy::Limit(BODY_BYTES_MAX),
        // A command waits as long as it takes: leaving a thousand rooms, streaming a backup.
        patience: if auth == Auth::Admin {
            Patience::Own
        } else {
            Patience::Bounded
        },
        handler: Arc::new(move |request| {
            let (admin, handler) = (Arc::clone(&admin), Arc::clone(&handler));
            Box::pin(async move { handler(admin, request).await.unwrap_or_else(Response::from) })
        }),
    }
}

/// The body as `T`. `M_NOT_JSON` when it is no JSON, `M_BAD_JSON` when it is another.
pub(crate) fn parse<T: DeserializeOwned>(request: &Request) -> Result<T, AdminError> {
    let bytes = request.bytes();
    serde_json::from_slice(&bytes).map_err(|error| {
        let errcode = if error.is_data() { "M_BAD_JSON" } else { "M_NOT_JSON" };
        AdminError::new(
            StatusCode::BAD_REQUEST,
            errcode,
            format!("The request's body cannot be used: {error}"),
        )
    })
}
