#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::{ACCOUNT_DATA_TYPE, RuleError, account_data_content, content, delete, of, put, set_actions, set_enabled};
use lamchat_accounts::account_data::{self, Scope};
use lamchat_base::UserNum;
use lamchat_store::{Store, WriteError, WriteTxn};
use ruma::push::{InsertPushRuleError, NewPatternedPushRule, NewPushRule, RuleKind};
use ruma::user_id;
use serde_json::{Value, json};

const ALICE: UserNum = UserNum(3);

fn write(
    store: &Store,
    change: impl FnOnce(&mut WriteTxn<'_>) -> Result<(), RuleError> + Send + 'static,
) -> Result<(), RuleError> {
    store.write_blocking(change).map_err(WriteError::flatten)
}

fn add(
    store: &Store,
    id: &'static str,
    after: Option<&'static str>,
    before: Option<&'static str>,
) -> Result<(), RuleError> {
    let rule = NewPushRule::Content(NewPatternedPushRule::new(id.to_owned(), "cake".to_owned(), Vec::new()));
    write(store, move |txn| {
        put(txn, ALICE, user_id!("@alice:example.org"), rule, after, before)
    })
}

fn order(store: &Store) -> Vec<String> {
    let rules = of(&store.read(), ALICE, user_id!("@alice:example.org")).unwrap();
    let own = rules.content.iter().filter(|rule| !rule.default);
    own.map(|rule| rule.rule_id.clone()).collect()
}

#[test]
fn the_order_of_rules() {
    let store = Store::in_memory(lamchat_accounts::TABLES).unwrap();
    add(&store, "a", None, None).unwrap();
    add(&store, "b", None, None).unwrap();
    assert_eq!(order(&store), ["b", "a"]);
    add(&store, "c", Some("b"), None).unwrap();
    assert_eq!(order(&store), ["b", "c", "a"]);
    add(&store, "d", None, Some("b")).unwrap();
    assert_eq!(order(&store), ["d", "b", "c", "a"]);
    // Both: directly before `before`.
    add(&store, "e", Some("d"), Some("a")).unwrap();
    assert_eq!(order(&store), ["d", "b", "c", "e", "a"]);
    // A rule that is there keeps its place, unless it is given one.
    add(&store, "c", None, None).unwrap();
    assert_eq!(order(&store), ["d", "b", "c", "e", "a"]);
    assert!(matches!(
        add(&store, "f", Some("none"), None),
        Err(RuleError::Insert(InsertPushRuleError::UnknownRuleId))
    ));
    assert!(matches!(
        add(&store, "f", Some("a"), Some("d")),
        Err(RuleError::Insert(_))
    ));
    assert!(matches!(
        add(&store, ".f", None, None),
        Err(RuleError::Insert(InsertPushRuleError::ServerDefaultRuleId))
    ));
    assert_eq!(order(&store), ["d", "b", "c", "e", "a"]);
}

#[test]
fn the_servers_rules_are_switched_but_not_deleted() {
    let store = Store::in_memory(lamchat_accounts::TABLES).unwrap();
    let me = user_id!("@alice:example.org");
    write(&store, move |txn| {
        set_enabled(txn, ALICE, me, RuleKind::Override, ".m.rule.master", true)
    })
    .unwrap();
    write(&store, move |txn| {
        set_actions(txn, ALICE, me, RuleKind::Underride, ".m.rule.message", Vec::new())
    })
    .unwrap();
    let rules = of(&store.read(), ALICE, me).unwrap();
    assert!(rules.get(RuleKind::Override, ".m.rule.master").unwrap().enabled());
    assert!(
        rules
            .get(RuleKind::Underride, ".m.rule.message")
            .unwrap()
            .actions()
            .is_empty()
    );
    let refused = write(&store, move |txn| {
        delete(txn, ALICE, me, RuleKind::Override, ".m.rule.master")
    });
    assert!(matches!(refused, Err(RuleError::ServerDefault)));
    let refused = write(&store, move |txn| {
        delete(txn, ALICE, me, RuleKind::Room, "!none:example.org")
    });
    assert!(matches!(refused, Err(RuleError::NotFound)));
}

#[test]
fn changes_are_account_data() {
    let store = Store::in_memory(lamchat_accounts::TABLES).unwrap();
    let me = user_id!("@alice:example.org");
    let shown =
        || -> Value { serde_json::from_slice(&account_data_content(&store.read(), ALICE, me).unwrap()).unwrap() };
    assert_eq!(shown()["global"]["room"], json!([]));
    assert_eq!(
        account_data::content(&store.read(), ALICE, Scope::Global, ACCOUNT_DATA_TYPE).unwrap(),
        None
    );
    add(&store, "a", None, None).unwrap();
    let stored = account_data::content(&store.read(), ALICE, Scope::Global, ACCOUNT_DATA_TYPE)
        .unwrap()
        .unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&stored).unwrap(), shown());
    assert_eq!(content(&of(&store.read(), ALICE, me).unwrap()).unwrap(), shown());
}
