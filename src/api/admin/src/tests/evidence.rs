//! Evidence for auditors, by endpoint and socket.

use super::{answer, endpoint, intermediate, site};
use crate::listener_routes;
use serde_json::{Value, json};
use std::sync::Arc;

#[tokio::test]
async fn evidence_is_for_everybody_only_if_the_operator_says_so() {
    let site = site();
    let ask = async |query: &str| {
        let target = format!("/_lamchat/v1/attestation{query}");
        answer(listener_routes(&site.admin), "GET", &target, Value::Null).await
    };
    let nonce = format!("?nonce={}", "a5".repeat(16));
    let off = ask(&nonce).await;
    assert_eq!((off.0, &off.1["errcode"]), (404, &json!("M_UNRECOGNIZED")));
    let endpoint_on = Arc::new(endpoint(true));
    site.admin.attestation.endpoint.store(endpoint_on);
    // Mistakes cost nothing.
    for (query, errcode) in [
        ("", "M_MISSING_PARAM"),
        ("?nonce=00", "M_INVALID_PARAM"),
        ("?nonce=%FF", "M_MISSING_PARAM"),
    ] {
        let refused = ask(query).await;
        assert_eq!((refused.0, &refused.1["errcode"]), (400, &json!(errcode)), "{query}");
    }
    let given = ask(&nonce).await;
    assert_eq!(given, (200, json!({"eat_nonce": vec![0xA5; 16]})));
    let failed = ask(&format!("?nonce={}", "00".repeat(16))).await;
    assert_eq!(failed.0, 503);
    assert!(!failed.1.to_string().contains("127.0.0.1"), "{}", failed.1);
    let limited = ask(&nonce).await;
    assert_eq!((limited.0, &limited.1["errcode"]), (429, &json!("M_LIMIT_EXCEEDED")));
    assert!(limited.1["retry_after_ms"].as_u64().unwrap() > 0);
    site.clock.advance_ms(60_000);
    // Others' turn.
    let turn = site.admin.attestation.turn();
    assert_eq!(ask(&nonce).await.0, 429);
    drop(turn);
    assert_eq!(ask(&nonce).await.0, 200);
}

#[tokio::test]
async fn the_socket_gives_evidence_with_what_is_missing_in_it() {
    let site = site();
    let (status, given) = site
        .socket("GET", &format!("attestation?nonce={}", "a5".repeat(32)), Value::Null)
        .await;
    assert_eq!(status, 200, "{given}");
    assert!(given["evidence"].as_str().unwrap().contains("eat_nonce"));
    assert_eq!(given["missing"][0], "the evidence has no event log");
    let (status, failed) = site
        .socket("GET", &format!("attestation?nonce={}", "00".repeat(16)), Value::Null)
        .await;
    assert!(
        status == 503 && failed["error"].as_str().unwrap().contains("no TPM at"),
        "{failed}"
    );
    let (status, refused) = site
        .socket("POST", "attestation/enrolment", json!({"challenge": "nonsense"}))
        .await;
    assert!(
        status == 400 && refused["error"].as_str().unwrap().contains("challenge"),
        "{refused}"
    );
}

#[tokio::test]
async fn certificates_are_kept_as_a_whole_or_not_at_all() {
    let site = site();
    let bring = async |pem: String| {
        let body = json!({"pem": pem});
        site.socket("POST", "attestation/ek-certificates", body).await
    };
    let kept = async || {
        let (_, shown) = site.socket("GET", "attestation/ek-certificates", Value::Null).await;
        shown["certificates"].as_array().unwrap().len()
    };
    let one = intermediate();
    let (status, shown) = bring(one.clone() + &intermediate()).await;
    assert_eq!((status, kept().await), (200, 2), "{shown}");
    assert!(
        !shown["certificates"][0]["issuer"].as_str().unwrap().is_empty(),
        "{shown}"
    );
    let private = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    for (pem, why) in [
        (one.repeat(7), "7 certificates, and a chain has 6"),
        (one.clone() + private, "not a CERTIFICATE"),
        (one.replace("MII", "AAA"), "cannot be read"),
        ("nonsense".to_owned(), "no certificate in PEM form"),
    ] {
        let (status, refused) = bring(pem).await;
        let error = refused["error"].as_str().unwrap();
        assert!(
            status == 400 && error.starts_with("Nothing was kept") && error.contains(why),
            "{error}"
        );
        assert_eq!(kept().await, 2);
    }
    assert_eq!((bring(String::new()).await.0, kept().await), (200, 0));
}
