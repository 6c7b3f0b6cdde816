//! Tests.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::{
    ConsumeTokenError, Consumed, CreateTokenError, NewRegistrationToken, all, consume, create, for_first_admin, one,
    revoke,
};
use lamchat_accounts::account::{self, NewAccount};
use lamchat_store::{ReadError, Store, Table, WriteError};

fn store() -> Store {
    let tables: Vec<Table> = [lamchat_accounts::TABLES, crate::TABLES].concat();
    Store::in_memory(&tables).unwrap()
}

fn token(text: &str, uses_allowed: Option<u32>, expires_at_ms: Option<u64>) -> NewRegistrationToken {
    NewRegistrationToken {
        token: text.to_owned(),
        uses_allowed,
        expires_at_ms,
        now_ms: 1,
    }
}

fn account(name: &str) -> NewAccount {
    NewAccount {
        user_id: format!("@{name}:example.org").as_str().try_into().unwrap(),
        password_hash: None,
        is_admin: false,
        display_name: None,
        now_ms: 1,
    }
}

#[tokio::test]
async fn malformed_tokens_are_refused() {
    let store = store();
    for text in ["", "a b", "a/b", "ä", "a\0", &"a".repeat(65)] {
        let new = token(text, None, None);
        let answer = store.write(move |txn| create(txn, new)).await;
        assert!(
            matches!(answer, Err(WriteError::Refused(CreateTokenError::Malformed))),
            "{text:?}"
        );
    }
    for text in ["a", "A.z_~-0", &"a".repeat(64)] {
        let new = token(text, None, None);
        store.write(move |txn| create(txn, new)).await.unwrap();
    }
    let new = token("a", None, None);
    assert!(matches!(
        store.write(move |txn| create(txn, new)).await,
        Err(WriteError::Refused(CreateTokenError::Exists))
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_never_make_more_than_allowed() {
    let store = store();
    let new = token("t", Some(3), None);
    store.write(move |txn| create(txn, new)).await.unwrap();
    let tasks: Vec<_> = (0..20)
        .map(|number| {
            let store = store.clone();
            tokio::spawn(async move {
                store
                    .write(move |txn| {
                        consume(txn, "t", 2)?;
                        account::create(txn, account(&format!("user{number}"))).map_err(|_| ConsumeTokenError::Invalid)
                    })
                    .await
                    .is_ok()
            })
        })
        .collect();
    let mut made = 0;
    for task in tasks {
        made += usize::from(task.await.unwrap());
    }
    assert_eq!(made, 3);
    let read = store.read();
    assert_eq!(one(&read, "t").unwrap().unwrap().completed, 3);
    assert!(!one(&read, "t").unwrap().unwrap().is_valid(0, 2));
    assert_eq!(account::list(&read, lamchat_base::UserNum(0), 100).unwrap().len(), 3);
}

#[tokio::test]
async fn a_use_whose_account_fails_is_not_counted() {
    let store = store();
    let new = token("t", Some(1), None);
    store.write(move |txn| create(txn, new)).await.unwrap();
    store.write(|txn| account::create(txn, account("alice"))).await.unwrap();
    let answer = store
        .write(|txn| {
            consume(txn, "t", 2)?;
            account::create(txn, account("alice")).map_err(|_| ConsumeTokenError::Invalid)
        })
        .await;
    assert!(answer.is_err());
    assert_eq!(one(&store.read(), "t").unwrap().unwrap().completed, 0);
}

#[tokio::test]
async fn expired_and_revoked_tokens_give_nothing() {
    let store = store();
    let new = token("t", None, Some(100));
    store.write(move |txn| create(txn, new)).await.unwrap();
    assert!(one(&store.read(), "t").unwrap().unwrap().is_valid(50, 99));
    assert!(!one(&store.read(), "t").unwrap().unwrap().is_valid(0, 100));
    assert_eq!(
        store.write(|txn| consume(txn, "t", 99)).await.unwrap(),
        Consumed { makes_admin: false }
    );
    assert!(store.write(|txn| consume(txn, "t", 100)).await.is_err());
    assert!(store.write(|txn| revoke(txn, "t")).await.unwrap());
    assert!(!store.write(|txn| revoke(txn, "t")).await.unwrap());
    assert!(store.write(|txn| consume(txn, "t", 1)).await.is_err());
    assert!(all(&store.read()).unwrap().is_empty());
}

#[tokio::test]
async fn the_first_account_becomes_administrator_once() {
    let store = store();
    let first = store
        .write(|txn| for_first_admin(txn, "first", 1))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (first.token.as_str(), first.uses_allowed, first.is_for_first_admin),
        ("first", Some(1), true)
    );
    // A second start shows the same one.
    let again = store
        .write(|txn| for_first_admin(txn, "second", 1))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(again.token, "first");
    let consumed = store
        .write(|txn| {
            let consumed = consume(txn, "first", 2)?;
            account::create(txn, account("alice")).map_err(|_| ConsumeTokenError::Invalid)?;
            Ok::<_, ConsumeTokenError>(consumed)
        })
        .await
        .unwrap();
    assert_eq!(consumed, Consumed { makes_admin: true });
    assert!(store.write(|txn| consume(txn, "first", 3)).await.is_err());
    assert!(
        store
            .write(|txn| for_first_admin(txn, "third", 4))
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn the_first_token_makes_nobody_administrator_later() {
    let store = store();
    store.write(|txn| for_first_admin(txn, "first", 1)).await.unwrap();
    store
        .write(|txn| account::create(txn, account("added-by-hand")))
        .await
        .unwrap();
    assert_eq!(
        store.write(|txn| consume(txn, "first", 2)).await.unwrap(),
        Consumed { makes_admin: false }
    );
    let fresh: Result<_, WriteError<ReadError>> = store.write(|txn| for_first_admin(txn, "second", 3)).await;
    assert!(fresh.unwrap().is_none());
}
