//! What was noted of the configuration last: a keyed digest for each of its keys, so that the log can name what has
//! changed without a value of it in the log, nor a secret in the database.

use crate::key::hex;
use crate::log::META;
use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use lamchat_base::SecretBytes;
use lamchat_store::{ReadError, ReadExt, WriteTxn};
use std::collections::BTreeMap;

const ROW: &[u8] = b"configuration";

#[derive(serde::Serialize, serde::Deserialize)]
struct Noted {
    /// The digests' key. It goes with the database, which is encrypted.
    salt: [u8; 32],
    /// Name and digest.
    keys: BTreeMap<String, String>,
}

/// Keeps `values` in the transaction of the entry that tells of them. Answers the names whose value is another than was
/// kept, new ones and such that are gone included, in alphabetical order; `None` at the first time, when `salt` becomes
/// the digests' key: 32 random bytes.
pub fn keep(
    txn: &mut WriteTxn<'_>,
    values: &[(String, SecretBytes)],
    salt: [u8; 32],
) -> Result<Option<Vec<String>>, ReadError> {
    let before = txn.get_json::<Noted>(META, ROW)?;
    let salt = before.as_ref().map_or(salt, |before| before.salt);
    let key = Key::new(HMAC_SHA256, &salt);
    let digest = |value: &SecretBytes| hex(sign(&key, value.expose()).as_ref());
    let keys: BTreeMap<String, String> = values
        .iter()
        .map(|(name, value)| (name.clone(), digest(value)))
        .collect();
    let changed = before.map(|before| {
        let mut names: Vec<&String> = before.keys.keys().chain(keys.keys()).collect();
        names.sort_unstable();
        names.dedup();
        names.retain(|name| before.keys.get(*name) != keys.get(*name));
        names.into_iter().cloned().collect()
    });
    txn.put_json(META, ROW, &Noted { salt, keys })?;
    Ok(changed)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{ROW, keep};
    use crate::log::{META, TABLES};
    use lamchat_base::SecretBytes;
    use lamchat_store::{Read, Store};

    #[test]
    fn what_changed_is_named_and_no_value_is_kept() {
        let store = Store::in_memory(TABLES).unwrap();
        let noted = |values: &[(&str, &str)]| {
            let values: Vec<_> = values
                .iter()
                .map(|(name, value)| ((*name).to_owned(), SecretBytes::new(value.as_bytes().to_vec())))
                .collect();
            store.write_blocking(move |txn| keep(txn, &values, [7; 32])).unwrap()
        };
        assert_eq!(noted(&[("a", "1"), ("b", "hidden")]), None);
        assert_eq!(noted(&[("a", "1"), ("b", "hidden")]), Some(vec![]));
        let changed = noted(&[("a", "2"), ("c", "3")]);
        assert_eq!(changed, Some(vec!["a".to_owned(), "b".to_owned(), "c".to_owned()]));
        assert_eq!(noted(&[("a", "2"), ("c", "hidden")]), Some(vec!["c".to_owned()]));
        let row = store.read().get(META, ROW).unwrap().unwrap();
        assert!(!String::from_utf8_lossy(&row).contains("hidden"));
    }
}
