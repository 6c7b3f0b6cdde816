//! Reports, suspensions, locks and deleted uploads, by the command line of a running server.

use crate::harness::{Site, text};
use serde_json::json;

#[test]
fn what_users_report_is_shown_and_closed() {
    let site = Site::new();
    let server = site.start();
    let (mut alice, mut bob) = (server.account("alice"), server.account("bob"));
    let room = alice
        .post("/_matrix/client/v3/createRoom", &json!({"preset": "public_chat"}))
        .ok();
    let room = room["room_id"].as_str().unwrap().to_owned();
    let message = json!({"msgtype": "m.text", "body": "rude words"});
    let send = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/1");
    let event = alice.put(&send, &message).ok()["event_id"].as_str().unwrap().to_owned();
    bob.post(&format!("/_matrix/client/v3/rooms/{room}/join"), &json!({}))
        .ok();
    let reason = json!({"reason": "rude\u{1b}[2J"});
    bob.post(&format!("/_matrix/client/v3/rooms/{room}/report/{event}"), &reason)
        .ok();
    bob.post("/_matrix/client/v3/users/@alice:localhost/report", &reason)
        .ok();

    let listed = site.command_json(&["report", "list"], "");
    let reports = listed["reports"].as_array().unwrap();
    assert_eq!(reports.len(), 2);
    assert_eq!(
        (&reports[0]["reporter"], &reports[0]["sender"], &reports[1]["user_id"]),
        (
            &json!("@bob:localhost"),
            &json!("@alice:localhost"),
            &json!("@alice:localhost")
        )
    );
    let shown = site.command_json(&["report", "show", "1"], "");
    assert_eq!(shown["event"]["content"]["body"], "rude words");
    let plain = text(&site.command(&["report", "list"], "").stdout);
    assert!(plain.contains("@bob:localhost") && !plain.contains('\u{1b}'), "{plain}");
    let plain = text(&site.command(&["report", "show", "1"], "").stdout);
    assert!(plain.contains("rude words") && !plain.contains('\u{1b}'), "{plain}");

    site.command_json(&["report", "close", "1"], "");
    assert_eq!(site.command(&["report", "close", "1"], "").status.code(), Some(1));
    let listed = site.command_json(&["report", "list"], "");
    assert_eq!(listed["reports"].as_array().unwrap().len(), 1);
    let audit = site.command_json(&["audit", "show"], "");
    let entries = audit["entries"].as_array().unwrap();
    let closed: Vec<_> = entries.iter().filter(|entry| entry["act"] == "report.close").collect();
    assert_eq!(closed.len(), 1);
    assert!(!closed[0].to_string().contains("@alice:localhost"), "{}", closed[0]);
}

#[test]
fn accounts_are_suspended_and_locked() {
    let site = Site::new();
    let server = site.start();
    let mut alice = server.account("alice");
    let whoami = "/_matrix/client/v3/account/whoami";
    let create = "/_matrix/client/v3/createRoom";
    let suspended = (403, "M_USER_SUSPENDED".to_owned());
    let locked = (401, "M_USER_LOCKED".to_owned());
    site.command_json(&["user", "suspend", "alice"], "");
    assert_eq!(alice.post(create, &json!({})).refusal(), suspended);
    assert_eq!(alice.get(whoami).status, 200);
    site.command_json(&["user", "lock", "@alice:localhost"], "");
    assert_eq!(alice.get(whoami).refusal(), locked);
    let list = text(&site.command(&["user", "list"], "").stdout);
    assert!(list.contains("locked, suspended"), "{list}");
    site.command_json(&["user", "unlock", "alice"], "");
    assert_eq!(alice.post(create, &json!({})).refusal(), suspended);
    site.command_json(&["user", "unsuspend", "alice"], "");
    assert_eq!(alice.post(create, &json!({})).status, 200);
    let output = site.command(&["user", "lock", "nobody"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("user list"), "{}", text(&output.stderr));
}

#[test]
fn uploads_are_deleted_and_erased() {
    let site = Site::new();
    let server = site.start();
    let mut alice = server.account("alice");
    let mut upload = |size: usize| {
        let reply = alice.send("POST", "/_matrix/media/v3/upload", &[], &vec![7; size]);
        reply.unwrap().ok()["content_uri"].as_str().unwrap().to_owned()
    };
    let (one, two, three) = (upload(1_000), upload(600_000), upload(5));
    let listed = site.command_json(&["media", "list", "--user", "alice"], "");
    assert_eq!(listed["uploads"].as_array().unwrap().len(), 3);
    let files = || std::fs::read_dir(site.path("data/media/files")).unwrap().count();
    assert_eq!(files(), 1);
    site.command_json(&["media", "delete", &two, &one], "");
    assert_eq!(files(), 0);
    let download = |mxc: &str| format!("/_matrix/client/v1/media/download/{}", &mxc["mxc://".len()..]);
    for gone in [&one, &two] {
        assert_eq!(alice.get(&download(gone)).refusal(), (404, "M_NOT_FOUND".to_owned()));
    }
    assert_eq!(alice.get(&download(&three)).status, 200);
    assert_eq!(site.command(&["media", "delete", &one], "").status.code(), Some(1));
    assert_eq!(site.command(&["media", "delete"], "").status.code(), Some(2));
    let output = text(&site.command(&["media", "delete", "--user", "alice"], "").stdout);
    assert!(output.contains("1 uploads with 5 bytes"), "{output}");
    assert_eq!(alice.get(&download(&three)).status, 404);
}
