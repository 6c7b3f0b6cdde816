//! Aliases, and the directory of public rooms.

use super::Client;
use crate::testing::{app, call};
use http::StatusCode;
use serde_json::json;

#[tokio::test]
async fn aliases_and_the_directory_are_found_by_everybody() {
    let app = app();
    let (alice, bob) = (Client::new(&app, "alice").await, Client::new(&app, "bob").await);
    let room = alice
        .room(json!({"visibility": "public", "name": "Pub", "room_alias_name": "pub"}))
        .await;
    let found = call(
        &app,
        "GET",
        "/_matrix/client/v3/directory/room/%23pub:example.org",
        None,
        None,
    )
    .await
    .1;
    assert_eq!(found, json!({"room_id": room, "servers": ["example.org"]}));
    bob.done("POST", "/join/%23pub:example.org", json!({})).await;
    bob.refused(
        "PUT",
        "/directory/room/%23pub:example.org",
        json!({"room_id": room}),
        409,
        "M_UNKNOWN",
    )
    .await;
    bob.done("PUT", "/directory/room/%23bar:example.org", json!({"room_id": room}))
        .await;
    let aliases = bob.get(&format!("/rooms/{room}/aliases")).await.1;
    assert_eq!(aliases, json!({"aliases": ["#bar:example.org", "#pub:example.org"]}));
    bob.refused(
        "DELETE",
        "/directory/room/%23pub:example.org",
        json!({}),
        403,
        "M_FORBIDDEN",
    )
    .await;
    bob.done("DELETE", "/directory/room/%23bar:example.org", json!({}))
        .await;
    let unknown = call(&app, "GET", "/_matrix/client/v3/publicRooms", None, None).await;
    assert_eq!(unknown.0, StatusCode::UNAUTHORIZED);
    let list = bob.get("/publicRooms?limit=5").await.1;
    assert_eq!(list.pointer("/chunk/0/room_id"), Some(&json!(room)));
    assert_eq!(list.pointer("/chunk/0/num_joined_members"), Some(&json!(2)));
    let search = bob
        .done(
            "POST",
            "/publicRooms",
            json!({"filter": {"generic_search_term": "nothing"}}),
        )
        .await;
    assert_eq!(search.get("total_room_count_estimate"), Some(&json!(0)));
    let visibility = format!("/directory/list/room/{room}");
    bob.refused("PUT", &visibility, json!({"visibility": "private"}), 403, "M_FORBIDDEN")
        .await;
    alice.done("PUT", &visibility, json!({"visibility": "private"})).await;
    let seen = call(&app, "GET", &format!("/_matrix/client/v3{visibility}"), None, None)
        .await
        .1;
    assert_eq!(seen, json!({"visibility": "private"}));
}

#[tokio::test]
async fn a_room_is_published_unless_the_client_says_otherwise() {
    let app = app();
    let alice = Client::new(&app, "alice").await;
    let room = alice.room(json!({})).await;
    let path = format!("/directory/list/room/{room}");
    for (body, expected) in [
        (json!({}), "public"),
        (json!({"visibility": "private"}), "private"),
        (json!({"visibility": "public"}), "public"),
    ] {
        alice.done("PUT", &path, body).await;
        let (_, shown) = alice.get(&path).await;
        assert_eq!(shown.get("visibility"), Some(&json!(expected)));
    }
    alice
        .refused("PUT", &path, json!({"visibility": "x"}), 400, "M_INVALID_PARAM")
        .await;
}
