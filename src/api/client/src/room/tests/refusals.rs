//! What a room refuses, with the errcodes of the specification.

use super::Client;
use crate::testing::{app, call_bytes};
use http::StatusCode;
use serde_json::json;

#[tokio::test]
async fn refusals_have_the_errcodes_of_the_specification() {
    let app = app();
    let (alice, bob) = (Client::new(&app, "alice").await, Client::new(&app, "bob").await);
    let room = alice.room(json!({"preset": "private_chat"})).await;
    let nowhere = "!nowhere:example.org";
    bob.refused("POST", &format!("/join/{room}"), json!({}), 403, "M_FORBIDDEN")
        .await;
    bob.refused("POST", &format!("/join/{nowhere}"), json!({}), 404, "M_NOT_FOUND")
        .await;
    bob.refused("POST", "/join/%23x:example.org", json!({}), 404, "M_NOT_FOUND")
        .await;
    bob.refused("POST", &format!("/knock/{room}"), json!({}), 403, "M_FORBIDDEN")
        .await;
    for room in [room.as_str(), nowhere] {
        bob.refused(
            "PUT",
            &format!("/rooms/{room}/send/m.x/1"),
            json!({}),
            403,
            "M_FORBIDDEN",
        )
        .await;
        bob.refused(
            "PUT",
            &format!("/rooms/{room}/state/m.x"),
            json!({}),
            403,
            "M_FORBIDDEN",
        )
        .await;
        bob.refused(
            "POST",
            &format!("/rooms/{room}/invite"),
            json!({"user_id": "@eve:example.org"}),
            403,
            "M_FORBIDDEN",
        )
        .await;
        for verb in ["kick", "ban", "unban"] {
            let body = json!({"user_id": "@alice:example.org"});
            bob.refused("POST", &format!("/rooms/{room}/{verb}"), body, 403, "M_FORBIDDEN")
                .await;
        }
        bob.refused("POST", &format!("/rooms/{room}/leave"), json!({}), 403, "M_FORBIDDEN")
            .await;
        bob.refused("POST", &format!("/rooms/{room}/forget"), json!({}), 403, "M_FORBIDDEN")
            .await;
        bob.refused(
            "POST",
            &format!("/rooms/{room}/upgrade"),
            json!({"new_version": "11"}),
            403,
            "M_FORBIDDEN",
        )
        .await;
        assert_eq!(bob.get(&format!("/rooms/{room}/state")).await.0, 403);
        assert_eq!(bob.get(&format!("/rooms/{room}/aliases")).await.0, 403);
    }
    alice
        .refused("POST", &format!("/rooms/{room}/forget"), json!({}), 400, "M_UNKNOWN")
        .await;
    alice
        .refused(
            "POST",
            &format!("/rooms/{room}/upgrade"),
            json!({"new_version": "1"}),
            400,
            "M_UNSUPPORTED_ROOM_VERSION",
        )
        .await;
    alice
        .refused(
            "POST",
            "/createRoom",
            json!({"room_version": "nope"}),
            400,
            "M_UNSUPPORTED_ROOM_VERSION",
        )
        .await;
    alice
        .refused(
            "POST",
            "/createRoom",
            json!({"room_alias_name": "a:b"}),
            400,
            "M_INVALID_PARAM",
        )
        .await;
    let weak = json!({"room_version": "11", "power_level_content_override": {"users": {"@alice:example.org": 1}}});
    alice
        .refused("POST", "/createRoom", weak, 400, "M_INVALID_ROOM_STATE")
        .await;
    alice
        .refused(
            "POST",
            "/createRoom",
            json!({"initial_state": [{"type": "m.x"}]}),
            400,
            "M_BAD_JSON",
        )
        .await;
    alice.room(json!({"room_alias_name": "taken"})).await;
    alice
        .refused(
            "POST",
            "/createRoom",
            json!({"room_alias_name": "taken"}),
            400,
            "M_ROOM_IN_USE",
        )
        .await;
    let by_mail = json!({"id_server": "x", "id_access_token": "x", "medium": "email", "address": "a@b"});
    alice
        .refused(
            "POST",
            "/createRoom",
            json!({"invite_3pid": [by_mail]}),
            403,
            "M_THREEPID_DENIED",
        )
        .await;
    let send = format!("/rooms/{room}/send/m.x/1");
    alice.refused("PUT", &send, json!({"a": 1.5}), 400, "M_BAD_JSON").await;
    alice.refused("PUT", &send, json!([]), 400, "M_BAD_JSON").await;
    alice
        .refused("PUT", &send, json!({"a": "x".repeat(65_536)}), 413, "M_TOO_LARGE")
        .await;
    alice
        .refused(
            "PUT",
            &format!("/rooms/{room}/send/m.x/{}", "t".repeat(256)),
            json!({}),
            400,
            "M_INVALID_PARAM",
        )
        .await;
    alice
        .refused("PUT", "/rooms/nonsense/send/m.x/1", json!({}), 400, "M_INVALID_PARAM")
        .await;
    let (status, _) = call_bytes(
        &app,
        "PUT",
        &format!("/_matrix/client/v3{send}"),
        Some(&alice.token),
        b"{".to_vec(),
    )
    .await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    let nothing = format!("/rooms/{room}/redact/$x/1");
    alice.refused("PUT", &nothing, json!({}), 404, "M_NOT_FOUND").await;
    let canonical = format!("/rooms/{room}/state/m.room.canonical_alias");
    alice
        .refused(
            "PUT",
            &canonical,
            json!({"alias": "#none:example.org"}),
            400,
            "M_BAD_ALIAS",
        )
        .await;
    alice
        .refused("PUT", &canonical, json!({"alias": "none"}), 400, "M_INVALID_PARAM")
        .await;
    alice
        .refused(
            "PUT",
            &format!("/rooms/{room}/state/m.room.create"),
            json!({}),
            403,
            "M_FORBIDDEN",
        )
        .await;
}
