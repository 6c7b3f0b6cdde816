//! What a TPM remembers of the audit log and the database: its key signs, and an older disk is noticed.

use crate::harness::{Server, Site, lamchat, text};
use crate::tpm::{Swtpm, copy, opens, rebind, recovers, recovers_older, sealed, slot, status};
use ruma::CanonicalJsonObject;
use ruma::serde::Base64;
use ruma::signatures::verify_json;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Waits until the log's state is as wished.
fn wait_until(site: &Site, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let log = site.command_json(&["audit", "show", "--limit", "200"], "");
        if is(&log) {
            return log;
        }
        assert!(Instant::now() < until, "{what}: {log}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn all_signed(log: &Value) -> bool {
    log["size"] == log["signed"] && log["trouble"].is_null()
}

fn is_signed_by(log: &Value, kind: &str) -> bool {
    log["key_kind"] == kind && all_signed(log)
}

/// Waits until a critical act is anchored.
fn anchor_now(site: &Site, name: &str) {
    let before = site.command_json(&["audit", "show"], "")["anchor"]["commit"].clone();
    site.command_json(&["user", "add", name], "a long password\n");
    site.command_json(&["user", "admin", name], "");
    wait_until(site, "anchored", |log| {
        let commit = &log["anchor"]["commit"];
        commit.is_u64() && *commit != before
    });
}

fn acts(site: &Site) -> Vec<String> {
    let log = site.command_json(&["audit", "show", "--limit", "500"], "");
    let entries = log["entries"].as_array().unwrap().iter();
    entries.map(|entry| entry["act"].as_str().unwrap().to_owned()).collect()
}

fn export(site: &Site, name: &str) {
    site.command_json(&["audit", "export", name], "");
}

fn verify(site: &Site, arguments: &[&str]) -> (bool, String) {
    let arguments = [&["audit", "verify", "--json"], arguments].concat();
    let output = lamchat(site.path("").as_path(), &arguments, "");
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn the_log_is_signed_by_the_tpm_and_an_auditor_can_follow() {
    let mut tpm = Swtpm::new();
    let site = Site::with(&tpm.config());
    let server = site.start();
    let log = wait_until(&site, "signed", |log| is_signed_by(log, "software key"));
    let software = log["key"].as_str().unwrap().to_owned();
    site.command_json(&["seal", "add-recovery"], "");
    site.command_json(&["seal", "init", "--force"], "");
    let log = wait_until(&site, "moved", |log| is_signed_by(log, "TPM key"));
    let hardware = log["key"].as_str().unwrap().to_owned();
    assert_ne!(software, hardware);
    export(&site, "moved");
    for key in [&software, &hardware] {
        let (good, said) = verify(&site, &["moved", "--key", key]);
        assert!(good, "{said}");
    }

    // Without its TPM the log grows, and says that it waits.
    tpm.stop();
    site.command_json(&["user", "add", "bob"], "a long password\n");
    let log = wait_until(&site, "waiting", |log| !log["trouble"].is_null());
    assert!(log["size"].as_u64() > log["signed"].as_u64(), "{log}");
    let sentence = log["trouble"]["sentence"].as_str().unwrap();
    assert!(sentence.contains("there is no TPM at"), "{sentence}");
    let health = text(&site.command(&["health"], "").stdout);
    assert!(health.contains("audit log: "), "{health}");
    let metrics = text(&server.plain_client().get("/metrics").body);
    assert!(metrics.contains("audit_signing_waits 1"), "{metrics}");
    export(&site, "waiting");
    let (good, said) = verify(&site, &["waiting", "--key", &hardware]);
    assert!(good, "{said}");
    tpm.start();
    wait_until(&site, "signed again", |log| is_signed_by(log, "TPM key"));
    server.stop();
    let server = site.start();
    wait_until(&site, "signed after a restart", |log| is_signed_by(log, "TPM key"));

    // Back, as long as the TPM answers.
    assert_eq!(tpm.anchors().len(), 1);
    let removed = site.command(&["seal", "remove", &slot(&status(&site), "tpm")], "");
    assert!(removed.status.success(), "{}", text(&removed.stderr));
    assert_eq!(tpm.anchors().len(), 0);
    wait_until(&site, "back", |log| is_signed_by(log, "software key"));
    export(&site, "back");
    for key in [&software, &hardware] {
        let (good, said) = verify(&site, &["back", "--key", key, "--previous", "moved"]);
        assert!(good && !said.contains("\"vouched\":false"), "{said}");
    }
    server.stop();
}

#[test]
fn an_older_disk_opens_by_recovery_key_alone_and_old_tokens_mean_a_full_sync() {
    let tpm = Swtpm::new();
    let (site, key) = sealed(&tpm);
    let server = opens(&site);
    wait_until(&site, "signed", |log| is_signed_by(log, "TPM key"));
    let mut ada = server.plain_client();
    let session = ada.log_in("ada", "password of ada").ok();
    ada.token = Some(session["access_token"].as_str().unwrap().to_owned());
    let room = ada.post("/_matrix/client/v3/createRoom", &json!({})).ok();
    let room = room["room_id"].as_str().unwrap().to_owned();
    let token = ada.token.clone();
    let passphrase = "a long enough passphrase\n";
    site.command_json(&["seal", "add-passphrase"], passphrase);
    server.stop();
    copy(&site.path("data"), &site.path("older"));

    let server = opens(&site);
    let mut ada = server.plain_client();
    ada.token.clone_from(&token);
    anchor_now(&site, "mallory");
    let since = ada.get("/_matrix/client/v3/sync").ok()["next_batch"]
        .as_str()
        .unwrap()
        .to_owned();
    server.stop();
    // Whoever has the disk takes mallory's appointment back.
    put_back(&site);

    let server = site.start_locked();
    let reason = status(&site)["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("older than the TPM remembers"), "{reason}");
    let advice = text(&site.command(&["health"], "").stderr);
    assert!(advice.contains("type the recovery key into"), "{advice}");
    let refused = site.command(&["seal", "unlock"], passphrase);
    assert!(
        text(&refused.stderr).contains("recovery key alone"),
        "{}",
        text(&refused.stderr)
    );
    let unlocked = site.command_json(&["seal", "unlock"], &format!("{key}\n"));
    assert_eq!(unlocked["by"], "recovery key");
    server.wait_for_log("running");
    let server = rest(&site, server, "anchor.behind");

    // Tokens of the lost time mean nothing.
    let mut ada = server.plain_client();
    ada.token = token;
    let full = ada.get(&format!("/_matrix/client/v3/sync?since={since}")).ok();
    assert!(
        full["rooms"]["join"][&room]["timeline"]["events"]
            .as_array()
            .is_some_and(|events| !events.is_empty()),
        "{full}"
    );
    server.stop();
    // From then on it is the newest.
    opens(&site).stop();
}

/// The owner who opens the keys after a change of the firmware has said nothing about the disk.
#[test]
fn an_older_disk_is_asked_about_even_if_the_recovery_key_was_typed_for_something_else() {
    let tpm = Swtpm::new();
    let (site, key) = sealed(&tpm);
    opens(&site).stop();
    copy(&site.path("data"), &site.path("older"));
    let server = opens(&site);
    anchor_now(&site, "mallory");
    server.stop();
    put_back(&site);
    tpm.change_pcr_7();

    let (server, reason) = recovers_older(&site, &key);
    assert!(reason.contains("PCR 7"), "{reason}");
    rebind(&site);
    rest(&site, server, "anchor.behind").stop();
}

/// Whoever has the disk puts its older copy in its place.
fn put_back(site: &Site) {
    std::fs::remove_dir_all(site.path("data")).unwrap();
    copy(&site.path("older"), &site.path("data"));
}

/// The log tells of it, is signed again, and a restart goes by itself.
fn rest(site: &Site, server: Server, act: &str) -> Server {
    assert!(acts(site).iter().any(|known| known == act), "{act}: {:?}", acts(site));
    wait_until(site, "anchored again", |log| log["anchor"]["commit"].is_u64());
    wait_until(site, "signed again", all_signed);
    server.stop();
    opens(site)
}

#[test]
fn a_tpm_whose_memory_was_put_back_is_noted() {
    let mut tpm = Swtpm::new();
    let (site, _) = sealed(&tpm);
    opens(&site).stop();
    let older = tempfile::tempdir().unwrap();
    tpm.stop();
    copy(&tpm.folder.path().join("tpm2-00.permall"), older.path());
    tpm.start();
    let server = opens(&site);
    anchor_now(&site, "bob");
    server.stop();
    tpm.stop();
    copy(&older.path().join("tpm2-00.permall"), tpm.folder.path());
    tpm.start();
    let server = opens(&site);
    rest(&site, server, "anchor.put-back").stop();
}

#[test]
fn whoever_deletes_the_anchor_wins_nothing() {
    let tpm = Swtpm::new();
    let (site, key) = sealed(&tpm);
    let server = opens(&site);
    wait_until(&site, "anchored", |log| log["anchor"]["commit"].is_u64());
    server.stop();
    let anchors = tpm.anchors();
    assert_eq!(anchors.len(), 1, "{anchors:?}");
    tpm.tool(&["tpm2_nvundefine", &anchors[0]]);
    let (server, reason) = recovers(&site, &key);
    assert!(reason.contains("cannot be told"), "{reason}");
    rest(&site, server, "anchor.gone").stop();
    assert_eq!(tpm.anchors().len(), 1);
}

/// What the key holder keeps lies beside the keyring: it cannot be forged, but it can be deleted.
#[test]
fn an_older_disk_without_the_record_of_its_anchor_asks_for_the_recovery_key() {
    let tpm = Swtpm::new();
    let (site, key) = sealed(&tpm);
    let server = opens(&site);
    wait_until(&site, "anchored", |log| log["anchor"]["commit"].is_u64());
    server.stop();
    copy(&site.path("data"), &site.path("older"));
    let server = opens(&site);
    anchor_now(&site, "mallory");
    server.stop();
    put_back(&site);
    std::fs::remove_file(site.path("data/keys/secrets/anchor.sealed")).unwrap();

    // However often.
    for _ in 0..2 {
        let server = site.start_locked();
        let reason = status(&site)["reason"].as_str().unwrap().to_owned();
        assert!(
            reason.contains("cannot be told") && reason.contains("anchor.sealed") && reason.contains("put it back"),
            "{reason}"
        );
        server.stop();
    }
    let (server, _) = recovers(&site, &key);
    rest(&site, server, "anchor.gone").stop();
    assert_eq!(tpm.anchors().len(), 1, "in its place of before");
}

#[test]
fn whoever_deletes_what_was_signed_gets_no_other_log() {
    let tpm = Swtpm::new();
    let (site, key) = sealed(&tpm);
    let server = opens(&site);
    let log = wait_until(&site, "signed", |log| is_signed_by(log, "TPM key"));
    let name = |log: &Value| log["key"].as_str().unwrap().split('+').next().unwrap().to_owned();
    let before = name(&log);
    server.stop();
    let heads = site.path("data/keys/secrets/audit-heads.sealed");
    let kept = std::fs::read(&heads).unwrap();
    std::fs::remove_file(&heads).unwrap();
    for _ in 0..2 {
        let server = site.start_locked();
        let reason = status(&site)["reason"].as_str().unwrap().to_owned();
        assert!(reason.contains("audit-heads.sealed is missing"), "{reason}");
        server.stop();
        assert!(!heads.exists());
    }
    // Back in its place, nothing is asked and the log goes on.
    std::fs::write(&heads, kept).unwrap();
    let server = opens(&site);
    let log = wait_until(&site, "signed again", all_signed);
    assert_eq!(name(&log), before);
    server.stop();
    std::fs::remove_file(&heads).unwrap();
    let (server, _) = recovers(&site, &key);
    let server = rest(&site, server, "audit.lost");
    assert!(acts(&site).iter().any(|act| act == "backup.restored"));
    let log = wait_until(&site, "another log is signed", all_signed);
    assert_ne!(name(&log), before);
    server.stop();
}

/// Where nobody could show that they are the owner, the server runs, and its log waits.
#[test]
fn without_a_recovery_key_a_log_that_lost_its_heads_is_not_signed() {
    let site = Site::new();
    let server = site.start();
    let log = wait_until(&site, "signed", all_signed);
    server.stop();
    std::fs::remove_file(site.path("data/keys/secrets/audit-heads.sealed")).unwrap();
    let server = site.start();
    let waiting = wait_until(&site, "waiting", |log| !log["trouble"].is_null());
    let sentence = waiting["trouble"]["sentence"].as_str().unwrap();
    assert!(
        sentence.contains("audit-heads.sealed is missing") && sentence.contains("add-recovery"),
        "{sentence}"
    );
    assert_eq!(waiting["key"], log["key"]);
    assert!(waiting["signed"].as_u64() < waiting["size"].as_u64(), "{waiting}");
    let made = site.command_json(&["seal", "add-recovery"], "");
    let key = made["recovery_key"].as_str().unwrap().to_owned();
    server.stop();
    let server = site.start_locked();
    site.command_json(&["seal", "unlock"], &format!("{key}\n"));
    server.wait_for_log("running");
    wait_until(&site, "another log is signed", all_signed);
    server.stop();
}

/// With a passphrase file beside the disk, whoever takes the TPM away must not get an older disk to start.
#[test]
fn a_tpm_that_is_taken_away_hides_no_older_disk() {
    let mut tpm = Swtpm::new();
    let (site, key) = sealed(&tpm);
    let passphrase = "a long enough passphrase\n";
    let server = opens(&site);
    site.command_json(&["seal", "add-passphrase"], passphrase);
    std::fs::write(site.path("passphrase"), passphrase).unwrap();
    server.stop();
    site.configure(&format!("{}passphrase_file = \"passphrase\"\n", tpm.config()));
    let server = opens(&site);
    wait_until(&site, "anchored", |log| log["anchor"]["commit"].is_u64());
    server.stop();
    copy(&site.path("data"), &site.path("older"));
    let server = opens(&site);
    anchor_now(&site, "mallory");
    server.stop();

    // The newest disk waits without its TPM, and goes on by itself with it.
    let locked = |site: &Site| {
        let server = site.start_locked();
        (server, status(site)["reason"].as_str().unwrap().to_owned())
    };
    tpm.stop();
    let (server, reason) = locked(&site);
    assert!(reason.contains("cannot be told"), "{reason}");
    server.stop();
    tpm.start();
    let server = opens(&site);
    assert!(
        !acts(&site).iter().any(|act| act.starts_with("anchor.")),
        "{:?}",
        acts(&site)
    );
    server.stop();

    put_back(&site);
    tpm.stop();
    let (server, _) = locked(&site);
    let refused = site.command(&["seal", "unlock"], passphrase);
    let refused = text(&refused.stderr);
    assert!(refused.contains("recovery key alone"), "{refused}");
    site.command_json(&["seal", "unlock"], &format!("{key}\n"));
    server.wait_for_log("running");
    assert!(acts(&site).contains(&"anchor.unknown".to_owned()), "{:?}", acts(&site));
    server.stop();
    // That says nothing for the day on which the TPM is back.
    tpm.start();
    let (server, reason) = locked(&site);
    assert!(reason.contains("older than the TPM remembers"), "{reason}");
    server.stop();
}

#[test]
fn a_tpm_that_hangs_keeps_no_act_waiting() {
    let tpm = Swtpm::new();
    let (site, _) = sealed(&tpm);
    let server = opens(&site);
    let log = wait_until(&site, "signed", |log| is_signed_by(log, "TPM key"));
    tpm.signal(nix::sys::signal::Signal::SIGSTOP);
    let began = Instant::now();
    for _ in 0..100 {
        site.command_json(&["token", "create"], "");
    }
    // One operation of the TPM's may take 30 s.
    let took = began.elapsed();
    assert!(took < Duration::from_secs(25), "{took:?}");
    let hanging = site.command_json(&["audit", "show"], "");
    assert!(
        hanging["size"].as_u64() >= log["size"].as_u64().map(|size| size + 100),
        "{hanging}"
    );
    assert!(hanging["signed"].as_u64() < hanging["size"].as_u64(), "{hanging}");
    tpm.signal(nix::sys::signal::Signal::SIGCONT);
    wait_until(&site, "signed again", |log| is_signed_by(log, "TPM key"));
    export(&site, "whole");
    let (good, said) = verify(&site, &["whole", "--key", log["key"].as_str().unwrap()]);
    assert!(good, "{said}");
    server.stop();
}

#[test]
fn a_cleared_tpm_costs_its_keys_and_nothing_else() {
    let tpm = Swtpm::new();
    let (site, key) = sealed(&tpm);
    let server = opens(&site);
    let log = wait_until(&site, "signed", |log| is_signed_by(log, "TPM key"));
    let before = log["key"].as_str().unwrap().to_owned();
    server.stop();
    tpm.tool(&["tpm2_clear", "-c", "p"]);
    let (server, _) = recovers(&site, &key);
    rebind(&site);
    let log = wait_until(&site, "signed by a new key", |log| {
        is_signed_by(log, "TPM key") && log["key"] != *before
    });
    export(&site, "cleared");
    // The lost key could not sign for its successor: who wants that followed says so.
    let (good, said) = verify(&site, &["cleared", "--key", &before]);
    assert!(!good && said.contains("--accept-fallback"), "{said}");
    let (good, said) = verify(&site, &["cleared", "--key", &before, "--accept-fallback"]);
    assert!(good && said.contains("\"vouched\":false"), "{said}");
    let (good, said) = verify(&site, &["cleared", "--key", log["key"].as_str().unwrap()]);
    assert!(good, "{said}");
    server.stop();
    opens(&site).stop();
}

/// What other servers are told of the keys, once its signature was verified by the key that signs now; the identifiers of
/// those of before.
fn published_keys(server: &Server, shown: &Value) -> Vec<String> {
    let told = server.client().get("/_matrix/key/v2/server").ok();
    let (id, key) = (shown["id"].as_str().unwrap(), shown["key"].as_str().unwrap());
    assert_eq!(told["verify_keys"], json!({id: {"key": key}}));
    for old in shown["old"].as_array().unwrap() {
        let of_old = &told["old_verify_keys"][old["id"].as_str().unwrap()];
        assert_eq!(of_old["key"], old["key"]);
        assert!(of_old["expired_ts"].as_u64() > Some(1_700_000_000_000), "{told}");
    }
    let name = told["server_name"].as_str().unwrap().to_owned();
    let keys = BTreeMap::from([(id.to_owned(), Base64::parse(key).unwrap())]);
    let object: CanonicalJsonObject = serde_json::from_value(told.clone()).unwrap();
    verify_json(&BTreeMap::from([(name, keys)]), &object).unwrap();
    told["old_verify_keys"].as_object().unwrap().keys().cloned().collect()
}

#[test]
fn a_new_signing_key_signs_at_once_and_the_old_one_is_kept() {
    let site = Site::new();
    let server = site.start();
    server.account("ada");
    let first = site.command_json(&["signing-key", "show"], "");
    let second = site.command_json(&["signing-key", "rotate"], "");
    assert_ne!(first["id"], second["id"]);
    assert_eq!(
        (&second["old"][0]["id"], &second["old"][0]["key"]),
        (&first["id"], &first["key"])
    );
    let log = site.command_json(&["audit", "show"], "");
    let entry = log["entries"].as_array().unwrap().last().unwrap();
    assert_eq!(
        (&entry["act"], &entry["facts"]["state"]),
        (&json!("key.rotate"), &json!("done"))
    );
    let public = format!("{} {}", second["id"].as_str().unwrap(), second["key"].as_str().unwrap());
    assert_eq!(entry["facts"]["public"], public);
    // Other servers are told of both at once, under the new key's signature.
    assert_eq!(published_keys(&server, &second), [first["id"].as_str().unwrap()]);
    let second = site.command_json(&["signing-key", "rotate"], "");
    let public = format!("{} {}", second["id"].as_str().unwrap(), second["key"].as_str().unwrap());
    assert_eq!(published_keys(&server, &second).len(), 2);
    server.stop();
    let server = site.start();
    assert_eq!(site.command_json(&["signing-key", "show"], ""), second);
    assert_eq!(published_keys(&server, &second).len(), 2);
    let log = site.command_json(&["audit", "show"], "");
    let mut starts = log["entries"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["act"] == "server.start");
    assert_eq!(starts.next_back().unwrap()["facts"]["signing_key"], public);
    server.stop();
}
