//! The log of the exchange, which on a box stands on a console: it says what happened, and never who with whom.

use crate::harness::{Client, PATIENCE, Server, Site, text};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Names that stand nowhere else.
const PEOPLE: [&str; 3] = ["zeppelina", "quixotto", "marmeladow"];
const ROOM_NAME: &str = "Bergwerksdirektion";
const ALIAS: &str = "schachtanlage";
const SAID: &str = "unaussprechlich";
const FILE: &str = "lohnliste.pdf";
const DEVICE: &str = "Telefunken";
const CREDENTIAL: &str = "ottokars-laptop";
const PATHS: &str = "/_matrix/client/v3";

fn id(answer: &Value, key: &str) -> String {
    answer[key].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// Two people talk, in all the ways that there are, and do what is refused; ids that the server gave.
fn talk(first: &mut Client, second: &mut Client) -> Vec<String> {
    let wanted = json!({"preset": "public_chat", "name": ROOM_NAME, "room_alias_name": ALIAS});
    let room = id(&first.post(&format!("{PATHS}/createRoom"), &wanted).ok(), "room_id");
    second.post(&format!("{PATHS}/rooms/{room}/join"), &json!({})).ok();
    let say = format!("{PATHS}/rooms/{room}/send/m.room.message/1");
    let message = json!({"msgtype": "m.text", "body": SAID});
    let event = id(&first.put(&say, &message).ok(), "event_id");
    let upload = first.send(
        "POST",
        &format!("/_matrix/media/v3/upload?filename={FILE}"),
        &[("Content-Type", "application/pdf")],
        b"%PDF",
    );
    let file = id(&upload.unwrap().ok(), "content_uri");
    second
        .post(&format!("{PATHS}/rooms/{room}/receipt/m.read/{event}"), &json!({}))
        .ok();
    let typing = format!("{PATHS}/rooms/{room}/typing/@{}:localhost", PEOPLE[1]);
    second.put(&typing, &json!({"typing": true, "timeout": 1000})).ok();
    let to_device = json!({"messages": {format!("@{}:localhost", PEOPLE[0]): {"*": {"body": SAID}}}});
    second.put(&format!("{PATHS}/sendToDevice/m.test/1"), &to_device).ok();
    first.get(&format!("{PATHS}/sync")).ok();
    second.get(&format!("{PATHS}/rooms/{room}/messages?dir=b")).ok();
    let search = json!({"search_categories": {"room_events": {"search_term": SAID}}});
    first.post(&format!("{PATHS}/search"), &search);
    let reason = json!({"reason": SAID});
    second
        .post(&format!("{PATHS}/rooms/{room}/report/{event}"), &reason)
        .ok();
    // What is refused, and what is nonsense.
    let third = format!("@{}:localhost", PEOPLE[2]);
    second.post(&format!("{PATHS}/rooms/{room}/kick"), &json!({"user_id": third}));
    second.post(&format!("{PATHS}/rooms/{room}/invite"), &json!({"user_id": "@x"}));
    second.put(&format!("{PATHS}/rooms/{room}/state/m.room.name"), &json!({"name": 1}));
    let broken = format!("{{\"body\": \"{SAID}");
    let sent = first.send(
        "PUT",
        &format!("{PATHS}/rooms/{room}/send/m.room.message/2"),
        &[],
        broken.as_bytes(),
    );
    assert_ne!(sent.unwrap().status, 200);
    second.get(&format!("{PATHS}/rooms/!{ALIAS}:localhost/messages?dir=b"));
    let login = |user: &str| {
        json!({
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": user},
            "password": SAID,
            "initial_device_display_name": DEVICE,
        })
    };
    for user in PEOPLE {
        assert_ne!(second.post(&format!("{PATHS}/login"), &login(user)).status, 200);
    }
    let localpart = |id: &str| id.trim_start_matches(['!', '$']).split(':').next().unwrap().to_owned();
    vec![
        localpart(&room),
        localpart(&event),
        file.rsplit('/').next().unwrap().to_owned(),
    ]
}

/// What administrators do to people.
fn administer(site: &Site) {
    for arguments in [
        ["user", "suspend", PEOPLE[0]].as_slice(),
        &["user", "unsuspend", PEOPLE[0]],
        &["user", "lock", PEOPLE[1]],
        &["user", "unlock", PEOPLE[1]],
        &["media", "delete", "--user", PEOPLE[0]],
        &["report", "close", "1"],
        &["admin-credential", "create", CREDENTIAL],
        &["user", "deactivate", PEOPLE[1]],
    ] {
        let output = site.command(arguments, "");
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    }
    let added = site.command(&["user", "add", PEOPLE[2]], "a password that is long enough\n");
    assert!(added.status.success(), "{}", text(&added.stderr));
}

fn live(site: &Site, server: &Server) -> Vec<String> {
    let (mut first, mut second) = (server.account(PEOPLE[0]), server.account(PEOPLE[1]));
    let ids = talk(&mut first, &mut second);
    administer(site);
    let mut over_tls = server.client();
    over_tls.token = first.token.take();
    over_tls.get(&format!("{PATHS}/account/whoami")).ok();
    over_tls.token = Some("not a token".to_owned());
    assert_eq!(over_tls.get(&format!("{PATHS}/account/whoami")).status, 401);
    over_tls.get("/_matrix/federation/v1/version");
    ids
}

#[test]
fn the_log_of_a_lively_run_names_nobody() {
    let site = Site::new();
    let mut server = site.start();
    let ids = live(&site, &server);
    server.signal("HUP");
    let since = Instant::now();
    let mut log = Vec::new();
    while !log.iter().any(|line: &String| line.contains("was reloaded")) {
        assert!(since.elapsed() < PATIENCE, "{log:?}");
        log.extend(server.log_so_far());
        std::thread::sleep(Duration::from_millis(5));
    }
    server.signal("TERM");
    assert!(server.wait().success());
    log.extend(server.log_so_far());
    let log = log.join("\n");
    // It has lines of what was done, so that there was something to keep quiet about.
    for line in [
        "an administrator changed an account",
        "an administrator made an account",
        "a user reported",
    ] {
        assert!(log.contains(line), "{line} is not in the log: {log}");
    }
    let ids = ids.iter().map(String::as_str);
    let fixed = [ROOM_NAME, ALIAS, SAID, FILE, DEVICE, CREDENTIAL, "127.0.0.1", "::1"];
    for name in PEOPLE.into_iter().chain(fixed).chain(ids) {
        assert!(!log.contains(name), "{name} is in the log: {log}");
    }
}
