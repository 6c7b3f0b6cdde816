//! What the server tells its administrators in a room of their own: once each, also across restarts.

use crate::harness::{CONFIG, Client, PATIENCE, Site};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A machine whose sensors are files.
struct Machine {
    site: Site,
    sensor: PathBuf,
}

impl Machine {
    fn new() -> Self {
        let site = Site::new();
        let chip = site.path("sys").join("class/hwmon/hwmon0");
        std::fs::create_dir_all(&chip).unwrap();
        for (name, value) in [("name", "board"), ("temp1_input", "45000"), ("temp1_max", "80000")] {
            std::fs::write(chip.join(name), value).unwrap();
        }
        let hardware = site.path("sys");
        let wanted = format!("admins_room = true\nhardware = {hardware:?}");
        site.configure(&CONFIG.replace("admins_room = false", &wanted));
        Self {
            site,
            sensor: chip.join("temp1_input"),
        }
    }

    fn is(&self, millidegrees: &str) {
        std::fs::write(&self.sensor, millidegrees).unwrap();
    }
}

/// What an administrator's client knows from `/sync`.
struct Inbox {
    client: Client,
    since: Option<String>,
    bodies: Vec<String>,
    /// The room of the invitation, and its tags once they were told.
    invited: Option<String>,
    tags: Value,
    /// Whether the server has removed them.
    is_out: bool,
}

impl Inbox {
    fn new(client: Client) -> Self {
        Self {
            client,
            since: None,
            bodies: Vec::new(),
            invited: None,
            tags: Value::Null,
            is_out: false,
        }
    }

    fn sync(&mut self) {
        let since = self.since.as_ref().map(|since| format!("&since={since}"));
        let target = format!("/_matrix/client/v3/sync?timeout=1000{}", since.unwrap_or_default());
        let answer = self.client.get(&target).ok();
        self.since = answer["next_batch"].as_str().map(str::to_owned);
        let rooms = answer["rooms"].as_object();
        let of = |kind: &str| rooms.and_then(|rooms| rooms.get(kind)?.as_object());
        for (id, _) in of("invite").into_iter().flatten() {
            self.invited = Some(id.clone());
        }
        self.is_out |= of("leave").is_some_and(|rooms| !rooms.is_empty());
        for (_, room) in of("join").into_iter().flatten() {
            for event in room["account_data"]["events"].as_array().into_iter().flatten() {
                if event["type"] == "m.tag" {
                    self.tags = event["content"]["tags"].clone();
                }
            }
            for event in room["timeline"]["events"].as_array().into_iter().flatten() {
                if event["content"]["msgtype"] == "m.server_notice" {
                    assert_eq!(event["sender"], "@_notices:localhost");
                    self.bodies.push(event["content"]["body"].as_str().unwrap().to_owned());
                }
            }
        }
    }

    fn until(&mut self, what: &str, is_there: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is_there(self) {
            assert!(began.elapsed() < 2 * PATIENCE, "{what} never came: {:?}", self.bodies);
            self.sync();
        }
    }

    fn lines(&self, part: &str) -> usize {
        let lines = self.bodies.iter().flat_map(|body| body.lines());
        lines.filter(|line| line.contains(part)).count()
    }
}

#[test]
fn what_fails_is_told_to_each_administrator_once() {
    let machine = Machine::new();
    let server = machine.site.start();
    let (alice, bob, carol) = (server.account("alice"), server.account("bob"), server.account("carol"));
    for name in ["alice", "bob"] {
        machine.site.command_json(&["user", "admin", name], "");
    }
    machine.is("81000");
    let hot = "WARNING: board temp1: 81 °C (limit 80): above its limit";
    let mut inboxes = [Inbox::new(alice), Inbox::new(bob)];
    for inbox in &mut inboxes {
        inbox.until("an invitation", |inbox| inbox.invited.is_some());
        let room = inbox.invited.clone().unwrap();
        inbox
            .client
            .post(&format!("/_matrix/client/v3/rooms/{room}/join"), &json!({}))
            .ok();
        inbox.until("the notice", |inbox| inbox.lines(hot) > 0);
        assert!(inbox.tags.get("m.server_notice").is_some(), "{}", inbox.tags);
        // It is told, not talked about, and nobody leaves.
        let send = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/1");
        let refused = inbox.client.put(&send, &json!({"msgtype": "m.text", "body": "x"}));
        assert_eq!(refused.status, 403);
        let leave = inbox
            .client
            .post(&format!("/_matrix/client/v3/rooms/{room}/leave"), &json!({}));
        assert_eq!(leave.refusal(), (403, "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM".to_owned()));
    }
    let mut carol = Inbox::new(carol);
    carol.sync();
    assert_eq!(carol.invited, None, "carol is no administrator");

    // The same after a restart, which tells nothing anew; what is well again is told once it lasts.
    server.stop();
    let server = machine.site.start();
    std::thread::sleep(Duration::from_secs(12));
    machine.is("45000");
    let [alice, bob] = &mut inboxes;
    for inbox in [&mut *alice, &mut *bob] {
        let token = inbox.client.token.take();
        inbox.client = server.plain_client();
        inbox.client.token = token;
    }
    alice.until("the recovery", |inbox| inbox.lines("well again: board temp1") > 0);
    assert_eq!((alice.lines(hot), alice.lines("well again: board temp1")), (1, 1));

    // Who is no administrator any more is told nothing any more.
    machine.site.command_json(&["user", "admin", "bob", "--remove"], "");
    bob.sync();
    machine.is("82000");
    alice.until("the second notice", |inbox| inbox.lines("WARNING: board temp1: 82") > 0);
    bob.until("the end", |inbox| inbox.is_out);
    assert_eq!(bob.lines("82 °C"), 0);
}

#[test]
fn the_name_of_the_sender_is_nobodys() {
    let site = Site::new();
    let server = site.start();
    let mut alice = server.account("alice");
    let output = site.command(&["user", "add", "_notices"], "a password of theirs\n");
    assert_eq!(output.status.code(), Some(1));
    let available = alice.get("/_matrix/client/v3/register/available?username=_notices");
    assert_eq!(available.refusal(), (400, "M_INVALID_USERNAME".to_owned()));
    let room = json!({"invite": ["@_notices:localhost"]});
    assert_eq!(alice.post("/_matrix/client/v3/createRoom", &room).status, 404);
}
