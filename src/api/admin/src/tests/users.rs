//! Accounts: added, suspended, locked, ended and listed.

use super::site;
use serde_json::{Value, json};

#[tokio::test]
async fn accounts_live_and_end() {
    let site = site();
    let add = |name: &str| json!({"user": name, "password": "secret word"});
    assert_eq!(
        site.socket("POST", "users", add("alice")).await.1,
        json!({"user_id": "@alice:example.org", "admin": false})
    );
    assert_eq!(site.socket("POST", "users", add("alice")).await.0, 400);
    assert_eq!(
        site.socket("POST", "users", add("a b")).await.1["errcode"],
        "M_INVALID_USERNAME"
    );
    assert_eq!(site.socket("POST", "users", add("@x:elsewhere.org")).await.0, 400);
    assert_eq!(
        site.socket("POST", "users/%40alice%3Aexample.org/admin", json!({"admin": true}))
            .await
            .0,
        200
    );
    let (_, list) = site.socket("GET", "users", Value::Null).await;
    assert_eq!(list["users"][0]["admin"], true);
    for on in [true, false] {
        for (what, name) in [("suspended", "suspended"), ("locked", "locked")] {
            let (status, answer) = site
                .socket("POST", &format!("users/alice/{what}"), json!({name: on}))
                .await;
            assert_eq!((status, &answer[name]), (200, &json!(on)));
            let (_, list) = site.socket("GET", "users", Value::Null).await;
            assert_eq!(list["users"][0][name], on);
            assert_eq!(
                site.socket("POST", &format!("users/alice/{what}"), json!({})).await.0,
                400
            );
            assert_eq!(
                site.socket("POST", &format!("users/nobody/{what}"), json!({name: on}))
                    .await
                    .0,
                404
            );
        }
    }
    assert_eq!(site.socket("POST", "users/alice/deactivate", json!({})).await.0, 200);
    assert_eq!(
        site.socket("POST", "users/alice/deactivate", json!({})).await.0,
        200,
        "it can be repeated"
    );
    assert_eq!(
        site.socket("POST", "users/alice/password", json!({"password": "x"}))
            .await
            .0,
        403
    );
    assert_eq!(
        site.socket("POST", "users/alice/reactivate", json!({"password": "another"}))
            .await
            .0,
        200
    );
    assert_eq!(site.socket("POST", "users/nobody/deactivate", json!({})).await.0, 404);
    let (status, error) = site.socket("POST", "users/alice/admin", json!({"admin": "yes"})).await;
    assert_eq!((status, &error["errcode"]), (400, &json!("M_BAD_JSON")));
    assert_eq!(
        site.socket("POST", "users/alice/admin", Value::Null).await.1["errcode"],
        "M_NOT_JSON"
    );
}

#[tokio::test]
async fn long_lists_come_in_pages() {
    let site = site();
    for number in 0..1_001 {
        let (status, _) = site
            .socket("POST", "users", json!({"user": format!("u{number}")}))
            .await;
        assert_eq!(status, 200);
    }
    let (mut from, mut seen, mut pages) = (0, 0, 0);
    loop {
        let (_, page) = site.socket("GET", &format!("users?from={from}"), Value::Null).await;
        seen += page["users"].as_array().unwrap().len();
        pages += 1;
        match page["next"].as_u64() {
            Some(next) => from = next,
            None => break,
        }
    }
    assert_eq!((seen, pages), (1_001, 3));
    assert_eq!(site.socket("GET", "users?from=x", Value::Null).await.0, 400);
}
