//! Registration by the shared secret, and the routes of the listeners.

use super::site;
use crate::{listener_routes, listener_table};
use aws_lc_rs::hmac;
use serde_json::{Value, json};

#[test]
fn the_table_lists_the_routes() {
    let mut listed: Vec<String> = listener_table()
        .iter()
        .map(|(method, path, auth)| format!("{method} {path} {auth:?}"))
        .collect();
    let mut real: Vec<String> = listener_routes(&site().admin)
        .iter()
        .map(|route| format!("{} {} {:?}", route.method, route.path, route.auth))
        .collect();
    listed.sort();
    real.sort();
    assert_eq!(listed, real);
}

fn signed(nonce: &str, name: &str, role: &str, kind: Option<&str>) -> Value {
    let mut message = format!("{nonce}\0{name}\0secret word\0{role}");
    if let Some(kind) = kind {
        message.push_str(&format!("\0{kind}"));
    }
    let mac = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"shared"),
        message.as_bytes(),
    );
    let mac: String = mac.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let mut body =
        json!({"nonce": nonce, "username": name, "password": "secret word", "admin": role == "admin", "mac": mac});
    if let Some(kind) = kind {
        body["user_type"] = kind.into();
    }
    body
}

#[tokio::test]
async fn shared_secret_registration_is_exact() {
    let site = site();
    let (status, made) = site
        .register("POST", signed(&site.nonce().await, "bob", "admin", None))
        .await;
    assert_eq!(status, 200, "{made}");
    assert_eq!(
        (&made["user_id"], &made["home_server"]),
        (&json!("@bob:example.org"), &json!("example.org"))
    );
    assert!(made["access_token"].is_string() && made["device_id"].is_string());

    // The name is taken: the nonce comes back, so that the script can try another one.
    let nonce = site.nonce().await;
    let (status, error) = site.register("POST", signed(&nonce, "bob", "notadmin", None)).await;
    assert_eq!((status, &error["errcode"]), (400, &json!("M_USER_IN_USE")));
    assert_eq!(
        site.register("POST", signed(&nonce, "carol", "notadmin", None)).await.0,
        200
    );
    assert_eq!(
        site.register("POST", signed(&nonce, "dave", "notadmin", None)).await.0,
        400,
        "used up"
    );

    let nonce = site.nonce().await;
    site.clock.advance_ms(60_000);
    assert_eq!(
        site.register("POST", signed(&nonce, "dave", "notadmin", None)).await.0,
        400,
        "expired"
    );

    let nonce = site.nonce().await;
    let mut raised = signed(&nonce, "dave", "notadmin", None);
    raised["admin"] = true.into();
    assert_eq!(site.register("POST", raised).await.0, 403);
    assert_eq!(
        site.register("POST", signed(&nonce, "dave", "notadmin", Some("bot")))
            .await
            .0,
        400,
        "no user types"
    );
    // "a\0b" with password "c" must not pass for "a" with password "b\0c".
    let mut shifted = signed(&nonce, "dave", "notadmin", None);
    shifted["username"] = "dave\0secret word".into();
    shifted["password"] = "notadmin".into();
    assert_eq!(site.register("POST", shifted).await.0, 400);

    site.admin.shared_secret.store(None);
    assert_eq!(site.register("GET", Value::Null).await.0, 400);
    assert_eq!(
        site.register("POST", signed(&nonce, "dave", "notadmin", None)).await.0,
        400
    );
}
