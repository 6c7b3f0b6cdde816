#![expect(clippy::unwrap_used, reason = "tests")]

use super::{Count, Counts, UnreadCounts};
use crate::rules;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lamchat_base::{Position, RoomNum, UserNum};
use lamchat_rooms::event::{EventRow, Flags};
use lamchat_rooms::receipt::{self, Kind};
use lamchat_rooms::table::{EVENT, EVENT_BY_ID, ROOM, TIMELINE, live_order, timeline_key};
use lamchat_store::{ReadError, Store};
use ruma::push::RuleKind;
use ruma::{UserId, user_id};
use serde_json::{Value, json};

const ROOM_NUM: RoomNum = RoomNum(1);
const ME: UserNum = UserNum(1);
const YOU: &str = "@you:example.org";

fn me() -> &'static UserId {
    user_id!("@me:example.org")
}

/// A room whose events are written as rows: what the rules of rooms say is not the matter here.
struct Fixture {
    store: Store,
    counts: UnreadCounts,
}

#[derive(Default)]
struct Sent<'a> {
    state_key: Option<&'a str>,
    replaces: Option<Position>,
    redacts: Option<&'a str>,
    flags: Flags,
}

fn id(number: u8) -> String {
    format!("${}", URL_SAFE_NO_PAD.encode([number; 32]))
}

impl Fixture {
    fn new() -> Self {
        let tables = [crate::TABLES, lamchat_accounts::TABLES, lamchat_rooms::TABLES].concat();
        let store = Store::in_memory(&tables).unwrap();
        let fixture = Self {
            store,
            counts: UnreadCounts::new(),
        };
        let create = fixture.put(
            0,
            YOU,
            "m.room.create",
            json!({}),
            Sent {
                state_key: Some(""),
                ..Sent::default()
            },
        );
        let room = json!({"id": "!r:example.org", "version": "11", "create": create, "creator": YOU});
        fixture
            .store
            .write_blocking(move |txn| {
                assert_eq!(lamchat_accounts::user::num_or_insert(txn, me())?, ME);
                txn.put_json(ROOM, &ROOM_NUM.to_key(), &room)
            })
            .unwrap();
        fixture.put(
            1,
            me().as_str(),
            "m.room.member",
            json!({"membership": "join"}),
            Sent {
                state_key: Some(me().as_str()),
                ..Sent::default()
            },
        );
        fixture
    }

    fn put(&self, number: u8, sender: &str, event_type: &str, content: Value, sent: Sent<'_>) -> Position {
        let row = |event_id: &str| {
            EventRow {
                flags: sent.flags,
                room: ROOM_NUM,
                state_group: 0,
                content_key_id: 0,
                origin_server_ts: 0,
                depth: 0,
                replaces: sent.replaces,
                redacted_because: None,
                event_id,
                sender,
                event_type,
                state_key: sent.state_key,
                redacts: sent.redacts,
                transaction: None,
                content: &content.to_string(),
                rest: b"{}",
            }
            .encode()
            .unwrap()
        };
        let row = row(&id(number));
        self.store
            .write_blocking(move |txn| {
                let position = txn.next_position();
                txn.put(EVENT, &position.to_key(), row);
                txn.put(
                    TIMELINE,
                    &timeline_key(ROOM_NUM, live_order(position)),
                    position.to_key().to_vec(),
                );
                txn.put(EVENT_BY_ID, &[number; 16], position.to_key().to_vec());
                Ok::<_, ReadError>(position)
            })
            .unwrap()
    }

    fn say(&self, number: u8, sender: &str, content: Value) -> Position {
        self.put(number, sender, "m.room.message", content, Sent::default())
    }

    fn hear(&self, number: u8) -> Position {
        self.say(number, YOU, json!({"msgtype": "m.text", "body": "hello"}))
    }

    fn hear_in_thread(&self, number: u8, root: u8) {
        self.say(
            number,
            YOU,
            json!({"body": "x", "m.relates_to": {"rel_type": "m.thread", "event_id": id(root)}}),
        );
    }

    fn read_up_to(&self, number: u8, thread: Option<&str>) {
        let thread = thread.map(str::to_owned);
        self.store
            .write_blocking(move |txn| {
                receipt::set(txn, ROOM_NUM, ME, Kind::ReadPrivate, thread.as_deref(), &id(number), 0)
            })
            .unwrap();
    }

    /// As the cache has it; that a fresh count says the same is checked every time.
    fn counted(&self) -> Counts {
        let read = self.store.read();
        let counts = self.counts.counts(&read, ME, me(), ROOM_NUM).unwrap();
        assert_eq!(UnreadCounts::new().counts(&read, ME, me(), ROOM_NUM).unwrap(), counts);
        counts
    }

    fn main(&self) -> (u64, u64) {
        let Count {
            notification,
            highlight,
        } = self.counted().main;
        (notification, highlight)
    }
}

#[test]
fn counts_grow_and_receipts_clear_them() {
    let room = Fixture::new();
    assert_eq!(room.main(), (0, 0));
    room.hear(2);
    room.hear(3);
    assert_eq!(room.main(), (2, 0));
    room.say(4, YOU, json!({"body": "you", "m.mentions": {"user_ids": [me()]}}));
    assert_eq!(room.main(), (3, 1));
    room.read_up_to(3, None);
    assert_eq!(room.main(), (1, 1));
    room.put(
        5,
        YOU,
        "m.room.encrypted",
        json!({"algorithm": "m.megolm.v1.aes-sha2"}),
        Sent::default(),
    );
    room.put(6, YOU, "m.reaction", json!({}), Sent::default());
    room.put(
        7,
        YOU,
        "m.room.topic",
        json!({"topic": "x"}),
        Sent {
            state_key: Some(""),
            ..Sent::default()
        },
    );
    assert_eq!(room.main(), (2, 1));
    room.read_up_to(7, None);
    assert_eq!(room.main(), (0, 0));
}

#[test]
fn what_came_before_joining_and_before_writing_is_read() {
    let room = Fixture::new();
    room.hear(2);
    room.say(3, me().as_str(), json!({"body": "me"}));
    assert_eq!(room.main(), (0, 0));
    room.hear(4);
    // A change of the own name reads nothing.
    let first = room.put(
        5,
        me().as_str(),
        "m.room.member",
        json!({"membership": "join"}),
        Sent {
            state_key: Some(me().as_str()),
            ..Sent::default()
        },
    );
    assert_eq!(room.main(), (0, 0));
    room.hear(6);
    room.put(
        7,
        me().as_str(),
        "m.room.member",
        json!({"membership": "join", "displayname": "Me"}),
        Sent {
            state_key: Some(me().as_str()),
            replaces: Some(first),
            ..Sent::default()
        },
    );
    assert_eq!(room.main(), (1, 0));
}

#[test]
fn threads_have_counts_and_receipts_of_their_own() {
    let room = Fixture::new();
    room.hear(2);
    room.hear_in_thread(3, 2);
    room.hear_in_thread(4, 2);
    // A reply to an event in the thread belongs to it.
    room.say(
        5,
        YOU,
        json!({"body": "x", "m.relates_to": {"rel_type": "m.reference", "event_id": id(4)}}),
    );
    room.hear(6);
    let counts = room.counted();
    assert_eq!(
        (
            counts.main.notification,
            counts.threads.get(&id(2)).unwrap().notification
        ),
        (2, 3)
    );
    assert_eq!(counts.total().notification, 5);
    room.read_up_to(4, Some(&id(2)));
    assert_eq!(room.counted().threads.get(&id(2)).unwrap().notification, 1);
    room.read_up_to(6, Some("main"));
    assert_eq!(room.main(), (0, 0));
    assert_eq!(room.counted().total().notification, 1);
    room.read_up_to(6, None);
    assert_eq!(room.counted(), Counts::default());
    // Writing in a thread reads that thread only.
    room.hear(7);
    room.hear_in_thread(8, 2);
    room.say(
        9,
        me().as_str(),
        json!({"m.relates_to": {"rel_type": "m.thread", "event_id": id(2)}}),
    );
    assert_eq!(room.main(), (1, 0));
    assert!(room.counted().threads.is_empty());
}

#[test]
fn redacted_events_do_not_count() {
    let room = Fixture::new();
    let heard = room.hear(2);
    room.hear(3);
    assert_eq!(room.main(), (2, 0));
    // The redaction, and what it leaves of the row.
    room.put(
        4,
        YOU,
        "m.room.redaction",
        json!({}),
        Sent {
            redacts: Some(&id(2)),
            ..Sent::default()
        },
    );
    room.store
        .write_blocking(move |txn| {
            use lamchat_store::Read;
            let old = txn.get(EVENT, &heard.to_key())?.unwrap();
            let mut row = EventRow::decode(&old)?;
            row.flags = Flags::REDACTED;
            row.content = "{}";
            let new = row.encode().unwrap();
            txn.put(EVENT, &heard.to_key(), new);
            Ok::<_, ReadError>(())
        })
        .unwrap();
    assert_eq!(room.main(), (1, 0));
}

#[test]
fn new_rules_count_anew_and_old_snapshots_stay_right() {
    let room = Fixture::new();
    room.hear(2);
    let before = room.store.read();
    room.hear(3);
    assert_eq!(room.main(), (2, 0));
    assert_eq!(
        room.counts
            .counts(&before, ME, me(), ROOM_NUM)
            .unwrap()
            .main
            .notification,
        1
    );
    room.store
        .write_blocking(|txn| rules::set_enabled(txn, ME, me(), RuleKind::Override, ".m.rule.master", true))
        .map_err(|error| error.flatten())
        .unwrap();
    assert_eq!(room.main(), (0, 0));
}
