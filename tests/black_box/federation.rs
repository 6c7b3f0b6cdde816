//! Other servers are let in only where losing the TPM does not lose everything.

use crate::harness::{CONFIG, PATIENCE, Server, Site, text};
use crate::tpm::{Swtpm, slot, status};
use serde_json::Value;
use std::time::{Duration, Instant};

const USER_INFO: &str = "/_matrix/federation/v1/openid/userinfo";
const KEYS: &str = "/_matrix/key/v2/server";
/// Not built yet.
const QUERY: &str = "/_matrix/key/v2/query/example.org";
const WELL_KNOWN: &str = "/.well-known/matrix/server";

/// The status and errcode of what other servers ask, of a route that there is and of one that there is not.
fn asked(server: &Server) -> [(u16, String); 2] {
    let mut client = server.client();
    [USER_INFO, QUERY].map(|path| client.get(path).refusal())
}

fn refusals(statuses: [(u16, &str); 2]) -> [(u16, String); 2] {
    statuses.map(|(status, errcode)| (status, errcode.to_owned()))
}

/// As it is where a listener offers it: the one asks for a token, the other is not built yet.
fn on() -> [(u16, String); 2] {
    refusals([(400, "M_MISSING_PARAM"), (404, "M_UNRECOGNIZED")])
}

fn shut() -> [(u16, String); 2] {
    refusals([(403, "M_FORBIDDEN"), (403, "M_FORBIDDEN")])
}

fn absent() -> [(u16, String); 2] {
    refusals([(404, "M_UNRECOGNIZED"), (404, "M_UNRECOGNIZED")])
}

/// What everything says of it that says anything.
fn said(site: &Site, server: &Server) -> (String, u16) {
    let (status, health) = (status(site), site.command_json(&["health"], ""));
    assert_eq!(status["federation"], health["federation"]);
    let sentence = status["federation"]["sentence"].as_str().unwrap().to_owned();
    for command in [&["seal", "status"][..], &["health"]] {
        let printed = text(&site.command(command, "").stdout);
        assert!(printed.contains(&sentence), "{printed}");
    }
    let metrics = text(&server.plain_client().get("/metrics").body);
    let on = u16::from(status["federation"]["on"] == Value::Bool(true));
    assert!(metrics.contains(&format!("federation_on {on}\n")), "{metrics}");
    let awaits = u16::from(metrics.contains("federation_awaits_recovery_key 1\n"));
    let state = status["federation"]["state"].as_str().unwrap().to_owned();
    (state, awaits)
}

fn ok(site: &Site, arguments: &[&str], input: &str) -> String {
    let output = site.command(arguments, input);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Something that follows shortly.
fn within(mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "it does not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn federation_waits_for_the_recovery_key_where_a_tpm_has_the_keys() {
    let tpm = Swtpm::new();
    let site = Site::with(&tpm.config());
    let server = site.start();
    // Without a slot of the TPM's nothing is different from before.
    assert!(
        server.greeting.contains("Federation    federation is on"),
        "{}",
        server.greeting
    );
    assert_eq!(asked(&server), on());
    assert_eq!(server.client().get(KEYS).status, 200);
    assert_eq!(said(&site, &server), ("on".to_owned(), 0));

    // The slot closes it, and whoever adds it is told so.
    let sealed = ok(&site, &["seal", "init", "--force"], "");
    assert!(sealed.contains("THIS HAS SWITCHED FEDERATION OFF"), "{sealed}");
    assert!(sealed.contains("lamchat seal verify-recovery"), "{sealed}");
    assert_eq!(asked(&server), shut());
    assert_eq!(server.client().get(KEYS).refusal(), shut()[1]);
    assert_eq!(said(&site, &server), ("unverified".to_owned(), 1));
    let refusal = server.client().get(USER_INFO).json();
    let message = refusal["error"].as_str().unwrap();
    assert!(message.contains("lamchat seal verify-recovery"), "{message}");
    // Nobody else is turned away.
    assert_eq!(server.client().get("/_matrix/client/versions").status, 200);

    // A key that nobody typed back is none.
    let made = site.command_json(&["seal", "add-recovery"], "");
    let key = made["recovery_key"].as_str().unwrap().to_owned();
    assert_eq!(asked(&server), shut());
    server.stop();
    let server = site.start();
    assert!(
        server.greeting.contains("Federation    federation is off"),
        "{}",
        server.greeting
    );
    assert_eq!(asked(&server), shut());

    // It comes on by itself.
    let verified = ok(&site, &["seal", "verify-recovery"], &format!("{key}\n"));
    assert!(verified.contains("This has switched federation on"), "{verified}");
    within(|| asked(&server) == on());
    assert_eq!(said(&site, &server), ("on".to_owned(), 0));
    server.stop();
    let server = site.start();
    assert_eq!(asked(&server), on());

    // It goes with the slot, and with the TPM's slot it is no question any more.
    let recovery = slot(&status(&site), "recovery");
    let removed = ok(&site, &["seal", "remove", &recovery], "");
    assert!(removed.contains("THIS HAS SWITCHED FEDERATION OFF"), "{removed}");
    assert_eq!(asked(&server), shut());
    site.command_json(&["seal", "add-recovery"], "");
    assert_eq!(asked(&server), shut());
    ok(&site, &["seal", "remove", &slot(&status(&site), "tpm")], "");
    assert_eq!(asked(&server), on());
    server.stop();
}

#[test]
fn a_reload_does_not_switch_federation_on_before_the_recovery_key_was_typed_back() {
    let tpm = Swtpm::new();
    let config = |enabled: bool, level: &str| {
        format!(
            "public_baseurl = \"https://chat.example.org/\"\n{}\n[federation]\nenabled = {enabled}\n\n[log]\nlevel = {level:?}\n",
            tpm.config()
        )
    };
    let site = Site::with(&config(false, "info"));
    let server = site.start();
    assert_eq!(asked(&server), absent());
    assert_eq!(server.client().get(WELL_KNOWN).status, 404);
    assert_eq!(said(&site, &server), ("disabled".to_owned(), 0));
    let made = site.command_json(&["seal", "add-recovery"], "");
    let key = made["recovery_key"].as_str().unwrap().to_owned();
    ok(&site, &["seal", "init", "--force"], "");
    assert_eq!(said(&site, &server), ("disabled".to_owned(), 1));

    // Refused as a whole, with what to do.
    site.configure(&config(true, "debug"));
    server.signal("HUP");
    let line = server.wait_for_log("not reloaded");
    assert!(
        line.contains("federation cannot be switched on") && line.contains("lamchat seal verify-recovery"),
        "{line}"
    );
    assert_eq!(asked(&server), absent());
    let log = site.command_json(&["audit", "show", "--limit", "100"], "").to_string();
    assert!(!log.contains("config.reload"), "{log}");

    // A start is not refused: it is off there.
    server.stop();
    let server = site.start();
    assert_eq!(asked(&server), shut());
    site.configure(&config(false, "info"));
    server.signal("HUP");
    server.wait_for_log("the configuration was reloaded");
    assert_eq!(asked(&server), absent());
    ok(&site, &["seal", "verify-recovery"], &format!("{key}\n"));
    assert_eq!(asked(&server), absent());
    site.configure(&config(true, "info"));
    server.signal("HUP");
    server.wait_for_log("the configuration was reloaded");
    assert_eq!(asked(&server), on());
    assert_eq!(
        server.client().get(WELL_KNOWN).json()["m.server"],
        "chat.example.org:443"
    );
    server.stop();
}

#[test]
fn without_the_resource_there_is_no_federation_to_switch_on() {
    let site = Site::with(&CONFIG.replace(", \"federation\"", ""));
    let server = site.start();
    assert_eq!(asked(&server), absent());
    assert_eq!(said(&site, &server), ("not-offered".to_owned(), 0));
    server.stop();
}
