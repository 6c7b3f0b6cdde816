//! The file slot goes, and with it everything that a copy of the folder from before could open.

use crate::harness::{Server, Site, text};
use crate::tpm::{copy, slot, status};
use std::collections::BTreeMap;

fn keys_and_store(site: &Site) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for folder in ["data/secrets", "data/keys/secrets", "data/store"] {
        for entry in std::fs::read_dir(site.path(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                files.insert(
                    path.strip_prefix(site.path("")).unwrap().display().to_string(),
                    std::fs::read(&path).unwrap(),
                );
            }
        }
    }
    files
}

/// The end of a start that must not succeed.
fn refuses(site: &Site) -> String {
    match Server::start(site.path("").as_path(), &["--config", "lamchat.toml"]) {
        Ok(_) => panic!("it started"),
        Err(log) => log,
    }
}

#[test]
fn a_copy_from_before_opens_nothing_that_comes_after() {
    let site = Site::new();
    let server = site.start();
    server.account("ada");
    let key = site.command_json(&["seal", "add-recovery"], "")["recovery_key"]
        .as_str()
        .unwrap()
        .to_owned();
    let file = slot(&status(&site), "file");
    // Somebody copies the folder now, keyring, wrapping key and all.
    let stolen = Site::new();
    copy(&site.path("data"), &stolen.path("data"));
    let before = keys_and_store(&site);
    for (typed, word) in [
        ("", "empty"),
        (
            "000012 005157 010293 015432 020572 025710 030853 035993\n",
            "not the recovery key",
        ),
    ] {
        let refused = site.command(&["seal", "remove", &file], typed);
        assert!(
            text(&refused.stderr).contains(word),
            "{word}: {}",
            text(&refused.stderr)
        );
    }
    assert!(site.path("data/keys/keyring.key").exists(), "a refusal changes nothing");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let removed = site.command_json(&["seal", "remove", &file], &format!("{key}\n"));
    assert_eq!(removed["former_keys"], true);
    assert_eq!(removed["slots"].as_array().unwrap().len(), 1);
    assert!(
        removed["slots"][0]["verified_ms"].is_u64(),
        "it was typed back: {removed}"
    );
    assert!(!site.path("data/keys/keyring.key").exists());
    // The server goes on meanwhile.
    server.plain_client().log_in("ada", "password of ada").ok();
    site.command_json(&["user", "add", "bob"], "a long password\n");
    server.stop();

    let server = site.start_locked();
    site.command_json(&["seal", "unlock"], &format!("{key}\n"));
    server.wait_for_log("running");
    assert_eq!(status(&site)["former_keys"], false);
    let users = text(&site.command(&["user", "list"], "").stdout);
    assert!(users.contains("ada") && users.contains("bob"), "{users}");
    let log = site.command_json(&["audit", "show", "--limit", "100"], "").to_string();
    assert!(
        log.contains("keyring.remove-slot") && !log.contains(&key[..20]),
        "{log}"
    );
    server.stop();

    // No secret and no page is as it was.
    let after = keys_and_store(&site);
    let same: Vec<&String> = before
        .iter()
        .filter(|(name, content)| after.get(*name) == Some(content) && !content.is_empty())
        .map(|(name, _)| name)
        .collect();
    assert!(same.is_empty(), "{same:?}");
    let sectors = |files: &BTreeMap<String, Vec<u8>>| -> Vec<Vec<u8>> {
        let database = &files["data/store/db.redb"];
        let sectors = database
            .chunks(4096)
            .filter(|sector| sector.iter().any(|byte| *byte != 0));
        sectors.map(<[u8]>::to_vec).collect()
    };
    let (old, new) = (sectors(&before), sectors(&after));
    assert!(!new.is_empty() && new.iter().all(|sector| !old.contains(sector)));

    // The stolen keyring with the disk as it is now, and the stolen wrapping key beside the new keyring.
    let mixed = Site::new();
    copy(&site.path("data"), &mixed.path("data"));
    std::fs::remove_dir_all(mixed.path("data/keys")).unwrap();
    copy(&stolen.path("data/keys"), &mixed.path("data/keys"));
    let log = refuses(&mixed);
    assert!(log.contains("the database key does not open these files"), "{log}");
    let mixed = Site::new();
    copy(&site.path("data"), &mixed.path("data"));
    std::fs::copy(
        stolen.path("data/keys/keyring.key"),
        mixed.path("data/keys/keyring.key"),
    )
    .unwrap();
    mixed.start_locked().stop();
}

#[test]
fn a_file_slot_that_was_removed_can_be_added_again() {
    let site = Site::new();
    let server = site.start();
    let key = site.command_json(&["seal", "add-recovery"], "")["recovery_key"]
        .as_str()
        .unwrap()
        .to_owned();
    let file = slot(&status(&site), "file");
    site.command_json(&["seal", "remove", &file], &format!("{key}\n"));
    server.stop();
    let server = site.start_locked();
    site.command_json(&["seal", "unlock"], &format!("{key}\n"));
    server.wait_for_log("running");
    let kinds = || {
        let slots = status(&site)["slots"].as_array().unwrap().clone();
        slots
            .iter()
            .map(|slot| slot["kind"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    // Nobody has said yes.
    assert!(!site.command(&["seal", "add-file"], "").status.success());
    assert_eq!(kinds(), ["recovery"]);
    site.command_json(&["seal", "add-file"], "yes\n");
    assert_eq!(kinds(), ["recovery", "file"]);
    let again = text(&site.command(&["seal", "add-file"], "yes\n").stderr);
    assert!(again.contains("a file slot already"), "{again}");
    server.stop();
    let server = site.start();
    let log = site.command_json(&["audit", "show", "--limit", "100"], "");
    let entries = log["entries"].as_array().unwrap().iter();
    let added: Vec<_> = entries
        .filter(|entry| entry["act"] == "keyring.add-slot" && entry["facts"]["kind"] == "file")
        .collect();
    assert_eq!(
        added.iter().filter(|entry| entry["facts"]["state"] == "done").count(),
        1,
        "{added:?}"
    );
    server.stop();
}
