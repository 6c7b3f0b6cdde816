//! Tokens with which a user proves to somebody else who they are (Matrix 1.16, "OpenID"): good for nothing else.
//!
//! Whoever was shown one asks `GET /_matrix/federation/v1/openid/userinfo`; [`user_of`] answers that.

use crate::account;
use crate::row::malformed;
use crate::tables::{OPENID, OPENID_OF};
use crate::token::{TOKEN_BYTES_MAX, TokenHash};
use crate::user;
use lamchat_base::{Entropy, UserNum};
use lamchat_store::{Bytes, Key, KeyRange, KeyReader, Order, Read, ReadError, ReadExt, WriteTxn};
use ruma::OwnedUserId;

/// How long a token is good, in milliseconds.
pub const LIFETIME_MS: u64 = 60 * 60 * 1000;
/// Most tokens of a user; the oldest makes room.
pub const TOKENS_MAX: usize = 100;
/// Random characters behind the prefix: 190 bits.
const TOKEN_CHARS: usize = 32;

/// A new token, `lco_…`, made before the write that keeps it.
pub fn generate(entropy: &dyn Entropy) -> String {
    format!("lco_{}", entropy.alphanumeric(TOKEN_CHARS))
}

/// Keeps `token` for `user` until [`LIFETIME_MS`] have gone; the user's expired ones go.
pub fn put(txn: &mut WriteTxn<'_>, user: UserNum, token: &str, now_ms: u64) -> Result<(), ReadError> {
    let theirs = txn.rows(
        OPENID_OF,
        &KeyRange::prefix(&user.to_key()),
        Order::Ascending,
        usize::MAX,
    )?;
    // They lie in the order in which they expire.
    let mut surplus = (theirs.len() + 1).saturating_sub(TOKENS_MAX);
    for (key, _) in theirs {
        let mut parts = KeyReader::new(&key);
        let expires_ms = parts.u32().and_then(|_| parts.u64());
        let expires_ms = expires_ms.ok_or_else(|| malformed(OPENID_OF, "a short key"))?;
        if expires_ms > now_ms && surplus == 0 {
            break;
        }
        surplus = surplus.saturating_sub(1);
        txn.delete(OPENID, parts.rest());
        txn.delete(OPENID_OF, &key);
    }
    let (hash, expires_ms) = (TokenHash::of(token), now_ms.saturating_add(LIFETIME_MS));
    txn.put(OPENID, hash.as_key(), Key::new().u32(user.0).u64(expires_ms).to_vec());
    txn.put(
        OPENID_OF,
        &Key::new().u32(user.0).u64(expires_ms).raw(hash.as_key()),
        Bytes::new(),
    );
    Ok(())
}

/// Whom a token stands for; `None` for unknown and expired ones, and those of accounts that are closed or locked.
pub fn user_of(read: &dyn Read, token: &str, now_ms: u64) -> Result<Option<OwnedUserId>, ReadError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Ok(None);
    }
    let Some(value) = read.get(OPENID, TokenHash::of(token).as_key())? else {
        return Ok(None);
    };
    let mut parts = KeyReader::new(&value);
    let (Some(user), Some(expires_ms)) = (parts.u32(), parts.u64()) else {
        return Err(malformed(OPENID, "a short row"));
    };
    let user = UserNum(user);
    let is_good = account::standing(read, user)?
        .is_some_and(|standing| now_ms < expires_ms && !standing.is_deactivated() && !standing.is_locked());
    if is_good { user::id(read, user) } else { Ok(None) }
}

/// Removes all tokens of a user.
pub(crate) fn forget(txn: &mut WriteTxn<'_>, user: UserNum) -> Result<(), ReadError> {
    for (key, _) in txn.rows(
        OPENID_OF,
        &KeyRange::prefix(&user.to_key()),
        Order::Ascending,
        usize::MAX,
    )? {
        let mut parts = KeyReader::new(&key);
        if parts.u32().and_then(|_| parts.u64()).is_some() {
            txn.delete(OPENID, parts.rest());
        }
        txn.delete(OPENID_OF, &key);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{LIFETIME_MS, TOKENS_MAX, put, user_of};
    use crate::account::{self, NewAccount};
    use crate::tables::{OPENID, OPENID_OF};
    use crate::{TABLES, session};
    use lamchat_base::UserNum;
    use lamchat_store::{KeyRange, Order, ReadExt, Store};

    fn store_with_alice() -> (Store, UserNum) {
        let store = Store::in_memory(TABLES).unwrap();
        let alice = NewAccount {
            user_id: "@alice:example.org".try_into().unwrap(),
            password_hash: None,
            is_admin: false,
            display_name: None,
            now_ms: 0,
        };
        let user = store.write_blocking(move |txn| account::create(txn, alice)).unwrap();
        (store, user)
    }

    fn keep(store: &Store, user: UserNum, token: &str, now_ms: u64) {
        let token = token.to_owned();
        store.write_blocking(move |txn| put(txn, user, &token, now_ms)).unwrap();
    }

    fn rows(store: &Store) -> (usize, usize) {
        let count = |table| {
            store
                .read()
                .rows(table, &KeyRange::all(), Order::Ascending, usize::MAX)
                .unwrap()
                .len()
        };
        (count(OPENID), count(OPENID_OF))
    }

    #[test]
    fn a_token_names_its_user_for_an_hour() {
        let (store, user) = store_with_alice();
        keep(&store, user, "lco_a", 5);
        let who = |token: &str, now_ms| user_of(&store.read(), token, now_ms).unwrap();
        assert_eq!(who("lco_a", 5 + LIFETIME_MS - 1).unwrap(), "@alice:example.org");
        assert_eq!(who("lco_a", 5 + LIFETIME_MS), None);
        assert_eq!(who("lco_b", 5), None);
        assert_eq!(who(&"x".repeat(10_000), 5), None);
        // It opens nothing else.
        assert!(session::authenticate(&store.read(), "lco_a", 5).is_err());
        store
            .write_blocking(move |txn| account::set_locked(txn, user, true))
            .unwrap();
        assert_eq!(who("lco_a", 5), None);
    }

    #[test]
    fn expired_and_surplus_tokens_go() {
        let (store, user) = store_with_alice();
        for number in 0..TOKENS_MAX as u64 + 5 {
            keep(&store, user, &format!("lco_{number}"), number);
        }
        assert_eq!(rows(&store), (TOKENS_MAX, TOKENS_MAX));
        assert_eq!(user_of(&store.read(), "lco_4", 200).unwrap(), None);
        assert!(user_of(&store.read(), "lco_5", 200).unwrap().is_some());
        keep(&store, user, "lco_late", 1_000 + LIFETIME_MS);
        assert_eq!(rows(&store), (1, 1));
        store
            .write_blocking(move |txn| account::deactivate(txn, user, false))
            .unwrap();
        assert_eq!(rows(&store), (0, 0));
    }
}
