//! Aliases and the directory.

use super::*;
use crate::alias::{CreateAliasError, DeleteAliasError};
use crate::directory::{Filter, PublishError, page};
use crate::put_state::PutStateError;
use crate::{alias, directory};
use ruma::{OwnedRoomAliasId, RoomAliasId};
use serde_json::json;

fn id(alias: &str) -> OwnedRoomAliasId {
    RoomAliasId::parse(alias).unwrap()
}

#[tokio::test]
async fn aliases_are_made_by_members_and_removed_by_their_makers() {
    let x = exchange();
    let (alice, bob, eve) = (x.user("alice").await, x.user("bob").await, x.user("eve").await);
    let room = x.room(&alice, "12", Preset::PublicChat).await;
    x.rooms.join(&bob, &room, None).await.unwrap();
    let (one, two) = (id("#one:example.org"), id("#two:example.org"));
    assert!(matches!(
        x.rooms.create_alias(&eve, &one, &room).await,
        Err(CreateAliasError::NotInRoom)
    ));
    let foreign = x.rooms.create_alias(&bob, &id("#one:elsewhere.org"), &room).await;
    assert!(matches!(foreign, Err(CreateAliasError::NotOurs)));
    x.rooms.create_alias(&bob, &one, &room).await.unwrap();
    x.rooms.create_alias(&alice, &two, &room).await.unwrap();
    assert!(matches!(
        x.rooms.create_alias(&bob, &one, &room).await,
        Err(CreateAliasError::InUse)
    ));
    // Only aliases that lead here can be the canonical one.
    let put = |content| {
        x.rooms
            .put_state(&alice, &room, "m.room.canonical_alias", "", object(content))
    };
    assert!(matches!(
        put(json!({"alias": "#three:example.org"})).await,
        Err(PutStateError::BadAlias(_))
    ));
    assert!(matches!(
        put(json!({"alt_aliases": ["nonsense"]})).await,
        Err(PutStateError::InvalidAlias(_))
    ));
    put(json!({"alias": "#one:example.org", "alt_aliases": ["#two:example.org"]}))
        .await
        .unwrap();
    assert!(matches!(
        x.rooms.delete_alias(&bob, &two).await,
        Err(DeleteAliasError::NotYours)
    ));
    x.rooms.delete_alias(&bob, &one).await.unwrap();
    x.rooms.delete_alias(&alice, &two).await.unwrap();
    assert!(matches!(
        x.rooms.delete_alias(&alice, &two).await,
        Err(DeleteAliasError::NoSuchAlias)
    ));
    let left = x.state(&room, "m.room.canonical_alias", "").unwrap();
    assert_eq!(left, json!({"alias": "#one:example.org", "alt_aliases": []}));
    // One that was named before may stay named.
    put(json!({"alias": "#one:example.org"})).await.unwrap();
    let read = x.store.read();
    assert_eq!(alias::find(&read, &one).unwrap(), None);
}

#[tokio::test]
async fn the_directory_lists_filters_and_pages() {
    let x = exchange();
    let (alice, bob) = (x.user("alice").await, x.user("bob").await);
    let mut rooms = Vec::new();
    for n in 0..5 {
        let mut new = new_room("12", Preset::PublicChat);
        new.is_published = true;
        new.name = Some(format!("Room {n} Ünder"));
        new.topic = (n == 3).then(|| "Gardening".to_owned());
        new.alias_localpart = Some(format!("alias{n}"));
        if n == 4 {
            new.creation_content = object(json!({"type": "m.space"}));
        }
        rooms.push(x.rooms.create(&alice, new).await.unwrap());
    }
    x.rooms.join(&bob, rooms.get(2).unwrap(), None).await.unwrap();
    let read = x.store.read();
    let all = page(&read, &Filter::default(), 0, 100).unwrap();
    assert_eq!((all.total, all.rooms.len(), all.next, all.before), (5, 5, None, None));
    let first = all.rooms.first().unwrap();
    assert_eq!((first.joined, Some(&first.room_id)), (2, rooms.get(2)));
    assert_eq!(
        (first.join_rule.as_str(), first.guest_can_join, first.world_readable),
        ("public", false, false)
    );
    let found = |search: &str, room_types: Vec<Option<String>>| {
        page(
            &read,
            &Filter {
                search: Some(search.to_owned()),
                room_types,
            },
            0,
            100,
        )
        .unwrap()
        .total
    };
    assert_eq!(found("garden", vec![]), 1);
    assert_eq!(found("ünder", vec![]), 5);
    assert_eq!(found("ALIAS1:", vec![]), 1);
    assert_eq!(found("", vec![Some("m.space".to_owned())]), 1);
    assert_eq!(found("", vec![None]), 4);
    let mut seen = Vec::new();
    let mut from = Some(0);
    while let Some(start) = from {
        let part = page(&read, &Filter::default(), start, 2).unwrap();
        seen.extend(part.rooms);
        from = part.next;
    }
    assert_eq!(seen, all.rooms);
    drop(read);
    let room = rooms.first().unwrap();
    assert!(matches!(
        x.rooms.publish(&bob, room, false).await,
        Err(PublishError::NotAllowed)
    ));
    x.rooms.publish(&alice, room, false).await.unwrap();
    let read = x.store.read();
    assert!(!directory::is_published(&read, crate::room::num(&read, room).unwrap().unwrap()).unwrap());
    assert_eq!(page(&read, &Filter::default(), 0, 0).unwrap().total, 4);
}
