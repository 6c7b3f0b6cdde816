//! Uploads and reports: listed, shown, ended.

use super::{Site, site};
use lamchat_accounts::report::{self, Report, Target};
use lamchat_store::WriteTxn;
use serde_json::{Value, json};

#[tokio::test]
async fn uploads_are_listed_and_deleted() {
    let site = site();
    for name in ["alice", "bob"] {
        assert_eq!(site.socket("POST", "users", json!({"user": name})).await.0, 200);
    }
    let (alice, bob) = (site.user("alice").await, site.user("bob").await);
    let one = site.upload(alice, 1_000).await;
    for _ in 0..3 {
        site.upload(bob, 2_000).await;
    }
    let listed = async |query: &str| {
        let (status, page) = site.socket("GET", &format!("media{query}"), Value::Null).await;
        assert_eq!((status, &page["next"]), (200, &Value::Null));
        page["uploads"].as_array().unwrap().clone()
    };
    assert_eq!(listed("").await.len(), 4);
    let of_alice = listed("?user=alice").await;
    let mxc = format!("mxc://example.org/{one}");
    let expected = json!({"mxc": mxc, "user_id": "@alice:example.org", "created_ms": 1_767_225_600_000_u64,
        "size": 1_000, "content_type": null});
    assert_eq!(of_alice, [expected]);
    assert_eq!(site.socket("GET", "media?user=nobody", Value::Null).await.0, 404);
    let escaped = mxc.replace(':', "%3A").replace('/', "%2F");
    assert_eq!(
        site.socket("DELETE", &format!("media/{escaped}"), Value::Null).await,
        (200, json!({"mxc": mxc, "bytes": 1_000}))
    );
    assert_eq!(site.socket("DELETE", &format!("media/{one}"), Value::Null).await.0, 404);
    let foreign = "media/mxc%3A%2F%2Felsewhere.org%2Fx";
    assert_eq!(site.socket("DELETE", foreign, Value::Null).await.0, 400);
    assert_eq!(
        site.socket("DELETE", "users/bob/media", Value::Null).await.1,
        json!({"user_id": "@bob:example.org", "uploads": 3, "bytes": 6_000})
    );
    assert!(listed("").await.is_empty());
    assert_eq!(
        site.socket("DELETE", "users/bob/media", Value::Null).await.1["uploads"],
        0
    );
}

/// Keeps a report of a user as report 1.
pub(super) fn keep_report(site: &Site) {
    let user_id = "@mallory:example.org".to_owned();
    let keep = move |txn: &mut WriteTxn<'_>| {
        let reporter = lamchat_accounts::user::num_or_insert(txn, ruma::user_id!("@bob:example.org"))?;
        let report = Report {
            reporter,
            received_ms: 1_767_225_600_000,
            target: Target::User {
                user_id: user_id.clone(),
            },
            reason: "rude".to_owned(),
        };
        report::put(txn, &report)
    };
    assert_eq!(site.admin.store.write_blocking(keep).unwrap(), 1);
}

#[tokio::test]
async fn reports_are_listed_shown_and_closed() {
    let site = site();
    keep_report(&site);
    let shown = json!({"report": 1, "kind": "user", "user_id": "@mallory:example.org", "reporter": "@bob:example.org",
        "received_ms": 1_767_225_600_000_u64, "reason": "rude"});
    let (_, list) = site.socket("GET", "reports", Value::Null).await;
    assert_eq!(list, json!({"reports": [shown], "next": null}));
    assert_eq!(site.socket("GET", "reports/1", Value::Null).await, (200, shown));
    for (method, target, status) in [
        ("GET", "reports/2", 404),
        ("DELETE", "reports/2", 404),
        ("GET", "reports/x", 400),
        ("GET", "reports?from=x", 400),
        ("DELETE", "reports/1", 200),
        ("DELETE", "reports/1", 404),
    ] {
        assert_eq!(
            site.socket(method, target, Value::Null).await.0,
            status,
            "{method} {target}"
        );
    }
    let entries = lamchat_audit::log::entries(&site.admin.store.read(), 0, 10).unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(
        (entries[0].1.act.as_str(), entries[0].1.subject.as_str()),
        ("report.close", "1")
    );
    // Who was reported by whom is nobody's business afterwards.
    assert_eq!(entries[0].1.facts, [("kind".to_owned(), "user".to_owned())]);
}
