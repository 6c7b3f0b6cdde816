//! A disk without room: clear errors, nothing acknowledged is lost, reading goes on, and writing works again once
//! there is room, before and after `kill -9`.

use crate::client::{Client, Failure, encode};
use crate::server::Server;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The file system, and the part of it that is taken and given back.
const VOLUME_MIB: u32 = 160;
const BALLAST_MIB: u32 = 70;

struct Talk {
    token: String,
    room: String,
    acknowledged: Vec<String>,
    next: u64,
}

impl Talk {
    /// One message of about 50 KB; on success its id is remembered.
    fn send(&mut self, client: &mut Client) -> Result<(), Failure> {
        let number = self.next;
        self.next += 1;
        let path = format!(
            "/_matrix/client/v3/rooms/{}/send/m.room.message/{number}",
            encode(&self.room)
        );
        let body = json!({"msgtype": "m.text", "body": format!("{number}:{}", "x".repeat(50_000))});
        let answer = client.json("PUT", &path, &self.token, Some(&body))?;
        self.acknowledged.push(answer["event_id"].as_str().unwrap().to_owned());
        Ok(())
    }

    fn stored(&self, client: &mut Client) -> Vec<String> {
        let events = crate::history(client, &self.token, &self.room);
        events.into_iter().map(|(id, _)| id).collect()
    }

    /// Sends until the server has no room; answers the errcode.
    fn fill(&mut self, client: &mut Client) -> String {
        for _ in 0..10_000 {
            match self.send(client) {
                Ok(()) => {}
                Err(Failure::Status(507, body)) => {
                    let body: Value = serde_json::from_str(&body).unwrap();
                    return body["errcode"].as_str().unwrap().to_owned();
                }
                Err(other) => panic!("a full disk is told by 507, not by {other:?}"),
            }
        }
        panic!("the disk did not get full");
    }

    /// Sends until it works again, for at most some seconds.
    fn recover(&mut self, client: &mut Client) {
        let end = Instant::now() + Duration::from_secs(20);
        while let Err(error) = self.send(client) {
            assert!(Instant::now() < end, "no recovery: {error:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn a_full_disk_loses_nothing_and_recovers() {
    let mut server = Server::on_volume(VOLUME_MIB);
    server.start();
    server.ballast(BALLAST_MIB);
    let mut client = Client::connect(server.address).unwrap();
    let token = client.register("alice");
    let body = json!({"preset": "private_chat"});
    let made = client
        .json("POST", "/_matrix/client/v3/createRoom", &token, Some(&body))
        .unwrap();
    let room = made["room_id"].as_str().unwrap().to_owned();
    let mut talk = Talk {
        token,
        room,
        acknowledged: Vec::new(),
        next: 0,
    };

    assert_eq!(talk.fill(&mut client), "M_RESOURCE_LIMIT_EXCEEDED");
    assert!(talk.acknowledged.len() > 100, "next to nothing fitted");
    assert_eq!(
        talk.stored(&mut client),
        talk.acknowledged,
        "reading works on a full disk"
    );

    // Still full after a crash: it starts, and everything is there.
    server.kill();
    server.start();
    let mut client = Client::connect(server.address).unwrap();
    assert_eq!(
        talk.stored(&mut client),
        talk.acknowledged,
        "after a crash on a full disk"
    );

    server.ballast(0);
    talk.recover(&mut client);
    for _ in 0..200 {
        talk.send(&mut client).unwrap();
    }
    server.kill();
    server.start();
    let mut client = Client::connect(server.address).unwrap();
    assert_eq!(
        talk.stored(&mut client),
        talk.acknowledged,
        "after there was room again"
    );
    println!(
        "{} messages of 50 KB acknowledged around a full disk, all there",
        talk.acknowledged.len()
    );
    server.stop();
}
