//! Nothing is lost and nothing is told twice, whatever happens between two syncs.

use super::*;
use serde_json::json;
use std::collections::BTreeMap;

/// Numbers from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// What a client knows of a room.
#[derive(Default)]
struct Client {
    since: Option<String>,
    timeline: Vec<String>,
    state: BTreeMap<(String, String), String>,
}

impl Client {
    async fn sync(
        &mut self,
        world: &World,
        who: &Who,
        room: &RoomId,
        limit: usize,
        state_after: StateAfter,
        lazy: bool,
    ) {
        let filter = json!({"room": {"timeline": {"limit": limit}, "state": {"lazy_load_members": lazy}}});
        let answer = world.sync_with(who, self.since.as_deref(), filter, state_after).await;
        let block = joined(&answer, room);
        let timeline = &block["timeline"];
        let mut new = ids(&timeline["events"]);
        if timeline["limited"] == true {
            // The gap is filled page by page until something known appears.
            let mut from = timeline["prev_batch"].as_str().map(str::to_owned);
            'pages: while let Some(token) = from {
                let (page, end) = world.messages(who, room, &token, None, 3);
                for event in page {
                    let id = event["event_id"].as_str().unwrap().to_owned();
                    if self.timeline.contains(&id) {
                        break 'pages;
                    }
                    assert!(!new.contains(&id), "the page repeats what the sync told");
                    new.insert(0, id);
                }
                from = end;
            }
        }
        for id in &new {
            assert!(!self.timeline.contains(id), "told twice: {id}");
        }
        self.timeline.append(&mut new);
        let in_timeline = if state_after == StateAfter::No {
            timeline["events"].as_array()
        } else {
            None
        };
        let key = if state_after == StateAfter::No {
            "state"
        } else {
            "state_after"
        };
        for event in block[key]["events"]
            .as_array()
            .into_iter()
            .flatten()
            .chain(in_timeline.into_iter().flatten())
        {
            if let Some(state_key) = event["state_key"].as_str() {
                let key = (event["type"].as_str().unwrap().to_owned(), state_key.to_owned());
                self.state.insert(key, event["event_id"].as_str().unwrap().to_owned());
            }
        }
        self.since = Some(token(&answer).to_owned());
    }
}

/// All events of a room and its state, straight from the store.
fn truth(world: &World, room_id: &RoomId) -> (Vec<String>, BTreeMap<(String, String), String>) {
    let read = world.store.read();
    let room = room::num(&read, room_id).unwrap().unwrap();
    let id = |position| {
        let bytes = lamchat_rooms::log::known_event(&read, position).unwrap();
        lamchat_rooms::event::EventRow::decode(&bytes)
            .unwrap()
            .event_id
            .to_owned()
    };
    let places = lamchat_rooms::log::places(&read, room, 0, u64::MAX, Order::Ascending, usize::MAX).unwrap();
    let state = lamchat_rooms::state::current_all(&read, room).unwrap();
    (
        places.into_iter().map(|(_, position)| id(position)).collect(),
        state.into_iter().map(|(key, position)| (key, id(position))).collect(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_is_lost_while_others_send() {
    for seed in 0..6 {
        let world = World::new();
        let (alice, bob) = (world.user("alice").await, world.user("bob").await);
        let room = world.room(&alice, Preset::PublicChat).await;
        world.rooms.join(&caller(&bob), &room, None).await.unwrap();
        let mut senders = Vec::new();
        for who in [alice.clone(), bob.clone()] {
            let (world, room) = (Arc::clone(&world), room.clone());
            senders.push(tokio::spawn(async move {
                for n in 0..40 {
                    world.say(&who, &room, &n.to_string()).await;
                }
            }));
        }
        let (mut client, mut dice) = (Client::default(), Dice(seed));
        while senders.iter().any(|sender| !sender.is_finished()) {
            client
                .sync(&world, &alice, &room, 1 + dice.roll(5) as usize, StateAfter::No, false)
                .await;
            tokio::time::sleep(Duration::from_micros(dice.roll(3000))).await;
        }
        client.sync(&world, &alice, &room, 2, StateAfter::No, false).await;
        assert_eq!(client.timeline, truth(&world, &room).0, "seed {seed}");
    }
}

#[tokio::test]
async fn the_state_of_a_client_is_that_of_the_room() {
    for seed in 0..40 {
        let mode = if seed % 2 == 0 {
            StateAfter::No
        } else {
            StateAfter::Stable
        };
        let world = World::new();
        let (alice, bob) = (world.user("alice").await, world.user("bob").await);
        let room = world.room(&alice, Preset::PublicChat).await;
        let (mut client, mut dice) = (Client::default(), Dice(seed));
        let mut bob_is_in = false;
        for n in 0..60 {
            match dice.roll(8) {
                0..=2 => drop(world.say(&alice, &room, &n.to_string()).await),
                3 => drop(
                    world
                        .set(&alice, &room, "m.room.topic", "", json!({"topic": n.to_string()}))
                        .await,
                ),
                4 => drop(
                    world
                        .set(&alice, &room, "x.state", &dice.roll(3).to_string(), json!({"n": n}))
                        .await,
                ),
                5 if bob_is_in => {
                    world.rooms.leave(&caller(&bob), &room, None).await.unwrap();
                    bob_is_in = false;
                }
                5 => {
                    world.rooms.join(&caller(&bob), &room, None).await.unwrap();
                    bob_is_in = true;
                }
                _ => {
                    client
                        .sync(&world, &alice, &room, 1 + dice.roll(6) as usize, mode, false)
                        .await
                }
            }
        }
        client.sync(&world, &alice, &room, 3, mode, false).await;
        let (timeline, state) = truth(&world, &room);
        assert_eq!(client.timeline, timeline, "seed {seed}");
        assert_eq!(client.state, state, "seed {seed}");
    }
}
