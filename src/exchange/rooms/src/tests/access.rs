//! What is in memory and what is stored must say the same.

use super::*;
use serde_json::json;

/// What one instance has parsed and remembered, another one that starts from the store must decide in the same way.
#[tokio::test]
async fn remembered_permission_ends_with_its_reason() {
    for version in VERSIONS {
        let x = exchange();
        let (alice, bob) = (x.user("alice").await, x.user("bob").await);
        let room = x.room(&alice, version, Preset::PublicChat).await;
        x.rooms.join(&bob, &room, None).await.unwrap();
        x.say(&bob, &room, "1").await.unwrap();
        x.say(&bob, &room, "2").await.unwrap();
        x.rooms.kick(&alice, &room, &bob.user_id, None).await.unwrap();
        assert!(x.say(&bob, &room, "3").await.is_err(), "{version}");
        x.rooms.join(&bob, &room, None).await.unwrap();
        x.say(&bob, &room, "4").await.unwrap();
        let mut levels = x.state(&room, "m.room.power_levels", "").unwrap();
        levels
            .as_object_mut()
            .unwrap()
            .insert("events_default".to_owned(), json!(30));
        x.rooms
            .put_state(&alice, &room, "m.room.power_levels", "", object(levels))
            .await
            .unwrap();
        assert!(x.say(&bob, &room, "5").await.is_err());
        x.say(&alice, &room, "6").await.unwrap();
        let restarted = Exchange {
            rooms: rooms_on(&x.store),
            store: x.store.clone(),
        };
        assert!(restarted.say(&bob, &room, "7").await.is_err());
        restarted.say(&alice, &room, "8").await.unwrap();
        assert!(restarted.say(&x.user("eve").await, &room, "9").await.is_err());
        x.timeline(&room);
    }
}
