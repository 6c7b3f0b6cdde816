//! `kill -9` at random moments under the load of 16 writers and 2 uploaders: whatever was acknowledged is there
//! after the restart, in order, once, and a repeated transaction id never makes a second event.
//!
//! Rounds: `LAMCHAT_KILL_ROUNDS` (default 4). The seed is printed; `LAMCHAT_SEED` repeats it.
//! A killed process keeps its page cache: power cuts are simulated in `tests/sim`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests: a panic is the report"
)]

mod client;
mod full_disk;
mod schema;
mod server;

use client::{Client, Failure};
use serde_json::{Value, json};
use server::Server;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const WRITERS: usize = 16;
const UPLOADERS: usize = 2;

/// What one writer knows: the events that were acknowledged, and the one whose answer the kill swallowed.
#[derive(Default)]
struct Writer {
    token: String,
    room: String,
    name: String,
    acknowledged: Vec<(u64, String)>,
    pending: Option<u64>,
    next: u64,
    files: Vec<(String, u64)>,
}

/// A small deterministic generator, so that a printed seed repeats the moments of the kills.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// The bytes of a file are a function of its number: nothing has to be remembered to compare it.
fn file_content(number: u64) -> Vec<u8> {
    let mut random = Random(number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    (0..20_000 + number % 300_000)
        .map(|_| random.below(256) as u8)
        .collect()
}

fn send(client: &mut Client, writer: &Writer, number: u64) -> Result<String, Failure> {
    let path = format!(
        "/_matrix/client/v3/rooms/{}/send/m.room.message/{}-{number}",
        client::encode(&writer.room),
        writer.name
    );
    let body = json!({"msgtype": "m.text", "body": format!("{}:{number}", writer.name), "padding": "x".repeat(300)});
    let answer = client.json("PUT", &path, &writer.token, Some(&body))?;
    Ok(answer["event_id"].as_str().unwrap().to_owned())
}

/// Sends or uploads until the server dies.
fn work(address: std::net::SocketAddr, writer: &mut Writer, uploads: bool, stop: &AtomicBool) {
    let Ok(mut client) = Client::connect(address) else {
        return;
    };
    while !stop.load(Ordering::Relaxed) {
        let number = writer.next;
        writer.next += 1;
        if uploads {
            let number = number * 100 + u64::try_from(writer.name.len()).unwrap();
            match client.upload(&writer.token, &file_content(number)) {
                Ok(url) => writer.files.push((url, number)),
                Err(Failure::Gone) => return,
                Err(Failure::Status(status, body)) => panic!("upload: {status} {body}"),
            }
        } else {
            writer.pending = Some(number);
            match send(&mut client, writer, number) {
                Ok(id) => {
                    writer.acknowledged.push((number, id));
                    writer.pending = None;
                }
                Err(Failure::Gone) => return,
                Err(Failure::Status(status, body)) => panic!("send: {status} {body}"),
            }
        }
    }
}

/// All messages of a room, oldest first: (event id, body).
fn history(client: &mut Client, token: &str, room: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut from = String::new();
    loop {
        let path = format!(
            "/_matrix/client/v3/rooms/{}/messages?dir=b&limit=200{from}",
            client::encode(room)
        );
        let page = client.json("GET", &path, token, None).unwrap();
        let chunk = page["chunk"].as_array().unwrap();
        for event in chunk.iter().filter(|event| event["type"] == "m.room.message") {
            found.push((
                event["event_id"].as_str().unwrap().to_owned(),
                event["content"]["body"].as_str().unwrap().to_owned(),
            ));
        }
        match page["end"].as_str() {
            Some(end) if !chunk.is_empty() => from = format!("&from={}", client::encode(end)),
            _ => break,
        }
    }
    found.reverse();
    found
}

/// Settles the swallowed answer by repeating its transaction, then compares the room with what was acknowledged.
fn check(client: &mut Client, writers: &mut [Writer]) {
    for writer in writers.iter_mut() {
        if let Some(number) = writer.pending.take() {
            let id = send(client, writer, number).unwrap();
            assert_eq!(
                send(client, writer, number).unwrap(),
                id,
                "a transaction id is idempotent"
            );
            writer.acknowledged.push((number, id));
        }
    }
    let rooms: std::collections::BTreeSet<_> = writers.iter().map(|w| w.room.clone()).collect();
    for room in rooms {
        let token = writers.iter().find(|w| w.room == room).unwrap().token.clone();
        let events = history(client, &token, &room);
        let ids: std::collections::HashSet<_> = events.iter().map(|(id, _)| id).collect();
        assert_eq!(ids.len(), events.len(), "an event is there twice");
        for writer in writers.iter().filter(|w| w.room == room && !w.name.starts_with("up")) {
            let prefix = format!("{}:", writer.name);
            let stored: Vec<_> = events
                .iter()
                .filter(|(_, body)| body.starts_with(&prefix))
                .map(|(id, body)| (id.clone(), body.clone()))
                .collect();
            let wanted: Vec<_> = writer
                .acknowledged
                .iter()
                .map(|(number, id)| (id.clone(), format!("{prefix}{number}")))
                .collect();
            if stored != wanted {
                let at = stored
                    .iter()
                    .zip(&wanted)
                    .position(|(a, b)| a != b)
                    .unwrap_or(stored.len().min(wanted.len()));
                panic!(
                    "{}: {} stored, {} acknowledged; they differ from number {at}: {:?} / {:?}",
                    writer.name,
                    stored.len(),
                    wanted.len(),
                    stored.get(at),
                    wanted.get(at)
                );
            }
        }
    }
    for writer in writers.iter() {
        for (url, number) in writer.files.iter().rev().take(5) {
            let bytes = client.download(&writer.token, url).unwrap();
            assert!(
                bytes == file_content(*number),
                "{url} differs from what was acknowledged"
            );
        }
    }
}

fn environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn acknowledged_events_and_files_survive_kill_9() {
    let rounds = environment("LAMCHAT_KILL_ROUNDS").unwrap_or(4);
    let seed = environment("LAMCHAT_SEED").unwrap_or_else(|| {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_nanos() as u64
    });
    println!("seed {seed}, {rounds} rounds");
    let mut random = Random(seed | 1);
    let mut server = Server::new();
    server.start();
    let mut client = Client::connect(server.address).unwrap();

    let mut writers: Vec<Writer> = Vec::new();
    let mut shared: Option<String> = None;
    for number in 0..WRITERS + UPLOADERS {
        let name = if number < WRITERS {
            format!("w{number}")
        } else {
            format!("up{}", "x".repeat(number - WRITERS))
        };
        let token = client.register(&name);
        // One half writes to a room of its own, the other half together to one room.
        let room = match (&shared, number % 2) {
            (Some(room), 1) => {
                let path = format!("/_matrix/client/v3/join/{}", client::encode(room));
                client.json("POST", &path, &token, Some(&json!({}))).unwrap();
                room.clone()
            }
            _ => {
                let body = json!({"preset": "public_chat"});
                let made: Value = client
                    .json("POST", "/_matrix/client/v3/createRoom", &token, Some(&body))
                    .unwrap();
                let room = made["room_id"].as_str().unwrap().to_owned();
                if number == 1 {
                    shared = Some(room.clone());
                }
                room
            }
        };
        writers.push(Writer {
            token,
            room,
            name,
            ..Writer::default()
        });
    }

    for round in 0..rounds {
        let stop = AtomicBool::new(false);
        let address = server.address;
        let running = Mutex::new(());
        std::thread::scope(|scope| {
            for writer in writers.iter_mut() {
                let uploads = writer.name.starts_with("up");
                let (stop, _running) = (&stop, &running);
                scope.spawn(move || work(address, writer, uploads, stop));
            }
            std::thread::sleep(Duration::from_millis(30 + random.below(1_200)));
            server.kill();
            stop.store(true, Ordering::Relaxed);
        });
        let began = Instant::now();
        server.start();
        let opened = began.elapsed();
        let mut client = Client::connect(server.address).unwrap();
        check(&mut client, &mut writers);
        let events: usize = writers.iter().map(|writer| writer.acknowledged.len()).sum();
        let files: usize = writers.iter().map(|writer| writer.files.len()).sum();
        println!(
            "round {round}: {events} events and {files} files acknowledged, all there; start to first answer {opened:?}"
        );
    }
    assert!(
        writers.iter().any(|writer| writer.acknowledged.len() > 10),
        "the writers wrote next to nothing"
    );
    assert!(
        writers.iter().any(|writer| !writer.files.is_empty()),
        "no file was uploaded"
    );
    server.stop();
}
