//! Credentials, and the commands from a distance.

use super::{Site, site};
use crate::distance::OFFERED;
use crate::{listener_routes, socket_routes};
use lamchat_http::{Limits, Router};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Routes of the Unix socket that stay there.
const HERE: [(&str, &str); 5] = [
    ("POST", "/_lamchat/admin/v1/box/acts"),
    ("POST", "/_lamchat/admin/v1/box/good"),
    ("POST", "/_lamchat/admin/v1/box/readings"),
    ("POST", "/_lamchat/admin/v1/credentials"),
    // On listeners it is open anyway.
    ("GET", "/metrics"),
];

#[test]
fn every_route_is_offered_or_kept_here() {
    let site = site();
    let routes = socket_routes(&site.admin);
    let real: BTreeSet<(&str, &str)> = routes
        .iter()
        .map(|route| (route.method.as_str(), &*route.path))
        .collect();
    let listed: BTreeSet<(&str, &str)> = OFFERED.iter().copied().chain(HERE).collect();
    assert_eq!(real, listed);
    assert_eq!(listed.len(), OFFERED.len() + HERE.len(), "each once");
}

async fn far(site: &Site, credential: &str, method: &str, target: &str, body: Value) -> (u16, Value) {
    let router = Router::new(listener_routes(&site.admin), Limits::default()).unwrap();
    let mut request = http::Request::builder()
        .method(method)
        .uri(format!("/_lamchat/admin/v1/{target}"));
    if !credential.is_empty() {
        request = request.header("authorization", format!("Bearer {credential}"));
    }
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let response = router.answer(request.body(body.into()).unwrap()).await;
    let json = serde_json::from_slice(response.body()).unwrap_or(Value::Null);
    (response.status().as_u16(), json)
}

async fn made(site: &Site, name: &str, valid_for_ms: u64) -> String {
    let body = json!({"name": name, "valid_for_ms": valid_for_ms});
    let (status, made) = site.socket("POST", "credentials", body).await;
    assert_eq!(status, 200, "{made}");
    made["credential"].as_str().unwrap().to_owned()
}

async fn acts(site: &Site) -> Vec<String> {
    let (_, log) = site.socket("GET", "audit", Value::Null).await;
    let entries = log["entries"].as_array().unwrap().iter();
    entries
        .map(|entry| {
            format!(
                "{} {} {}{}",
                entry["actor"].as_str().unwrap(),
                entry["act"].as_str().unwrap(),
                entry["subject"].as_str().unwrap(),
                entry["facts"]["request"].as_str().unwrap_or_default()
            )
        })
        .collect()
}

#[tokio::test]
async fn a_credential_opens_until_its_end() {
    let site = site();
    let alice = made(&site, "alice", 60_000).await;
    assert!(alice.starts_with("lca.alice.") && alice.len() == 36, "{alice}");
    assert_eq!(far(&site, &alice, "GET", "users", Value::Null).await.0, 200);
    let swapped = |from: &str, to: &str| alice.replacen(from, to, 1);
    let last = if alice.ends_with('a') { "b" } else { "a" };
    let wrong = format!("{}{last}", &alice[..alice.len() - 1]);
    for wrong in [
        "lca.alice.",
        "lca.alice",
        "lca",
        &wrong,
        &format!("{alice}a"),
        &alice.to_uppercase(),
        &swapped("alice", "bob"),
        &swapped("lca", "lct"),
    ] {
        let (status, refused) = far(&site, wrong, "GET", "users", Value::Null).await;
        assert_eq!(
            (status, &refused["errcode"]),
            (401, &json!("M_UNKNOWN_TOKEN")),
            "{wrong}"
        );
    }
    let (status, refused) = far(&site, "", "GET", "users", Value::Null).await;
    assert_eq!((status, &refused["errcode"]), (401, &json!("M_MISSING_TOKEN")));
    site.clock.advance_ms(60_000);
    assert_eq!(far(&site, &alice, "GET", "users", Value::Null).await.0, 401);
    // Its name is free again, and the old one stays outdated.
    let newer = made(&site, "alice", 60_000).await;
    assert_eq!(far(&site, &newer, "GET", "users", Value::Null).await.0, 200);
    assert_eq!(far(&site, &alice, "GET", "users", Value::Null).await.0, 401);
    assert_eq!(
        far(&site, &newer, "DELETE", "credentials/alice", Value::Null).await.0,
        200
    );
    assert_eq!(far(&site, &newer, "GET", "users", Value::Null).await.0, 401);
}

#[tokio::test]
async fn what_is_kept_and_listed_is_not_the_secret() {
    let site = site();
    let alice = made(&site, "alice", 60_000).await;
    let (_, list) = site.socket("GET", "credentials", Value::Null).await;
    assert_eq!(list["credentials"][0]["name"], "alice");
    assert_eq!(list["credentials"][0]["used_ms"], Value::Null);
    assert!(!list.to_string().contains(&alice[10..]), "{list}");
    far(&site, &alice, "GET", "users", Value::Null).await;
    let (_, list) = site.socket("GET", "credentials", Value::Null).await;
    assert!(list["credentials"][0]["used_ms"].is_u64(), "{list}");
}

#[tokio::test]
async fn each_use_is_in_the_audit_log_by_name() {
    let site = site();
    let alice = made(&site, "alice", 3_600_000).await;
    let body = json!({"token": "abc"});
    assert_eq!(far(&site, &alice, "POST", "tokens", body).await.0, 200);
    for _ in 0..3 {
        far(&site, &alice, "GET", "users", Value::Null).await;
    }
    let uid = nix::unistd::geteuid();
    let expected = [
        format!("uid {uid} credential.create alice"),
        "credential alice credential.use POST /_lamchat/admin/v1/tokens".to_owned(),
        "credential alice token.create ".to_owned(),
        "credential alice credential.use GET /_lamchat/admin/v1/users".to_owned(),
    ];
    assert_eq!(acts(&site).await, expected);
    site.clock.advance_ms(60_000);
    far(&site, &alice, "GET", "users", Value::Null).await;
    assert_eq!(acts(&site).await.len(), expected.len() + 1);
    // What is refused is not noted: strangers cannot fill the log.
    far(&site, "lca.alice.x", "GET", "users", Value::Null).await;
    assert_eq!(acts(&site).await.len(), expected.len() + 1);
}

#[tokio::test]
async fn wrong_credentials_are_few() {
    let site = site();
    let alice = made(&site, "alice", 3_600_000).await;
    for _ in 0..50 {
        assert_eq!(far(&site, &alice, "GET", "health", Value::Null).await.0, 200);
    }
    for _ in 0..10 {
        assert_eq!(far(&site, "lca.alice.x", "GET", "health", Value::Null).await.0, 401);
    }
    let (status, refused) = far(&site, "lca.alice.x", "GET", "health", Value::Null).await;
    assert_eq!((status, &refused["errcode"]), (429, &json!("M_LIMIT_EXCEEDED")));
    assert_eq!(far(&site, &alice, "GET", "health", Value::Null).await.0, 429);
    site.clock.advance_ms(10_000);
    assert_eq!(far(&site, &alice, "GET", "health", Value::Null).await.0, 200);
}

#[tokio::test]
async fn credentials_are_made_here_only_and_within_bounds() {
    let site = site();
    let alice = made(&site, "alice", 3_600_000).await;
    let (status, _) = far(&site, &alice, "POST", "credentials", json!({"name": "bob"})).await;
    assert_eq!(status, 405);
    let (status, _) = far(
        &site,
        &alice,
        "POST",
        "box/acts",
        json!({"act": "log", "terminal": "x"}),
    )
    .await;
    assert_eq!(status, 404);
    for wrong in [
        json!({"name": "alice"}),
        json!({"name": ""}),
        json!({"name": "Alice"}),
        json!({"name": "a.b"}),
        json!({"name": "a".repeat(33)}),
        json!({"name": "c", "valid_for_ms": 10}),
        json!({"name": "c", "valid_for_ms": 367 * 86_400_000_u64}),
    ] {
        assert_eq!(
            site.socket("POST", "credentials", wrong.clone()).await.0,
            400,
            "{wrong}"
        );
    }
    for number in 1..crate::credential::CREDENTIALS_MAX {
        made(&site, &format!("c{number}"), 1000 + number as u64).await;
    }
    assert_eq!(site.socket("POST", "credentials", json!({"name": "more"})).await.0, 409);
    // Those whose time is over make room.
    site.clock.advance_ms(5_000);
    assert_eq!(site.socket("POST", "credentials", json!({"name": "more"})).await.0, 200);
    let gone = site.socket("DELETE", "credentials/nobody", Value::Null).await;
    assert_eq!(gone.0, 404);
}
