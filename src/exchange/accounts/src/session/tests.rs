//! Tests.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::{
    ACCESS_TOKEN_LIFETIME_MS, AuthenticateError, LAST_SEEN_INTERVAL_MS, NewSession, OpenSessionError, OpenedSession,
    RefreshError, Refreshed, Session, authenticate, authenticate_even_locked, close, close_all, note_use, open,
    refresh,
};
use crate::account::{self, NewAccount};
use crate::token::NewTokens;
use crate::{TABLES, device};
use lamchat_base::UserNum;
use lamchat_store::{KeyRange, Order, ReadError, ReadExt, Store, WriteError};

const NOW: u64 = 1_000_000;

async fn store_with_alice() -> (Store, UserNum) {
    let store = Store::in_memory(TABLES).unwrap();
    let alice = NewAccount {
        user_id: "@alice:example.org".try_into().unwrap(),
        password_hash: None,
        is_admin: false,
        display_name: None,
        now_ms: NOW,
    };
    let user = store.write(move |txn| account::create(txn, alice)).await.unwrap();
    (store, user)
}

fn tokens(name: &str) -> NewTokens {
    NewTokens {
        access: format!("lct_{name}"),
        refresh: format!("lcr_{name}"),
    }
}

async fn log_in(store: &Store, user: UserNum, device: &str, name: &str, refreshable: bool) -> OpenedSession {
    let new = NewSession {
        user,
        device_id: device.into(),
        initial_display_name: Some(format!("phone {name}")),
        refreshable,
        tokens: tokens(name),
        now_ms: NOW,
    };
    store.write(move |txn| open(txn, new)).await.unwrap()
}

async fn renew(store: &Store, token: &str, name: &str, now_ms: u64) -> Result<Refreshed, WriteError<RefreshError>> {
    let (token, tokens) = (token.to_owned(), tokens(name));
    store.write(move |txn| refresh(txn, &token, tokens, now_ms)).await
}

fn who(store: &Store, token: &str, now_ms: u64) -> Result<Session, AuthenticateError> {
    authenticate(&store.read(), token, now_ms)
}

/// As the API does for a request.
async fn request(store: &Store, token: &str, now_ms: u64) -> bool {
    let Ok(session) = who(store, token, now_ms) else {
        return false;
    };
    if session.must_confirm() {
        store.write(move |txn| note_use(txn, &session, now_ms)).await.unwrap();
    }
    true
}

#[tokio::test]
async fn a_token_stands_for_its_user_and_device() {
    let (store, user) = store_with_alice().await;
    let opened = log_in(&store, user, "PHONE", "a", false).await;
    assert_eq!((opened.refresh_token.as_deref(), opened.expires_in_ms), (None, None));
    let session = who(&store, "lct_a", u64::MAX).unwrap();
    assert_eq!(session.user, user);
    assert_eq!(session.user_id, "@alice:example.org");
    assert_eq!(session.device, opened.device);
    assert_eq!(session.device_id, "PHONE");
    assert!(!session.is_admin && !session.is_suspended && !session.must_confirm());
    for wrong in ["", "lct_b", "lct_A", "lcr_a", &"x".repeat(1 << 20)] {
        assert!(matches!(who(&store, wrong, NOW), Err(AuthenticateError::Unknown)));
    }
}

#[tokio::test]
async fn tokens_are_not_in_the_tables() {
    let (store, user) = store_with_alice().await;
    log_in(&store, user, "PHONE", "secret", true).await;
    for table in TABLES {
        for (key, value) in store
            .read()
            .rows(*table, &KeyRange::all(), Order::Ascending, usize::MAX)
            .unwrap()
        {
            for bytes in [key, value] {
                assert!(
                    !bytes
                        .windows(10)
                        .any(|part| part == b"lct_secret" || part == b"lcr_secret")
                );
            }
        }
    }
}

#[tokio::test]
async fn logging_in_to_a_device_again_replaces_its_tokens() {
    let (store, user) = store_with_alice().await;
    let first = log_in(&store, user, "PHONE", "a", true).await;
    let second = log_in(&store, user, "PHONE", "b", false).await;
    assert_eq!(first.device, second.device);
    assert!(matches!(who(&store, "lct_a", NOW), Err(AuthenticateError::Unknown)));
    assert!(matches!(
        renew(&store, "lcr_a", "c", NOW).await,
        Err(WriteError::Refused(RefreshError::Unknown))
    ));
    assert!(who(&store, "lct_b", NOW).is_ok());
    let devices = device::all(&store.read(), user).unwrap();
    assert_eq!(devices.len(), 1);
    // The name that the user knows stays.
    assert_eq!(devices[0].display_name.as_deref(), Some("phone a"));
}

#[tokio::test]
async fn device_numbers_are_never_reused() {
    let (store, user) = store_with_alice().await;
    let first = log_in(&store, user, "PHONE", "a", false).await;
    let removed = store
        .write(move |txn| close(txn, user, "PHONE".into()))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(removed.num, first.device);
    assert!(matches!(who(&store, "lct_a", NOW), Err(AuthenticateError::Unknown)));
    assert_eq!(device::by_num(&store.read(), first.device).unwrap(), None);
    let second = log_in(&store, user, "PHONE", "b", false).await;
    assert_ne!(first.device, second.device);
    assert_eq!(
        device::by_num(&store.read(), second.device).unwrap().unwrap().1,
        "PHONE"
    );
    assert!(
        store
            .write(move |txn| close(txn, user, "TABLET".into()))
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn access_tokens_of_refreshing_clients_expire() {
    let (store, user) = store_with_alice().await;
    let opened = log_in(&store, user, "PHONE", "a", true).await;
    assert_eq!(opened.expires_in_ms, Some(ACCESS_TOKEN_LIFETIME_MS));
    assert!(who(&store, "lct_a", NOW + ACCESS_TOKEN_LIFETIME_MS - 1).is_ok());
    assert!(matches!(
        who(&store, "lct_a", NOW + ACCESS_TOKEN_LIFETIME_MS),
        Err(AuthenticateError::Expired)
    ));
    // A soft logout: the refresh token still works.
    renew(&store, "lcr_a", "b", NOW + ACCESS_TOKEN_LIFETIME_MS)
        .await
        .unwrap();
    assert!(request(&store, "lct_b", NOW + ACCESS_TOKEN_LIFETIME_MS).await);
}

#[tokio::test]
async fn the_old_refresh_token_lives_until_the_new_access_token_is_used() {
    let (store, user) = store_with_alice().await;
    log_in(&store, user, "PHONE", "a", true).await;
    renew(&store, "lcr_a", "b", NOW).await.unwrap();
    // The answer was lost: again with the old one. The pair that nobody got ends.
    renew(&store, "lcr_a", "c", NOW).await.unwrap();
    assert!(matches!(who(&store, "lct_b", NOW), Err(AuthenticateError::Unknown)));
    assert!(matches!(
        renew(&store, "lcr_b", "x", NOW).await,
        Err(WriteError::Refused(RefreshError::Unknown))
    ));
    // Requests under way with the old access token still pass.
    assert!(request(&store, "lct_a", NOW).await);
    assert!(request(&store, "lct_c", NOW).await);
    assert!(!request(&store, "lct_a", NOW).await);
    assert!(matches!(
        renew(&store, "lcr_a", "x", NOW).await,
        Err(WriteError::Refused(RefreshError::Unknown))
    ));
    assert!(request(&store, "lct_c", NOW).await);
    renew(&store, "lcr_c", "d", NOW).await.unwrap();
    assert!(request(&store, "lct_d", NOW).await);
}

#[tokio::test]
async fn the_old_refresh_token_lives_until_the_new_one_is_used() {
    let (store, user) = store_with_alice().await;
    log_in(&store, user, "PHONE", "a", true).await;
    renew(&store, "lcr_a", "b", NOW).await.unwrap();
    renew(&store, "lcr_b", "c", NOW).await.unwrap();
    assert!(matches!(
        renew(&store, "lcr_a", "x", NOW).await,
        Err(WriteError::Refused(RefreshError::Unknown))
    ));
    assert!(!request(&store, "lct_a", NOW).await);
    assert!(request(&store, "lct_b", NOW).await);
    assert!(request(&store, "lct_c", NOW).await);
    assert!(!request(&store, "lct_b", NOW).await);
}

#[tokio::test]
async fn ended_sessions_leave_no_row_behind() {
    let (store, user) = store_with_alice().await;
    log_in(&store, user, "PHONE", "a", true).await;
    renew(&store, "lcr_a", "b", NOW).await.unwrap();
    log_in(&store, user, "TABLET", "t", true).await;
    let removed = store
        .write(move |txn| close_all(txn, user, Some("TABLET".into())))
        .await
        .unwrap();
    assert_eq!(removed.len(), 1);
    assert!(who(&store, "lct_t", NOW).is_ok());
    store.write(move |txn| close_all(txn, user, None)).await.unwrap();
    for table in [
        crate::tables::SESSION,
        crate::tables::REFRESH,
        crate::tables::DEVICE,
        crate::tables::DEVICE_BY_NUM,
    ] {
        assert!(
            store
                .read()
                .first(table, &KeyRange::all(), Order::Ascending)
                .unwrap()
                .is_none(),
            "{}",
            table.name
        );
    }
}

#[tokio::test]
async fn last_seen_is_written_every_few_minutes_only() {
    let (store, user) = store_with_alice().await;
    log_in(&store, user, "PHONE", "a", false).await;
    let seen = |store: &Store| {
        device::one(&store.read(), user, "PHONE".into())
            .unwrap()
            .unwrap()
            .last_seen_ms
    };
    assert_eq!(seen(&store), Some(NOW));
    let session = who(&store, "lct_a", NOW).unwrap();
    assert!(!session.is_last_seen_due(NOW + LAST_SEEN_INTERVAL_MS - 1));
    let later = NOW + LAST_SEEN_INTERVAL_MS;
    assert!(session.is_last_seen_due(later));
    let noted: Result<(), WriteError<ReadError>> = store.write(move |txn| note_use(txn, &session, later)).await;
    noted.unwrap();
    assert_eq!(seen(&store), Some(later));
    let session = who(&store, "lct_a", later).unwrap();
    assert!(!session.is_last_seen_due(later + 1));
    store
        .write(move |txn| note_use(txn, &session, later + 1))
        .await
        .unwrap();
    assert_eq!(seen(&store), Some(later));
}

#[tokio::test]
async fn locked_and_deactivated_accounts_are_shut_out() {
    let (store, user) = store_with_alice().await;
    log_in(&store, user, "PHONE", "a", true).await;
    store
        .write(move |txn| account::set_admin(txn, user, true))
        .await
        .unwrap();
    assert!(who(&store, "lct_a", NOW).unwrap().is_admin);
    store
        .write(move |txn| account::set_locked(txn, user, true))
        .await
        .unwrap();
    assert!(matches!(who(&store, "lct_a", NOW), Err(AuthenticateError::Locked)));
    assert!(authenticate_even_locked(&store.read(), "lct_a", NOW).is_ok());
    let late = authenticate_even_locked(&store.read(), "lct_a", NOW + ACCESS_TOKEN_LIFETIME_MS);
    assert!(matches!(late, Err(AuthenticateError::Expired)));
    assert!(matches!(
        renew(&store, "lcr_a", "b", NOW).await,
        Err(WriteError::Refused(RefreshError::Locked))
    ));
    store
        .write(move |txn| account::set_locked(txn, user, false))
        .await
        .unwrap();
    assert!(who(&store, "lct_a", NOW).is_ok());

    let removed = store
        .write(move |txn| account::deactivate(txn, user, false))
        .await
        .unwrap();
    assert_eq!(removed[0].id, "PHONE");
    assert!(matches!(who(&store, "lct_a", NOW), Err(AuthenticateError::Unknown)));
    let new = NewSession {
        user,
        device_id: "PHONE".into(),
        initial_display_name: None,
        refreshable: false,
        tokens: tokens("z"),
        now_ms: NOW,
    };
    let answer = store.write(move |txn| open(txn, new)).await;
    assert!(matches!(
        answer,
        Err(WriteError::Refused(OpenSessionError::Deactivated))
    ));
}

#[tokio::test]
async fn hostile_device_ids_are_kept_apart_or_refused() {
    let (store, user) = store_with_alice().await;
    for (number, id) in ["A", "A\0", "A\0B", "a", "ä", "\u{202e}"].iter().enumerate() {
        log_in(&store, user, id, &format!("n{number}"), true).await;
    }
    assert_eq!(device::all(&store.read(), user).unwrap().len(), 6);
    assert_eq!(who(&store, "lct_n1", NOW).unwrap().device_id, "A\0");
    for id in [String::new(), "x".repeat(256)] {
        let new = NewSession {
            user,
            device_id: id.into(),
            initial_display_name: None,
            refreshable: false,
            tokens: tokens("z"),
            now_ms: NOW,
        };
        assert!(matches!(
            store.write(move |txn| open(txn, new)).await,
            Err(WriteError::Refused(OpenSessionError::DeviceId))
        ));
    }
}
