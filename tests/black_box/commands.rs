//! Commands against a running server, and without one.

use crate::harness::{Site, lamchat, text};
use serde_json::{Value, json};

#[test]
fn version_names_commit_and_profile() {
    let folder = tempfile::tempdir().unwrap();
    let output = lamchat(folder.path(), &["--version"], "");
    assert!(output.status.success());
    let version = text(&output.stdout);
    assert!(
        version.starts_with(concat!("lamchat ", env!("CARGO_PKG_VERSION"), " (commit ")),
        "{version}"
    );
    assert!(version.contains("debug") || version.contains("release"), "{version}");
}

#[test]
fn exit_codes_are_0_1_and_2() {
    let folder = tempfile::tempdir().unwrap();
    let code = |arguments: &[&str]| lamchat(folder.path(), arguments, "").status.code().unwrap();
    for helpful in [
        ["--help"].as_slice(),
        &["serve", "--help"],
        &["user", "add", "--help"],
        &["help", "token"],
        &["config", "example"],
    ] {
        assert_eq!(code(helpful), 0, "{helpful:?}");
    }
    for failing in [
        ["user", "list"].as_slice(),
        &["health"],
        &["config", "check", "none"],
        &["backup", "create", "b"],
    ] {
        assert_eq!(code(failing), 1, "{failing:?}");
    }
    for wrong in [
        [].as_slice(),
        &["nonsense"],
        &["user"],
        &["user", "add"],
        &["serve", "--port", "1"],
        &["token", "create", "--uses", "x"],
    ] {
        assert_eq!(code(wrong), 2, "{wrong:?}");
    }
}

#[test]
fn without_a_server_commands_say_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let output = lamchat(folder.path(), &["user", "list"], "");
    let error = text(&output.stderr);
    assert!(error.contains("lamchat serve") && error.contains("--socket"), "{error}");
    // A socket that a killed server left behind.
    let site = Site::new();
    site.start().kill();
    let output = site.command(&["health"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("not running"), "{}", text(&output.stderr));
}

#[test]
fn users_are_made_and_changed() {
    let site = Site::new();
    let server = site.start();
    let made = site.command_json(
        &["user", "add", "Alice", "--admin", "--display-name", "Alice A."],
        "first password\n",
    );
    assert_eq!(made, json!({"user_id": "@alice:localhost", "admin": true}));
    let mut alice = server.client();
    let session = alice.log_in("alice", "first password").ok();
    alice.token = Some(session["access_token"].as_str().unwrap().to_owned());
    let profile = alice.get("/_matrix/client/v3/profile/@alice:localhost").ok();
    assert_eq!(profile["displayname"], "Alice A.");

    // A new password ends all sessions.
    let output = site.command(&["user", "passwd", "@alice:localhost"], "second password\n");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(
        alice.get("/_matrix/client/v3/account/whoami").refusal(),
        (401, "M_UNKNOWN_TOKEN".to_owned())
    );
    alice.token = None;
    assert_eq!(alice.log_in("alice", "first password").status, 403);
    assert_eq!(alice.log_in("alice", "second password").status, 200);

    site.command_json(&["user", "admin", "alice", "--remove"], "");
    assert_eq!(site.command_json(&["user", "list"], "")["users"][0]["admin"], false);

    // Deactivated: no login, and its rooms are left.
    let mut bob = server.account("bob");
    let room = bob
        .post("/_matrix/client/v3/createRoom", &json!({"preset": "public_chat"}))
        .ok();
    let room = room["room_id"].as_str().unwrap().to_owned();
    let session = alice.log_in("alice", "second password").ok();
    alice.token = Some(session["access_token"].as_str().unwrap().to_owned());
    assert_eq!(
        alice
            .post(&format!("/_matrix/client/v3/join/{room}"), &json!({}))
            .status,
        200
    );
    let pusher = json!({
        "pushkey": "k", "kind": "http", "app_id": "app", "app_display_name": "App", "device_display_name": "Phone",
        "lang": "en", "data": {"url": "https://push.example.org/_matrix/push/v1/notify"}
    });
    alice.post("/_matrix/client/v3/pushers/set", &pusher).ok();
    let pushers = alice.get("/_matrix/client/v3/pushers").ok();
    assert_eq!(pushers["pushers"][0]["pushkey"], "k", "{pushers}");
    site.command_json(&["user", "deactivate", "alice"], "");
    assert_eq!(alice.get("/_matrix/client/v3/account/whoami").status, 401);
    alice.token = None;
    assert_eq!(alice.log_in("alice", "second password").status, 403);
    let members = bob.get(&format!("/_matrix/client/v3/rooms/{room}/joined_members")).ok();
    assert!(members["joined"]["@alice:localhost"].is_null(), "{members}");
    let output = site.command(&["user", "passwd", "alice"], "x\n");
    assert!(text(&output.stderr).contains("reactivate"), "{}", text(&output.stderr));
    site.command_json(&["user", "reactivate", "alice"], "third password\n");
    let back = alice.log_in("alice", "third password").ok();
    alice.token = back["access_token"].as_str().map(str::to_owned);
    let pushers = alice.get("/_matrix/client/v3/pushers").ok();
    assert_eq!(
        pushers["pushers"],
        json!([]),
        "a device that is gone is pushed to no more"
    );

    let failing = [
        (["user", "add", "alice"].as_slice(), "taken"),
        (&["user", "add", "not allowed"], "user name"),
        (&["user", "passwd", "nobody"], "user list"),
        (&["user", "admin", "@alice:elsewhere.example"], "another server"),
    ];
    for (arguments, part) in failing {
        let output = site.command(arguments, "some password\n");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(
            text(&output.stderr).contains(part),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
    }
    let output = site.command(&["user", "add", "carol"], "");
    assert!(text(&output.stderr).contains("empty"), "{}", text(&output.stderr));
    let list = text(&site.command(&["user", "list"], "").stdout);
    assert!(
        list.contains("@alice:localhost") && list.contains("@bob:localhost"),
        "{list}"
    );
}

#[test]
fn tokens_are_made_used_up_and_revoked() {
    let site = Site::new();
    let server = site.start();
    let token = site.command_json(
        &[
            "token",
            "create",
            "--uses",
            "1",
            "--valid-for",
            "1h",
            "--token",
            "door.1",
        ],
        "",
    );
    assert_eq!(token["token"], "door.1");
    assert_eq!(server.client().register("alice", "some password", "door.1").status, 200);
    assert_eq!(server.client().register("bob", "some password", "door.1").status, 401);
    let listed = site.command_json(&["token", "list"], "");
    let door = listed["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .find(|token| token["token"] == "door.1")
        .unwrap()
        .clone();
    assert_eq!((&door["completed"], &door["valid"]), (&json!(1), &json!(false)));
    let revoked = text(&site.command(&["token", "create"], "").stdout).trim().to_owned();
    assert!(site.command(&["token", "revoke", &revoked], "").status.success());
    assert_eq!(server.client().register("bob", "some password", &revoked).status, 401);
    let output = site.command(&["token", "revoke", &revoked], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("no such registration token"),
        "{}",
        text(&output.stderr)
    );
    assert!(
        !site
            .command(&["token", "create", "--token", "two words"], "")
            .status
            .success()
    );
}

#[test]
fn health_answers() {
    let site = Site::new();
    let server = site.start();
    let health = site.command_json(&["health"], "");
    assert_eq!(health["server_name"], "localhost");
    assert!(text(&site.command(&["health"], "").stdout).contains("is well"));
    // Every machine has memory of which something can be said, and nobody's sensors are asked twice at once.
    let deadline = std::time::Instant::now() + crate::harness::PATIENCE;
    while site.command_json(&["health"], "")["hardware"]["state"] == "unknown" {
        assert!(std::time::Instant::now() < deadline, "the hardware is never read");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let said = text(&site.command(&["health", "--verbose"], "").stdout);
    assert!(
        said.contains("the hardware is ") && said.contains("\n  memory "),
        "{said}"
    );
    let metrics = text(&server.plain_client().get("/metrics").body);
    assert!(metrics.contains("hardware_state{part=\"memory\""), "{metrics}");
    server.stop();
    let here = site.command_json(&["health", "--here"], "");
    assert!(here["readings"].as_array().unwrap().len() > 1, "{here}");
    // What this machine is fit for depends on it: its answers and the exit code are one.
    let qualified = site.command(&["health", "--here", "--qualify", "--json"], "");
    let list: Value = serde_json::from_slice(&qualified.stdout).unwrap();
    let checks = list["checks"].as_array().unwrap();
    assert!(checks.len() > 10, "{list}");
    let missing = checks
        .iter()
        .any(|check| check["needed"] == "must" && check["found"] == "no");
    assert_eq!(
        (list["unfit"].as_bool(), qualified.status.success()),
        (Some(missing), !missing)
    );
    assert_eq!(site.command(&["health", "--qualify"], "").status.code(), Some(2));
}

#[test]
fn a_backup_needs_a_passphrase_and_restores_everything() {
    let site = Site::new();
    let server = site.start();
    let mut alice = server.account("alice");
    let room = alice.post("/_matrix/client/v3/createRoom", &json!({})).ok()["room_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let event = json!({"msgtype": "m.text", "body": "in the backup"});
    let event = alice
        .put(
            &format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/1"),
            &event,
        )
        .ok();
    let event = event["event_id"].as_str().unwrap().to_owned();

    let refused = site.command(&["backup", "create", "backup"], "");
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("add-passphrase"),
        "{}",
        text(&refused.stderr)
    );
    assert!(!site.path("backup").exists());
    assert!(!site.command(&["keyring", "add-passphrase"], "short\n").status.success());
    let slots = site.command_json(&["keyring", "add-passphrase"], "a long enough passphrase\n");
    assert_eq!(slots["slots"].as_array().unwrap().len(), 2);
    let made = site.command(&["backup", "create", "backup"], "");
    assert!(made.status.success(), "{}", text(&made.stderr));
    assert!(
        !site
            .command(&["backup", "verify", "backup"], "another passphrase\n")
            .status
            .success()
    );
    let verified = site.command_json(&["backup", "verify", "backup"], "a long enough passphrase\n");
    assert_eq!(verified["server_name"], "localhost");
    let token = alice.token.clone();
    server.stop();

    let busy = site.command(&["restore", "backup"], "a long enough passphrase\n");
    assert!(text(&busy.stderr).contains("not empty"), "{}", text(&busy.stderr));
    std::fs::rename(site.path("data"), site.path("old")).unwrap();
    let restored = site.command(&["restore", "backup"], "a long enough passphrase\n");
    assert!(restored.status.success(), "{}", text(&restored.stderr));
    let server = site.start();
    let mut alice = server.plain_client();
    alice.token = token;
    let got = alice
        .get(&format!("/_matrix/client/v3/rooms/{room}/event/{event}"))
        .ok();
    assert_eq!(got["content"]["body"], "in the backup");
    // The audit log came along and goes on as another one.
    let log = site.command_json(&["audit", "show"], "");
    let acts: Vec<&str> = log["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["act"].as_str().unwrap())
        .collect();
    assert_eq!(
        acts[acts.len() - 3..],
        ["backup.create", "backup.restored", "server.start"]
    );
    assert!(site.command(&["audit", "export", "log"], "").status.success());
    let verdict = site.command_json(&["audit", "verify", "log"], "");
    assert_eq!(verdict["size"].as_u64().unwrap(), acts.len() as u64);

    // The file slot can go once a passphrase is there; the last slot cannot.
    let slots = site.command_json(&["keyring", "list"], "");
    let file = slots["slots"]
        .as_array()
        .unwrap()
        .iter()
        .find(|slot| slot["kind"] == "file")
        .unwrap()["id"]
        .to_string();
    let other = slots["slots"]
        .as_array()
        .unwrap()
        .iter()
        .find(|slot| slot["kind"] != "file")
        .unwrap()["id"]
        .to_string();
    let removed = site.command(&["keyring", "remove", &file], "a long enough passphrase\n");
    assert!(removed.status.success(), "{}", text(&removed.stderr));
    let last = site.command(&["keyring", "remove", &other], "");
    assert!(text(&last.stderr).contains("last slot"), "{}", text(&last.stderr));
    server.stop();
    site.start_locked().stop();
    std::fs::write(site.path("passphrase"), "a long enough passphrase\n").unwrap();
    site.configure(&format!(
        "{}\n[seal]\npassphrase_file = \"passphrase\"\n",
        crate::harness::CONFIG
    ));
    site.start().stop();
}
