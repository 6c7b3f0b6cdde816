#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use crate::testing::{app, call};
use http::StatusCode;
use serde_json::{Value, json};

#[tokio::test]
async fn rules_and_pushers() {
    let app = app();
    let registered =
        json!({"username": "alice", "password": "correct horse battery", "auth": {"type": "m.login.dummy"}});
    let (_, account) = call(&app, "POST", "/_matrix/client/v3/register", None, Some(registered)).await;
    let token = account["access_token"].as_str().unwrap();
    let ask = async |method: &str, path: &str, body: Value| {
        let body = (!body.is_null()).then_some(body);
        call(&app, method, &format!("/_matrix/client/v3/{path}"), Some(token), body).await
    };
    let ok = (StatusCode::OK, json!({}));
    let is = |answer: &(StatusCode, Value), status: u16, errcode: &str| {
        assert_eq!(
            (answer.0.as_u16(), answer.1["errcode"].as_str()),
            (status, Some(errcode)),
            "{}",
            answer.1
        );
    };
    let all = ask("GET", "pushrules/", Value::Null).await.1;
    assert_eq!(all["global"]["override"][0]["rule_id"], ".m.rule.master");
    assert_eq!(all["global"]["sender"], json!([]));
    assert_eq!(ask("GET", "pushrules/global/", Value::Null).await.1, all["global"]);

    // "A rule with no conditions always matches."
    let always = "pushrules/global/override/always";
    assert_eq!(ask("PUT", always, json!({"actions": []})).await, ok);
    assert_eq!(ask("GET", always, Value::Null).await.1["conditions"], json!([]));
    assert_eq!(ask("DELETE", always, Value::Null).await, ok);
    for (path, errcode) in [
        ("override/.m.own", "M_INVALID_PARAM"),
        ("override/a%2Fb", "M_INVALID_PARAM"),
        ("content/x", "M_MISSING_PARAM"),
        ("room/x", "M_INVALID_PARAM"),
        ("bogus/x", "M_INVALID_PARAM"),
    ] {
        is(
            &ask("PUT", &format!("pushrules/global/{path}"), json!({"actions": []})).await,
            400,
            errcode,
        );
    }
    let rule = json!({"actions": ["notify"], "pattern": "cake"});
    for (name, place) in [("a", ""), ("b", ""), ("c", "?after=b"), ("d", "?before=a")] {
        assert_eq!(
            ask("PUT", &format!("pushrules/global/content/{name}{place}"), rule.clone()).await,
            ok
        );
    }
    let order = ask("GET", "pushrules/global/", Value::Null).await.1["content"].clone();
    let order: Vec<&str> = order
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule["rule_id"].as_str().unwrap())
        .collect();
    // The rule of the server comes after those that users make.
    assert_eq!(order, ["b", "c", "d", "a", ".m.rule.contains_user_name"]);
    is(
        &ask("PUT", "pushrules/global/content/e?after=none", rule.clone()).await,
        400,
        "M_UNKNOWN",
    );
    is(
        &ask("PUT", "pushrules/global/content/.e", rule.clone()).await,
        400,
        "M_INVALID_PARAM",
    );
    is(
        &ask("PUT", "pushrules/global/content/e%2Ff", rule.clone()).await,
        400,
        "M_INVALID_PARAM",
    );
    is(
        &ask("PUT", "pushrules/global/content/e?before=.m.rule.master", rule.clone()).await,
        400,
        "M_INVALID_PARAM",
    );

    assert_eq!(
        ask("PUT", "pushrules/global/content/a/enabled", json!({"enabled": false})).await,
        ok
    );
    assert_eq!(
        ask("GET", "pushrules/global/content/a/enabled", Value::Null).await.1,
        json!({"enabled": false})
    );
    assert_eq!(
        ask("PUT", "pushrules/global/content/a/actions", json!({"actions": []})).await,
        ok
    );
    assert_eq!(
        ask("GET", "pushrules/global/content/a", Value::Null).await.1["actions"],
        json!([])
    );
    assert_eq!(
        ask(
            "PUT",
            "pushrules/global/override/.m.rule.master/enabled",
            json!({"enabled": true})
        )
        .await,
        ok
    );
    is(
        &ask("PUT", "pushrules/global/content/none/enabled", json!({"enabled": true})).await,
        404,
        "M_NOT_FOUND",
    );
    is(
        &ask("DELETE", "pushrules/global/override/.m.rule.master", Value::Null).await,
        400,
        "M_INVALID_PARAM",
    );
    assert_eq!(ask("DELETE", "pushrules/global/content/a", Value::Null).await, ok);
    is(
        &ask("DELETE", "pushrules/global/content/a", Value::Null).await,
        404,
        "M_NOT_FOUND",
    );
    is(
        &ask("GET", "pushrules/global/content/a", Value::Null).await,
        404,
        "M_NOT_FOUND",
    );

    let pusher = |url: &str| {
        json!({
            "kind": "http", "app_id": "app", "pushkey": "key", "app_display_name": "App", "device_display_name": "Phone",
            "lang": "en", "data": {"url": url, "custom": 1}, "append": false
        })
    };
    is(
        &ask(
            "POST",
            "pushers/set",
            pusher("http://gate.example.org/_matrix/push/v1/notify"),
        )
        .await,
        400,
        "M_INVALID_PARAM",
    );
    assert_eq!(
        ask(
            "POST",
            "pushers/set",
            pusher("https://gate.example.org/_matrix/push/v1/notify")
        )
        .await,
        ok
    );
    let listed = ask("GET", "pushers", Value::Null).await.1["pushers"][0].clone();
    assert_eq!(
        (&listed["app_id"], &listed["data"]["custom"], &listed["kind"]),
        (&json!("app"), &json!(1), &json!("http"))
    );
    assert_eq!(
        ask(
            "POST",
            "pushers/set",
            json!({"kind": null, "app_id": "app", "pushkey": "key"})
        )
        .await,
        ok
    );
    assert_eq!(ask("GET", "pushers", Value::Null).await.1, json!({"pushers": []}));
    is(
        &ask(
            "POST",
            "pushers/set",
            json!({"kind": "http", "app_id": "app", "pushkey": "key"}),
        )
        .await,
        400,
        "M_MISSING_PARAM",
    );
}
