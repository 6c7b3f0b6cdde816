//! Tests.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::{ChangeAccountError, CreateAccountError, LOCAL, NewAccount};
use crate::account_data::{self, Scope};
use crate::{TABLES, account, filter, profile, user};
use lamchat_base::UserNum;
use lamchat_store::{Store, WriteError};
use serde_json::json;

fn new(name: &str) -> NewAccount {
    NewAccount {
        user_id: format!("@{name}:example.org").as_str().try_into().unwrap(),
        password_hash: Some("$argon2id$…".to_owned()),
        is_admin: name == "root",
        display_name: Some(name.to_uppercase()),
        now_ms: 7,
    }
}

async fn create(store: &Store, name: &str) -> Result<UserNum, WriteError<CreateAccountError>> {
    let new = new(name);
    store.write(move |txn| account::create(txn, new)).await
}

#[tokio::test]
async fn accounts_are_found_again() {
    let store = Store::in_memory(TABLES).unwrap();
    assert!(account::is_empty(&store.read()).unwrap());
    let root = create(&store, "root").await.unwrap();
    let alice = create(&store, "alice").await.unwrap();
    let read = store.read();
    assert!(!account::is_empty(&read).unwrap());
    let account = account::by_id(&read, "@root:example.org".try_into().unwrap())
        .unwrap()
        .unwrap();
    assert_eq!(
        (account.user, account.subject.as_str(), account.created_ms),
        (root, "root", 7)
    );
    assert!(account.standing.is_admin());
    assert!(!account::standing(&read, alice).unwrap().unwrap().is_admin());
    assert_eq!(account::by_subject(&read, LOCAL, "alice").unwrap(), Some(alice));
    assert_eq!(account::by_subject(&read, "elsewhere", "alice").unwrap(), None);
    let ids: Vec<_> = account::list(&read, UserNum(0), 10)
        .unwrap()
        .into_iter()
        .map(|a| a.user_id.to_string())
        .collect();
    assert_eq!(ids, ["@root:example.org", "@alice:example.org"]);
    assert_eq!(account::list(&read, alice, 10).unwrap().len(), 1);
    assert_eq!(account::list(&read, UserNum(0), 1).unwrap().len(), 1);
    assert_eq!(
        profile::display(&read, alice).unwrap().displayname.as_deref(),
        Some("ALICE")
    );
    assert_eq!(user::id(&read, alice).unwrap().unwrap(), "@alice:example.org");
    assert_eq!(user::id(&read, UserNum(99)).unwrap(), None);
}

#[tokio::test]
async fn a_name_is_taken_for_good() {
    let store = Store::in_memory(TABLES).unwrap();
    // Somebody may have heard of the user before there is an account.
    let heard = store
        .write(|txn| user::num_or_insert(txn, "@alice:example.org".try_into().unwrap()))
        .await
        .unwrap();
    let alice = create(&store, "alice").await.unwrap();
    assert_eq!(heard, alice);
    assert!(matches!(
        create(&store, "alice").await,
        Err(WriteError::Refused(CreateAccountError::InUse))
    ));
    store
        .write(move |txn| account::deactivate(txn, alice, true))
        .await
        .unwrap();
    assert!(matches!(
        create(&store, "alice").await,
        Err(WriteError::Refused(CreateAccountError::InUse))
    ));
}

#[tokio::test]
async fn deactivation_clears_what_it_says() {
    let store = Store::in_memory(TABLES).unwrap();
    let alice = create(&store, "alice").await.unwrap();
    store
        .write(move |txn| {
            account_data::put(txn, alice, Scope::Global, "m.direct", b"{}").unwrap();
            filter::create(txn, alice, b"{}").unwrap();
            account::deactivate(txn, alice, false)
        })
        .await
        .unwrap();
    let read = store.read();
    assert_eq!(account::password_hash(&read, alice).unwrap(), None);
    assert!(account_data::everything(&read, alice).unwrap().is_empty());
    assert_eq!(filter::one(&read, alice, 1).unwrap(), None);
    assert!(profile::display(&read, alice).unwrap().displayname.is_some());
    let refused = store
        .write(move |txn| account::set_password_hash(txn, alice, "x"))
        .await;
    assert!(matches!(
        refused,
        Err(WriteError::Refused(ChangeAccountError::Deactivated))
    ));

    store
        .write(move |txn| account::deactivate(txn, alice, true))
        .await
        .unwrap();
    let account = account::one(&store.read(), alice).unwrap().unwrap();
    assert!(account.erased && account.standing.is_deactivated());
    assert!(profile::all(&store.read(), alice).unwrap().is_empty());

    store.write(move |txn| account::reactivate(txn, alice)).await.unwrap();
    store
        .write(move |txn| account::set_password_hash(txn, alice, "$new"))
        .await
        .unwrap();
    assert_eq!(
        account::password_hash(&store.read(), alice).unwrap().as_deref(),
        Some("$new")
    );
    assert!(
        !account::standing(&store.read(), alice)
            .unwrap()
            .unwrap()
            .is_deactivated()
    );
}

#[tokio::test]
async fn nobody_can_be_changed_who_is_not_there() {
    let store = Store::in_memory(TABLES).unwrap();
    let nobody = UserNum(5);
    assert!(matches!(
        store.write(move |txn| account::set_admin(txn, nobody, true)).await,
        Err(WriteError::Refused(ChangeAccountError::NoAccount))
    ));
    assert!(matches!(
        store.write(move |txn| account::deactivate(txn, nobody, true)).await,
        Err(WriteError::Refused(ChangeAccountError::NoAccount))
    ));
    assert_eq!(account::standing(&store.read(), nobody).unwrap(), None);
}

#[tokio::test]
async fn a_refused_profile_undoes_the_account() {
    let store = Store::in_memory(TABLES).unwrap();
    let mut long = new("alice");
    long.display_name = Some("x".repeat(profile::DISPLAYNAME_BYTES_MAX + 1));
    assert!(store.write(move |txn| account::create(txn, long)).await.is_err());
    assert!(account::is_empty(&store.read()).unwrap());
    let alice = create(&store, "alice").await.unwrap();
    assert_eq!(
        profile::field(&store.read(), alice, "displayname").unwrap(),
        Some(json!("ALICE"))
    );
}
