//! What other servers are told about this one's signing keys: the one that signs, and those that signed before. Pure.

use crate::canonical::{self, Object, Value};
use crate::sign::SigningKey;

/// A key that signs nothing any more; what it signed stays good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldKey {
    /// `ed25519:` and its version.
    pub id: String,
    /// The public key in unpadded base64.
    pub public_base64: String,
    /// When it signed for the last time, in milliseconds since 1970.
    pub expired_ms: u64,
}

/// The answer to `GET /_matrix/key/v2/server` (Matrix 1.16, server-server API, "Publishing Keys"), signed.
///
/// `verify_keys`: "Public keys of the homeserver for verifying digital signatures." `old_verify_keys`: "The public keys
/// that the server used to use and when it stopped using them." `valid_until_ms`: when a peer should ask again.
pub fn published(server_name: &str, key: &SigningKey, old: &[OldKey], valid_until_ms: u64) -> Object {
    let of_key = |public: &str| Object::from([("key".to_owned(), Value::String(public.to_owned()))]);
    let verify = Object::from([(key.id().to_owned(), Value::Object(of_key(&key.public_base64())))]);
    // A key that signs now is not an old one, even if it once was to become one.
    let old = old.iter().filter(|old| old.id != key.id()).map(|old| {
        let mut fields = of_key(&old.public_base64);
        fields.insert("expired_ts".to_owned(), time(old.expired_ms));
        (old.id.clone(), Value::Object(fields))
    });
    let mut answer = Object::from([
        ("server_name".to_owned(), Value::String(server_name.to_owned())),
        ("valid_until_ts".to_owned(), time(valid_until_ms)),
        ("verify_keys".to_owned(), Value::Object(verify)),
        ("old_verify_keys".to_owned(), Value::Object(old.collect())),
    ]);
    // "The signature is over the canonical JSON without `signatures`" (appendix 3.2).
    let signature = key.sign_base64(canonical::to_string(&answer).as_bytes());
    let of_server = Object::from([(key.id().to_owned(), Value::String(signature))]);
    let signatures = Object::from([(server_name.to_owned(), Value::Object(of_server))]);
    answer.insert("signatures".to_owned(), Value::Object(signatures));
    answer
}

/// Canonical JSON has no integers beyond 2^53.
fn time(ms: u64) -> Value {
    let capped = ms.min((1 << 53) - 1);
    Value::Integer(ruma::Int::try_from(capped).unwrap_or(ruma::Int::MAX))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::{OldKey, published};
    use crate::canonical::{Object, Value, to_string};
    use crate::sign::SigningKey;
    use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD_NO_PAD;

    fn object<'a>(value: &'a Value, name: &str) -> &'a Object {
        match value {
            Value::Object(object) => object,
            other => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn the_keys_of_now_and_before_are_published_and_signed() {
        let before = SigningKey::from_seed(&[6; 32], "a_1").unwrap();
        let key = SigningKey::from_seed(&[7; 32], "a_2").unwrap();
        let old = |key: &SigningKey, expired_ms| OldKey {
            id: key.id().to_owned(),
            public_base64: key.public_base64(),
            expired_ms,
        };
        let mut answer = published("example.org", &key, &[old(&before, 5), old(&key, 6)], u64::MAX);
        let signatures = answer.remove("signatures").unwrap();
        let by_server = object(object(&signatures, "signatures").get("example.org").unwrap(), "server");
        let Some(Value::String(signature)) = by_server.get("ed25519:a_2") else {
            panic!("no signature: {by_server:?}")
        };
        let public = STANDARD_NO_PAD.decode(key.public_base64()).unwrap();
        let signature = STANDARD_NO_PAD.decode(signature).unwrap();
        let text = to_string(&answer);
        assert!(
            UnparsedPublicKey::new(&ED25519, public)
                .verify(text.as_bytes(), &signature)
                .is_ok()
        );
        let expected = format!(
            "{{\"old_verify_keys\":{{\"ed25519:a_1\":{{\"expired_ts\":5,\"key\":\"{}\"}}}},\"server_name\":\"example.org\",\"valid_until_ts\":9007199254740991,\"verify_keys\":{{\"ed25519:a_2\":{{\"key\":\"{}\"}}}}}}",
            before.public_base64(),
            key.public_base64()
        );
        assert_eq!(text, expected);
    }
}
