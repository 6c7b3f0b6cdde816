//! What must be true of every route.

#![expect(clippy::unwrap_used, reason = "tests")]

use super::table;
use crate::route::aliases;
use crate::{App, testing};
use http::Method;
use lamchat_http::Auth;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Who needs no access token, and why. A new route that is open has to be written down here.
const OPEN: &[&str] = &[
    // Discovery comes before there is an account.
    "GET /_matrix/client/versions",
    "GET /.well-known/matrix/client",
    "GET /.well-known/matrix/server",
    "GET /.well-known/matrix/support",
    "GET /health",
    // Making an account, and proving to have one.
    "POST /_matrix/client/v3/register",
    "GET /_matrix/client/v3/register/available",
    "GET /_matrix/client/v1/register/m.login.registration_token/validity",
    "GET /_matrix/client/unstable/org.matrix.msc3231/register/org.matrix.msc3231.login.registration_token/validity",
    "GET /_matrix/client/v3/login",
    "POST /_matrix/client/v3/login",
    // A browser is sent there before anybody is known; it hears that there is no such thing.
    "GET /_matrix/client/v3/login/sso/redirect",
    "GET /_matrix/client/v3/login/sso/redirect/{idp_id}",
    // The OpenID token in the query is what is looked up.
    "GET /_matrix/federation/v1/openid/userinfo",
    // Public keys are for everybody.
    "GET /_matrix/key/v2/server",
    // The session in the query is what somebody was given who wants to authenticate.
    "GET /_matrix/client/v3/auth/{auth_type}/fallback/web",
    "POST /_matrix/client/v3/auth/{auth_type}/fallback/web",
    // The refresh token is the proof.
    "POST /_matrix/client/v3/refresh",
    "POST /_matrix/client/unstable/org.matrix.msc2918/refresh",
    // There is nothing to be had from them: addresses and numbers are not known here.
    "POST /_matrix/client/v3/account/3pid/email/requestToken",
    "POST /_matrix/client/v3/account/3pid/msisdn/requestToken",
    "POST /_matrix/client/v3/account/password/email/requestToken",
    "POST /_matrix/client/v3/account/password/msisdn/requestToken",
    "POST /_matrix/client/v3/register/email/requestToken",
    "POST /_matrix/client/v3/register/msisdn/requestToken",
    // What an alias stands for is public, and whether a room is in the directory.
    "GET /_matrix/client/v3/directory/room/{room_alias}",
    "GET /_matrix/client/v3/directory/list/room/{room_id}",
    // Media without authentication are frozen: nothing was uploaded before the freeze, so all of it is unknown here.
    "GET /_matrix/media/v3/download/{server_name}/{media_id}",
    "GET /_matrix/media/v3/download/{server_name}/{media_id}/{file_name}",
    "GET /_matrix/media/v3/thumbnail/{server_name}/{media_id}",
];

/// Who answers with a token and without.
const OPTIONAL: &[&str] = &[
    // The specification leaves it to the server; ours answers as `public_list_without_auth` says.
    "GET /_matrix/client/v3/publicRooms",
    // The token or user-interactive authentication proves who asks.
    "POST /_matrix/client/v3/account/deactivate",
    "POST /_matrix/client/v3/account/password",
    // Who knows the id of a delayed event may use it; who says who they are may use their own only.
    "POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delay_id}",
    "POST /_matrix/client/unstable/org.matrix.msc4140/delayed_events/{delay_id}/{action}",
    // Profiles are public on a server that federates; `may_reach` decides for callers who are known.
    "GET /_matrix/client/v3/profile/{user_id}",
    "GET /_matrix/client/v3/profile/{user_id}/{field}",
    "GET /_matrix/client/unstable/uk.tcpip.msc4133/profile/{user_id}",
    "GET /_matrix/client/unstable/uk.tcpip.msc4133/profile/{user_id}/{field}",
];

/// The name under which a route is in the lists: old, unstable and shorter forms belong to the newest one.
fn canonical(method: &Method, path: &str) -> String {
    let path = path
        .replace("/_matrix/client/r0/", "/_matrix/client/v3/")
        .replace("/_matrix/media/r0/", "/_matrix/media/v3/")
        .replace("/_matrix/media/v1/", "/_matrix/media/v3/");
    format!("{method} {path}")
}

/// A path with something sensible in each parameter.
fn filled(path: &str) -> String {
    let segments = path.split('/').map(|segment| match segment {
        "{room_id}" | "{room_id_or_alias}" => "%21room:example.org",
        "{room_alias}" => "%23alias:example.org",
        "{user_id}" => "@nobody:example.org",
        "{event_id}" | "{parent_event_id}" => "$event",
        "{server_name}" => "example.org",
        _ if segment.starts_with('{') => "x",
        _ => segment,
    });
    segments.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_route_has_its_authentication_case() {
    let app = testing::app();
    let (mut problems, mut seen) = (Vec::new(), BTreeSet::new());
    for (method, path, auth) in table() {
        let (name, target) = (canonical(&method, &path), filled(&path));
        let missing = code_of(&app, &method, &target, None).await;
        let wrong = code_of(&app, &method, &target, Some("wrong")).await;
        let is_right = match auth {
            Auth::Session => missing == "M_MISSING_TOKEN" && wrong == "M_UNKNOWN_TOKEN",
            Auth::Optional => {
                OPTIONAL.contains(&name.as_str()) && missing != "M_UNKNOWN_TOKEN" && wrong == "M_UNKNOWN_TOKEN"
            }
            Auth::Open | Auth::SharedSecret => OPEN.contains(&name.as_str()) && wrong != "M_UNKNOWN_TOKEN",
            // The client API has none.
            Auth::Admin => false,
        };
        if !is_right {
            problems.push(format!(
                "{auth:?} {name}: without a token {missing}, with a wrong one {wrong}"
            ));
        }
        seen.insert(name);
    }
    let stale = OPEN.iter().chain(OPTIONAL).filter(|name| !seen.contains(**name));
    problems.extend(stale.map(|name| format!("{name} is listed and is no route")));
    assert!(problems.is_empty(), "{problems:#?}");
}

/// The errcode of a request with an empty object, with its status if it is a refused token.
async fn code_of(app: &Arc<App>, method: &Method, target: &str, token: Option<&str>) -> String {
    let (status, body) = testing::call(app, method.as_str(), target, token, Some(json!({}))).await;
    let errcode = body.get("errcode").and_then(Value::as_str).unwrap_or_default();
    let is_about_tokens = ["M_MISSING_TOKEN", "M_UNKNOWN_TOKEN"].contains(&errcode);
    assert_eq!(
        is_about_tokens,
        status == 401 && !errcode.is_empty() && errcode != "M_FORBIDDEN",
        "{method} {target}: {status}"
    );
    errcode.to_owned()
}

#[tokio::test]
async fn the_token_may_be_in_the_query() {
    let app = testing::app();
    let (status, account) = testing::call(
        &app,
        "POST",
        "/_matrix/client/v3/register",
        None,
        Some(account("alice")),
    )
    .await;
    assert_eq!(status, 200, "{account}");
    let token = account.get("access_token").and_then(Value::as_str).unwrap();
    let whoami = "/_matrix/client/v3/account/whoami";
    let (status, me) = testing::call(&app, "GET", &format!("{whoami}?access_token={token}"), None, None).await;
    assert_eq!(
        (status.as_u16(), me.get("user_id")),
        (200, Some(&json!("@alice:example.org")))
    );
    assert_eq!(testing::call(&app, "GET", whoami, Some(token), None).await.0, 200);
    assert_eq!(
        testing::call(&app, "GET", &whoami.replace("v3", "r0"), Some(token), None)
            .await
            .0,
        200
    );
    // A header that is no bearer token is not made up for by the query.
    let (status, _) = testing::call(&app, "GET", &format!("{whoami}?access_token="), None, None).await;
    assert_eq!(status, 401);
}

fn account(name: &str) -> Value {
    json!({ "username": name, "password": "correct horse battery staple", "auth": { "type": "m.login.dummy" } })
}

#[tokio::test]
async fn nonsense_gets_an_errcode_from_every_route() {
    let app = testing::app();
    let (_, account) = testing::call(
        &app,
        "POST",
        "/_matrix/client/v3/register",
        None,
        Some(account("alice")),
    )
    .await;
    let token = account.get("access_token").and_then(Value::as_str).unwrap();
    let bodies: Vec<Vec<u8>> = vec![
        b"{".to_vec(),
        b"[]".to_vec(),
        b"\"text\"".to_vec(),
        b"{\"a\": 1e999999}".to_vec(),
        b"{\"timeout\": \"x\", \"auth\": 7, \"messages\": 3, \"device_keys\": [], \"type\": {}, \"user_id\": []}"
            .to_vec(),
        b"\xff\xfe{}".to_vec(),
        b"{\"\0\": \"\0\"}".to_vec(),
        [vec![b'['; 60_000], vec![b']'; 60_000]].concat(),
    ];
    let mut problems = Vec::new();
    for (method, path, _) in table() {
        // What ends the session or waits on purpose is tried by its owner's tests.
        if path.ends_with("/logout")
            || path.ends_with("/logout/all")
            || path.ends_with("/sync")
            || path.ends_with("/events")
        {
            continue;
        }
        for body in &bodies {
            let (status, answer) =
                testing::call_bytes(&app, method.as_str(), &filled(&path), Some(token), body.clone()).await;
            let answer: Value = serde_json::from_slice(&answer).unwrap_or(Value::Null);
            let has_errcode = answer.get("errcode").is_some() || answer.get("flows").is_some();
            let is_refused = status.is_client_error() && has_errcode;
            if !(status.is_success() || is_refused) {
                problems.push(format!("{method} {path}: {status} {answer}"));
            }
            let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
            let takes_json = method != "GET" && method != "DELETE" && !path.contains("/media/");
            if takes_json && !is_json && body.len() < 100 && status.is_success() {
                problems.push(format!("{method} {path} accepted {}", body.escape_ascii()));
            }
        }
        for target in [
            filled(&path).replace("%21room", "%00"),
            filled(&path).replace("@nobody", "%ff"),
            format!("{}?limit=x&dir=%ff&from=%00", filled(&path)),
        ] {
            let (status, _) = testing::call_bytes(&app, method.as_str(), &target, Some(token), b"{}".to_vec()).await;
            if status.is_server_error() {
                problems.push(format!("{method} {target}: {status}"));
            }
        }
    }
    assert!(problems.is_empty(), "{problems:#?}");
}

#[test]
fn old_and_short_names_lead_to_the_same_route() {
    let names: BTreeSet<_> = aliases("/_matrix/client/v3/rooms/{room_id}/state/{event_type}/{state_key}")
        .into_iter()
        .collect();
    for version in ["v3", "r0"] {
        for end in ["/{state_key}", "/", ""] {
            let name = format!("/_matrix/client/{version}/rooms/{{room_id}}/state/{{event_type}}{end}");
            assert!(names.contains(name.as_str()), "{name}");
        }
    }
    assert_eq!(aliases("/_matrix/client/v1/media/config").len(), 1);
}
