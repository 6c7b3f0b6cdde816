//! Which route answers what.

use crate::route::{json_answer, on, raw};
use crate::{
    Admin, attestation, audit, backup, certificate, credential, distance, ek_certificates, hardware, health, keyring,
    media, metrics, mirror, report, seal, shared_secret, signing_key, site, standing, token, update, user,
};
use http::Method;
use lamchat_http::{Auth, BodyPolicy, Patience, Resource, Route};
use std::borrow::Cow;
use std::sync::Arc;

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
        on(admin, &post, "/_lamchat/admin/v1/seal/file", seal::add_file),
        on(admin, &post, "/_lamchat/admin/v1/seal/floor", seal::raise_floor),
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
        on(
            admin,
            &get,
            "/_lamchat/admin/v1/attestation/ek-certificates",
            ek_certificates::show,
        ),
        on(
            admin,
            &post,
            "/_lamchat/admin/v1/attestation/ek-certificates",
            ek_certificates::bring,
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
        on(admin, &post, "/_lamchat/admin/v1/box/readings", hardware::tell),
        on(admin, &get, "/_lamchat/admin/v1/box/mirror", mirror::show),
        on(admin, &post, "/_lamchat/admin/v1/box/mirror", mirror::add),
        on(admin, &get, "/_lamchat/admin/v1/box/site", site::show),
        on(admin, &post, "/_lamchat/admin/v1/box/site", site::change),
        on(admin, &post, "/_lamchat/admin/v1/box/site/confirm", site::confirm),
        on(admin, &post, "/_lamchat/admin/v1/box/clock", site::set_clock),
        on(admin, &get, "/_lamchat/admin/v1/box/log", site::log),
        on(admin, &post, "/_lamchat/admin/v1/box/end", site::end),
        on(admin, &post, "/_lamchat/admin/v1/box/good", standing::good),
        on(admin, &get, "/_lamchat/admin/v1/credentials", credential::act::list),
        on(admin, &post, "/_lamchat/admin/v1/credentials", credential::act::create),
        on(
            admin,
            &delete,
            "/_lamchat/admin/v1/credentials/{name}",
            credential::act::revoke,
        ),
        on(admin, &get, "/_lamchat/admin/v1/update", update::status),
        on(admin, &get, "/_lamchat/admin/v1/update/bundle", update::show),
        Route {
            body: BodyPolicy::Stream(update::BUNDLE_BYTES_MAX),
            ..on(admin, &post, "/_lamchat/admin/v1/update/bundle", update::stage)
        },
        on(admin, &post, "/_lamchat/admin/v1/update/apply", update::apply),
        on(admin, &get, "/_lamchat/admin/v1/tls", certificate::show),
        on(admin, &get, "/_lamchat/admin/v1/tls/authority", certificate::authority),
        on(admin, &post, "/_lamchat/admin/v1/tls/request", certificate::request),
        on(admin, &post, "/_lamchat/admin/v1/tls/certificate", certificate::install),
        on(
            admin,
            &delete,
            "/_lamchat/admin/v1/tls/certificate",
            certificate::remove,
        ),
        raw(admin, &get, METRICS, Auth::Admin, metrics::metrics),
    ]
}

/// Where accounts are made by shared secret.
const REGISTER: &str = "/_synapse/admin/v1/register";
const METRICS: &str = "/metrics";
/// Where everybody may ask for evidence, on listeners with the resource `client`.
const ATTESTATION: &str = "/_lamchat/v1/attestation";
/// Where everybody gets the certificate of the server's own authority, on the same listeners.
const AUTHORITY: &str = "/_lamchat/v1/ca.pem";

/// The method, path and kind of authentication of each of [`listener_routes`]; for tests that prove something about all.
pub fn listener_table() -> Vec<(Method, Cow<'static, str>, Auth)> {
    let mut table = vec![
        (Method::GET, REGISTER.into(), Auth::SharedSecret),
        (Method::POST, REGISTER.into(), Auth::SharedSecret),
        (Method::GET, METRICS.into(), Auth::Open),
        (Method::GET, ATTESTATION.into(), Auth::Open),
        (Method::GET, AUTHORITY.into(), Auth::Open),
    ];
    table.extend(distance::table());
    table
}

/// The routes of TCP listeners: with the resource `admin`; evidence and the authority with the resource `client`.
pub fn listener_routes(admin: &Arc<Admin>) -> Vec<Route> {
    let evidence = raw(admin, &Method::GET, ATTESTATION, Auth::Open, attestation::public);
    let authority = raw(
        admin,
        &Method::GET,
        AUTHORITY,
        Auth::Open,
        certificate::public_authority,
    );
    let mut routes = vec![
        raw(admin, &Method::GET, REGISTER, Auth::SharedSecret, |admin, request| {
            json_answer(shared_secret::nonce(admin, request))
        }),
        raw(admin, &Method::POST, REGISTER, Auth::SharedSecret, |admin, request| {
            json_answer(shared_secret::register(admin, request))
        }),
        // Numbers only, no names; which listener offers the resource `admin` is the operator's decision.
        raw(
            admin,
            &Method::GET,
            METRICS,
            Auth::Open,
            async move |admin: Arc<Admin>, request| {
                if admin.distance.guards_metrics {
                    distance::enter(&admin, &request, METRICS).await?;
                }
                metrics::metrics(admin, request).await
            },
        ),
        Route {
            resource: Resource::Client,
            // It has the TPM's own time limit.
            patience: Patience::Own,
            ..evidence
        },
        Route {
            resource: Resource::Client,
            ..authority
        },
    ];
    routes.extend(distance::guard(admin, socket_routes(admin)));
    routes
}
