//! Presence in answers.

use super::*;
use lamchat_accounts::presence::{GONE_MS, State};
use serde_json::json;

impl World {
    /// The guard of a device that asks for news.
    fn poll(&self, who: &Who, wish: State) -> lamchat_accounts::presence::Syncing {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let (poll, is_news) = self.presence.syncing(who.user, who.device, wish, &clock);
        if is_news {
            self.syncer.wake_for_presence(who.user).unwrap();
        }
        poll
    }
}

fn told(answer: &Value) -> Vec<(String, String)> {
    let events = answer["presence"]["events"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut told: Vec<_> = events
        .iter()
        .map(|event| {
            assert_eq!(event["type"], "m.presence");
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (text(&event["sender"]), text(&event["content"]["presence"]))
        })
        .collect();
    told.sort();
    told
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter()
        .map(|(user, state)| (format!("@{user}:x.org"), (*state).to_owned()))
        .collect()
}

#[tokio::test]
async fn presence_is_told_to_those_who_share_a_room_once() {
    let world = World::new();
    let (alice, bob, eve) = (
        world.user("alice").await,
        world.user("bob").await,
        world.user("eve").await,
    );
    let room = world.room(&alice, Preset::PublicChat).await;
    let _polls = (world.poll(&alice, State::Online), world.poll(&eve, State::Online));
    let first = world.sync(&alice, None, json!({})).await;
    assert_eq!(told(&first), pairs(&[("alice", "online")]));
    let poll = world.poll(&bob, State::Unavailable);
    let second = world.sync(&alice, Some(token(&first)), json!({})).await;
    assert!(told(&second).is_empty(), "they share no room");
    world.rooms.join(&caller(&bob), &room, None).await.unwrap();
    let third = world.sync(&alice, Some(token(&second)), json!({})).await;
    assert_eq!(told(&third), pairs(&[("bob", "unavailable")]), "they have met");
    let at_bob = world.sync(&bob, None, json!({})).await;
    assert_eq!(told(&at_bob), pairs(&[("alice", "online"), ("bob", "unavailable")]));
    let quiet = world.sync(&alice, Some(token(&third)), json!({})).await;
    assert!(told(&quiet).is_empty());
    drop(poll);
    world.clock.advance_ms(GONE_MS);
    assert_eq!(world.presence.expire(world.clock.now_ms()), [bob.user]);
    let gone = world.sync(&alice, Some(token(&quiet)), json!({})).await;
    assert_eq!(told(&gone), pairs(&[("bob", "offline")]));
    // Whoever does not want to hear of it does not.
    for filter in [
        json!({"presence": {"not_types": ["m.presence"]}}),
        json!({"presence": {"types": []}}),
        json!({"presence": {"limit": 0}}),
    ] {
        assert!(told(&world.sync(&alice, None, filter).await).is_empty());
    }
    let filter = json!({"presence": {"not_senders": ["@alice:x.org"]}});
    assert!(told(&world.sync(&alice, None, filter).await).is_empty());
}

#[tokio::test]
async fn a_long_poll_ends_with_presence() {
    let world = World::new();
    let (alice, bob) = (world.user("alice").await, world.user("bob").await);
    let room = world.room(&alice, Preset::PublicChat).await;
    world.rooms.join(&caller(&bob), &room, None).await.unwrap();
    let first = world.sync(&alice, None, json!({})).await;
    let request = Request {
        since: Some(Token::parse(token(&first)).unwrap()),
        filter: Arc::default(),
        full_state: false,
        state_after: StateAfter::No,
        timeout: Duration::from_secs(60),
    };
    let waiting = tokio::spawn({
        let (syncer, alice) = (Arc::clone(&world.syncer), alice.clone());
        async move { syncer.sync(alice, request).await.unwrap() }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let _poll = world.poll(&bob, State::Online);
    let body = tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        told(&serde_json::from_slice(&body).unwrap()),
        pairs(&[("bob", "online")])
    );
}
