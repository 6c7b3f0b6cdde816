//! The first minutes of a server: what it prints, the first account, the second.

use crate::harness::{Server, Site, text};
use serde_json::json;
use std::os::unix::fs::PermissionsExt;

#[test]
fn the_greeting_tells_everything() {
    let site = Site::new();
    let server = site.start();
    let greeting = server.greeting.clone();
    for part in [
        "LamChat",
        "localhost",
        "https://localhost:",
        "CA ",
        "Fingerprint",
        "not hardware-sealed",
        "administrator",
    ] {
        assert!(greeting.contains(part), "{part} is missing in:\n{greeting}");
    }
    let token = server.first_token().unwrap();
    assert!(
        token.len() >= 16 && token.bytes().all(|byte| byte.is_ascii_alphanumeric()),
        "{token}"
    );
    let mode = |name: &str| std::fs::metadata(site.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("data"), 0o700);
    assert_eq!(mode("data/admin.sock"), 0o600);
    server.stop();

    // The token stays until it is used, the authority for years.
    let again = site.start();
    assert_eq!(again.first_token().unwrap(), token);
    let fingerprint = |text: &str| {
        text.lines()
            .find(|line| line.contains("Fingerprint"))
            .unwrap()
            .to_owned()
    };
    assert_eq!(fingerprint(&again.greeting), fingerprint(&greeting));
    again.stop();
}

#[test]
fn the_first_token_makes_an_administrator_once() {
    let site = Site::new();
    let server = site.start();
    let token = server.first_token().unwrap();
    let mut alice = server.client();
    let made = alice.register("alice", "correct horse", &token).ok();
    assert_eq!(made["user_id"], "@alice:localhost");
    alice.token = Some(made["access_token"].as_str().unwrap().to_owned());
    assert_eq!(
        alice.get("/_matrix/client/v3/account/whoami").ok()["user_id"],
        "@alice:localhost"
    );

    let users = site.command_json(&["user", "list"], "");
    assert_eq!(users["users"][0]["user_id"], "@alice:localhost");
    assert_eq!(users["users"][0]["admin"], true);

    // Used.
    let mut mallory = server.client();
    let refused = mallory.register("mallory", "correct horse", &token);
    assert!(
        refused.status == 401 || refused.status == 403,
        "{}",
        text(&refused.body)
    );

    // The second account: with a token from the command line, and no administrator.
    let token = site.command_json(&["token", "create", "--uses", "1"], "")["token"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut bob = server.client();
    assert_eq!(
        bob.register("bob", "battery staple", &token).ok()["user_id"],
        "@bob:localhost"
    );
    let users = site.command_json(&["user", "list"], "");
    assert_eq!(users["users"][1]["admin"], false);

    assert_eq!(
        server.client().log_in("bob", "wrong").refusal(),
        (403, "M_FORBIDDEN".to_owned())
    );
    assert_eq!(
        server.client().log_in("bob", "battery staple").ok()["user_id"],
        "@bob:localhost"
    );
    server.stop();
    assert_eq!(site.start().first_token(), None);
}

#[test]
fn embedded_defaults_need_no_configuration() {
    // The port is the embedded one: only when nobody else has it.
    if std::net::TcpListener::bind(("127.0.0.1", 8448)).is_err() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let server = match Server::start(folder.path(), &["serve"]) {
        Ok(server) => server,
        Err(log) if log.contains("Address already in use") => return,
        Err(log) => panic!("{log}"),
    };
    assert_eq!(server.urls, ["https://localhost:8448"]);
    assert!(folder.path().join("lamchat-data/tls/ca.pem").exists());
    assert_eq!(server.client().get("/_matrix/client/versions").status, 200);
    server.stop();
}

#[test]
fn restarting_keeps_everything() {
    let site = Site::new();
    let server = site.start();
    let mut alice = server.account("alice");
    let room = alice
        .post("/_matrix/client/v3/createRoom", &json!({"name": "Kitchen"}))
        .ok();
    let room = room["room_id"].as_str().unwrap().to_owned();
    let event = alice.put(
        &format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/one"),
        &json!({"msgtype": "m.text", "body": "kept"}),
    );
    let event = event.ok()["event_id"].as_str().unwrap().to_owned();
    let token = alice.token.clone();
    server.stop();
    for kill in [true, false] {
        // The first round ends by kill -9, the second well.
        let server = site.start();
        let mut alice = server.plain_client();
        alice.token.clone_from(&token);
        let got = alice
            .get(&format!("/_matrix/client/v3/rooms/{room}/event/{event}"))
            .ok();
        assert_eq!(got["content"]["body"], "kept");
        let again = alice.put(
            &format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/one"),
            &json!({"msgtype": "m.text", "body": "kept"}),
        );
        assert_eq!(
            again.ok()["event_id"],
            event.as_str(),
            "a transaction id sends once, across restarts"
        );
        if kill { server.kill() } else { server.stop() }
    }
}
