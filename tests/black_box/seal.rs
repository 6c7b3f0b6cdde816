//! Recovery keys, and a start that waits to be unlocked.

use crate::harness::{Site, text};
use serde_json::Value;
use std::time::{Duration, Instant};

/// A recovery slot made on the running server: its key.
fn recovery_key(site: &Site) -> String {
    let made = site.command_json(&["seal", "add-recovery"], "");
    made["recovery_key"].as_str().unwrap().to_owned()
}

/// The slot of this kind.
fn slot<'a>(status: &'a Value, kind: &str) -> &'a Value {
    let mut slots = status["slots"].as_array().unwrap().iter();
    slots.find(|slot| slot["kind"] == kind).unwrap()
}

/// The key with its third block mistyped.
fn mistyped(key: &str) -> String {
    let mut blocks: Vec<String> = key.split(' ').map(str::to_owned).collect();
    let last = blocks[2].pop().unwrap().to_digit(10).unwrap();
    blocks[2].push_str(&((last + 1) % 10).to_string());
    blocks.join("-")
}

#[test]
fn a_recovery_key_is_shown_once_typed_back_and_opens_backups() {
    let site = Site::new();
    let server = site.start();
    assert!(server.greeting.contains("no TPM is used"), "{}", server.greeting);
    let status = site.command_json(&["seal", "status"], "");
    assert_eq!(
        (&status["tpm"]["present"], &status["hardware_sealed"]),
        (&false.into(), &false.into())
    );
    let health = site.command_json(&["health"], "");
    assert_eq!(
        (&health["tpm"]["present"], &health["hardware_sealed"]),
        (&false.into(), &false.into())
    );
    assert!(
        health["tpm"]["sentence"].as_str().unwrap().contains("no TPM is used"),
        "{health}"
    );
    let told = text(&server.client().get("/health").body);
    assert_eq!(told, "OK\nkeys: not hardware-sealed\n");
    let printed = site.command(&["seal", "add-recovery"], "");
    let printed = text(&printed.stdout);
    assert!(
        printed.contains("verify-recovery") && printed.contains('\u{2588}'),
        "{printed}"
    );
    let other = site.command_json(&["seal", "status"], "");
    let removed = site.command(&["seal", "remove", &slot(&other, "recovery")["id"].to_string()], "");
    assert!(removed.status.success());

    let key = recovery_key(&site);
    let status = site.command_json(&["keyring", "list"], "");
    assert!(slot(&status, "recovery")["verified_ms"].is_null());
    assert!(status.get("recovery_key").is_none(), "shown once");
    let typo = site.command(&["seal", "verify-recovery"], &format!("{}\n", mistyped(&key)));
    assert_eq!(typo.status.code(), Some(1));
    assert!(text(&typo.stderr).contains("Block 3"), "{}", text(&typo.stderr));
    // Another well-formed key: wrong, and then the next try has to wait. A typing error costs nothing.
    let foreign = "000012 005157 010293 015432 020572 025710 030853 035993\n";
    let wrong = site.command(&["seal", "verify-recovery"], foreign);
    assert!(
        text(&wrong.stderr).contains("not the recovery key"),
        "{}",
        text(&wrong.stderr)
    );
    let slowed = site.command(&["seal", "verify-recovery"], &format!("{key}\n"));
    assert!(
        text(&slowed.stderr).contains("may be tried in 1 s"),
        "{}",
        text(&slowed.stderr)
    );
    std::thread::sleep(Duration::from_millis(1100));
    let verified = site.command_json(&["seal", "verify-recovery"], &format!("{}\n", key.replace(' ', "")));
    assert!(slot(&verified, "recovery")["verified_ms"].as_u64().unwrap() > 0);

    // Nothing to seal to, and nothing to unlock.
    for (arguments, part) in [
        (&["seal", "init"][..], "no TPM is used"),
        (&["seal", "rebind", "1"], "no TPM is used"),
    ] {
        let refused = site.command(arguments, "");
        assert!(text(&refused.stderr).contains(part), "{}", text(&refused.stderr));
    }
    let open = site.command(&["seal", "unlock"], &format!("{key}\n"));
    assert!(text(&open.stderr).contains("open already"), "{}", text(&open.stderr));
    let metrics = text(&server.plain_client().get("/metrics").body);
    for line in [
        "seal_hardware_sealed 0",
        "seal_tpm_present 0",
        "seal_recovery_unverified 0",
    ] {
        assert!(metrics.contains(line), "{line} is missing in {metrics}");
    }

    assert!(site.command(&["backup", "create", "backup"], "").status.success());
    site.command_json(&["backup", "verify", "backup"], &format!("{key}\n"));
    let typo = site.command(&["backup", "verify", "backup"], &format!("{}\n", mistyped(&key)));
    assert!(text(&typo.stderr).contains("block 3"), "{}", text(&typo.stderr));
    server.stop();
}

#[test]
fn a_server_whose_keys_do_not_open_waits_to_be_unlocked() {
    let site = Site::new();
    let server = site.start();
    let key = recovery_key(&site);
    let status = site.command_json(&["seal", "status"], "");
    let file = slot(&status, "file")["id"].to_string();
    assert!(
        site.command(&["seal", "remove", &file], &format!("{key}\n"))
            .status
            .success()
    );
    server.stop();

    // A signal ends the waiting well.
    site.start_locked().stop();

    let server = site.start_locked();
    let health = site.command(&["health", "--json"], "");
    assert_eq!(health.status.code(), Some(1));
    let health: Value = serde_json::from_slice(&health.stdout).unwrap();
    assert_eq!(health["state"], "locked");
    assert!(
        health["reason"]
            .as_str()
            .unwrap()
            .contains("no slot that opens by itself"),
        "{health}"
    );
    let health = text(&site.command(&["health"], "").stderr);
    assert!(health.contains("lamchat seal unlock"), "{health}");
    let status = site.command_json(&["seal", "status"], "");
    assert_eq!(
        (&status["state"], slot(&status, "recovery")["kind"].as_str()),
        (&"locked".into(), Some("recovery"))
    );
    let users = site.command(&["user", "list"], "");
    assert!(text(&users.stderr).contains("locked"), "{}", text(&users.stderr));
    server.signal("HUP");
    let second = site.command(&[], "");
    assert_eq!(second.status.code(), Some(1));
    assert!(
        text(&second.stderr).contains("another lamchat"),
        "{}",
        text(&second.stderr)
    );

    // Typing errors are free; a wrong key is slowed down.
    let typo = site.command(&["seal", "unlock"], &format!("{}\n", mistyped(&key)));
    assert!(text(&typo.stderr).contains("Block 3"), "{}", text(&typo.stderr));
    let foreign = site.command(
        &["seal", "unlock"],
        "000012 005157 010293 015432 020572 025710 030853 035993\n",
    );
    assert!(
        text(&foreign.stderr).contains("not the recovery key"),
        "{}",
        text(&foreign.stderr)
    );
    let began = Instant::now();
    let slowed = site.command(&["seal", "unlock"], &format!("{key}\n"));
    assert!(
        text(&slowed.stderr).contains("nothing is lost by waiting"),
        "{}",
        text(&slowed.stderr)
    );
    std::thread::sleep(Duration::from_millis(1100).saturating_sub(began.elapsed()));
    let unlocked = site.command_json(&["seal", "unlock"], &format!("{key}\n"));
    assert_eq!(unlocked["by"], "recovery key");
    server.wait_for_log("running");
    assert_eq!(site.command_json(&["health"], "")["state"], "running");
    // proc_pid_status(5): the pages that hold the keys are locked.
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    let locked: u64 = locked.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(
        locked >= 20,
        "four pages of keys and the database's cipher: {locked} kB"
    );
    let second = site.command(&[], "");
    assert!(
        text(&second.stderr).contains("another lamchat"),
        "{}",
        text(&second.stderr)
    );
    server.stop();
}
