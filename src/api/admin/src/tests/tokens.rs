//! Registration tokens, and what of the keyring the exchange changes.

use super::site;
use lamchat_base::SecretBytes;
use lamchat_holder::Typed;
use serde_json::{Value, json};

#[tokio::test]
async fn tokens_and_slots() {
    let site = site();
    let (_, token) = site
        .socket("POST", "tokens", json!({"uses_allowed": 2, "valid_for_ms": 1000}))
        .await;
    let text = token["token"].as_str().unwrap();
    assert_eq!(token["valid"], true);
    site.clock.advance_ms(1000);
    assert_eq!(
        site.socket("GET", "tokens", Value::Null).await.1["tokens"][0]["valid"],
        false
    );
    assert_eq!(
        site.socket("DELETE", &format!("tokens/{text}"), Value::Null).await.0,
        200
    );
    assert_eq!(
        site.socket("DELETE", &format!("tokens/{text}"), Value::Null).await.0,
        404
    );
    assert_eq!(site.socket("POST", "tokens", json!({"uses_allowed": 0})).await.0, 400);

    assert_eq!(
        site.socket("POST", "backup", Value::Null).await.0,
        403,
        "no passphrase yet"
    );
    assert_eq!(
        site.socket("DELETE", "keyring/slots/1", Value::Null).await.0,
        400,
        "the last slot"
    );
    let passphrase = |text: &str| Typed::AddPassphrase(SecretBytes::new(text.as_bytes().to_vec()));
    assert!(site.typed(&passphrase("short")).is_err());
    site.typed(&passphrase("long enough now")).unwrap();
    let (status, slots) = site.socket("GET", "keyring", Value::Null).await;
    assert_eq!((status, slots["slots"][1]["kind"].as_str()), (200, Some("passphrase")));
    assert_eq!(site.socket("DELETE", "keyring/slots/9", Value::Null).await.0, 404);
    // The file slot goes with all keys, for which somebody has to type.
    let (status, refused) = site.socket("DELETE", "keyring/slots/1", Value::Null).await;
    assert_eq!(status, 400);
    assert!(refused["error"].as_str().unwrap().contains("lamchat seal remove"));
    let (_, slots) = site.socket("DELETE", "keyring/slots/2", Value::Null).await;
    assert_eq!(slots["slots"].as_array().unwrap().len(), 1);
}
