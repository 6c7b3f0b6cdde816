//! Data folders that programs of older schema versions left behind, killed in the middle: the current program opens each
//! and reads everything in it. `fixtures/README.md` says where they come from.
//!
//! `LAMCHAT_WRITE_FIXTURE=FILE` makes a new one, with the same content, by the program under test.

use crate::client::{Client, Failure, encode};
use crate::server::Server;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const SECTOR: usize = 512;
const FIXTURES: [&[u8]; 3] = [
    include_bytes!("fixtures/schema-1.folder"),
    include_bytes!("fixtures/schema-2.folder"),
    include_bytes!("fixtures/schema-3.folder"),
];
const ROOM: &str = "#fixture:localhost";
const MESSAGES: usize = 12;
/// Small enough for a pack, and large enough for a file of its own.
const FILES: [usize; 2] = [300, 270_000];

/// The bytes of a file; they repeat, encryption makes noise of them anyway.
fn file(size: usize) -> Vec<u8> {
    (0..size).map(|at| (at % 251) as u8).collect()
}

/// Every file below `dir`: name, length, and its sectors that are not all zeros. Numbers are little-endian, 32 bits.
fn pack(dir: &Path) -> Vec<u8> {
    let (mut packed, mut folders) = (Vec::new(), vec![PathBuf::new()]);
    let number = |packed: &mut Vec<u8>, number: usize| packed.extend(u32::try_from(number).unwrap().to_le_bytes());
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(dir.join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else if entry.file_type().unwrap().is_file() {
                let (name, bytes) = (path.to_str().unwrap().to_owned(), std::fs::read(entry.path()).unwrap());
                let full = |sector: &&[u8]| sector.iter().any(|byte| *byte != 0);
                number(&mut packed, name.len());
                packed.extend(name.as_bytes());
                number(&mut packed, bytes.len());
                number(&mut packed, bytes.chunks(SECTOR).filter(full).count());
                for (at, sector) in bytes.chunks(SECTOR).enumerate().filter(|(_, sector)| full(sector)) {
                    number(&mut packed, at);
                    packed.extend(sector);
                }
            }
        }
    }
    packed
}

fn unpack(mut packed: &[u8], dir: &Path) {
    fn take<'p>(packed: &mut &'p [u8], count: usize) -> &'p [u8] {
        let (taken, rest) = packed.split_at(count);
        *packed = rest;
        taken
    }
    let number = |packed: &mut &[u8]| u32::from_le_bytes(take(packed, 4).try_into().unwrap()) as usize;
    while !packed.is_empty() {
        let length = number(&mut packed);
        let path = dir.join(std::str::from_utf8(take(&mut packed, length)).unwrap());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut bytes = vec![0; number(&mut packed)];
        for _ in 0..number(&mut packed) {
            let start = number(&mut packed) * SECTOR;
            let end = (start + SECTOR).min(bytes.len());
            bytes[start..end].copy_from_slice(take(&mut packed, end - start));
        }
        std::fs::write(path, bytes).unwrap();
    }
}

/// Alice and Bob, a room with an alias and a name, messages and two files; half of it before a clean stop, half only
/// in the log of a program that was killed.
fn generate(out: &Path) {
    let mut server = Server::new();
    server.start();
    let mut client = Client::connect(server.address).unwrap();
    let alice = client.register("alice");
    let bob = client.register("bob");
    let body = json!({"preset": "public_chat", "room_alias_name": "fixture", "name": "Fixture"});
    let made = client
        .json("POST", "/_matrix/client/v3/createRoom", &alice, Some(&body))
        .unwrap();
    let room = made["room_id"].as_str().unwrap().to_owned();
    let join = format!("/_matrix/client/v3/join/{}", encode(&room));
    client.json("POST", &join, &bob, Some(&json!({}))).unwrap();
    for number in 0..MESSAGES {
        if number == MESSAGES / 2 {
            server.stop();
            server.start();
            client = Client::connect(server.address).unwrap();
        }
        let path = format!(
            "/_matrix/client/v3/rooms/{}/send/m.room.message/{number}",
            encode(&room)
        );
        let mut body = json!({"msgtype": "m.text", "body": format!("message {number}")});
        if let Some(size) = FILES.get(number.wrapping_sub(MESSAGES - FILES.len())) {
            let url = client.upload(&alice, &file(*size)).unwrap();
            body = json!({"msgtype": "m.file", "body": format!("message {number}"), "url": url});
        }
        let sender = if number % 2 == 0 { &alice } else { &bob };
        client.json("PUT", &path, sender, Some(&body)).unwrap();
    }
    server.kill();
    std::fs::write(out, pack(&server.data_dir())).unwrap();
}

fn log_in(client: &mut Client, name: &str, password: &str) -> Result<String, Failure> {
    let body = json!({
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": name},
        "password": password,
    });
    let answer = client.json("POST", "/_matrix/client/v3/login", "", Some(&body))?;
    Ok(answer["access_token"].as_str().unwrap().to_owned())
}

/// Reads all that `generate` wrote.
fn check(client: &mut Client) {
    assert!(matches!(
        log_in(client, "alice", "another password"),
        Err(Failure::Status(403, _))
    ));
    let alice = log_in(client, "alice", "correct horse battery").unwrap();
    let bob = log_in(client, "bob", "correct horse battery").unwrap();
    let alias = format!("/_matrix/client/v3/directory/room/{}", encode(ROOM));
    let room = client.json("GET", &alias, &bob, None).unwrap()["room_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let get = |client: &mut Client, what: &str| -> Value {
        let path = format!("/_matrix/client/v3/rooms/{}/{what}", encode(&room));
        client.json("GET", &path, &bob, None).unwrap()
    };
    assert_eq!(get(client, "state/m.room.name")["name"], "Fixture");
    let joined = get(client, "joined_members");
    for name in ["@alice:localhost", "@bob:localhost"] {
        assert!(joined["joined"][name].is_object(), "{joined}");
    }
    let bodies: Vec<String> = crate::history(client, &bob, &room)
        .into_iter()
        .map(|(_, body)| body)
        .collect();
    let sent: Vec<String> = (0..MESSAGES).map(|number| format!("message {number}")).collect();
    assert_eq!(bodies, sent);
    let newest = get(client, "messages?dir=b&limit=2");
    let events = newest["chunk"].as_array().unwrap();
    for (event, size) in events.iter().rev().zip(FILES) {
        let url = event["content"]["url"].as_str().unwrap();
        assert!(
            client.download(&alice, url).unwrap() == file(size),
            "the file of {size} bytes differs"
        );
    }
    // And it goes on from there.
    let path = format!("/_matrix/client/v3/rooms/{}/send/m.room.message/after", encode(&room));
    let body = json!({"msgtype": "m.text", "body": "after"});
    client.json("PUT", &path, &alice, Some(&body)).unwrap();
    assert_eq!(crate::history(client, &bob, &room).len(), MESSAGES + 1);
}

#[test]
fn a_data_folder_of_an_older_schema_opens_and_is_read_whole() {
    if let Some(out) = std::env::var_os("LAMCHAT_WRITE_FIXTURE") {
        generate(Path::new(&out));
        return;
    }
    for (fixture, schema) in FIXTURES.into_iter().zip(1..) {
        println!("schema {schema}");
        let mut server = Server::new();
        unpack(fixture, &server.data_dir());
        server.start();
        let mut client = Client::connect(server.address).unwrap();
        check(&mut client);
        server.stop();
    }
}
