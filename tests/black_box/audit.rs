//! The audit log through the command line: what was done is shown, exported, verified on another machine, witnessed, and
//! tampering is found.

use crate::harness::{CONFIG, Site, lamchat, text};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// The acts of a log, in order, with their subjects.
fn acts(log: &Value) -> Vec<(String, String)> {
    let text = |entry: &Value, key: &str| entry[key].as_str().unwrap().to_owned();
    let entries = log["entries"].as_array().unwrap().iter();
    // The keys of the first start are looked at apart.
    let acts = entries.filter(|entry| entry["act"] != "key.made");
    acts.map(|entry| (text(entry, "act"), text(entry, "subject"))).collect()
}

fn own_uid() -> u32 {
    std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap())
}

/// Runs a command that must succeed in a folder without a server, as an auditor does.
fn offline(folder: &Path, arguments: &[&str]) -> Value {
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
    let output = lamchat(folder, &arguments, "");
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn acts_are_shown_with_who_did_them() {
    let site = Site::new();
    let server = site.start();
    site.command_json(&["user", "add", "alice", "--admin"], "a long password\n");
    let token = text(&site.command(&["token", "create", "--uses", "2"], "").stdout)
        .trim()
        .to_owned();
    assert!(site.command(&["token", "revoke", &token], "").status.success());
    let mut bob = server.account("bob");
    server.client().log_in("alice", "a long password").ok();
    assert_eq!(server.client().log_in("alice", "a wrong password").status, 403);
    server.client().log_in("bob", "password of bob").ok();
    bob.post("/_matrix/client/v3/createRoom", &json!({})).ok();
    site.command_json(&["user", "passwd", "bob"], "another password\n");
    site.command_json(&["user", "deactivate", "bob"], "");
    site.command_json(&["keyring", "add-passphrase"], "a long enough passphrase\n");
    assert!(site.command(&["backup", "create", "backup"], "").status.success());
    // What was refused was not done.
    assert!(
        !site
            .command(&["user", "add", "alice"], "a long password\n")
            .status
            .success()
    );
    site.configure(&CONFIG.replace("mode = \"token\"", "mode = \"open\""));
    server.signal("HUP");
    server.wait_for_log("was reloaded");
    server.stop();

    let server = site.start();
    let log = site.command_json(&["audit", "show", "--limit", "100"], "");
    let expected = [
        ("server.start", ""),
        ("user.add", "@alice:localhost"),
        ("token.create", ""),
        ("token.revoke", ""),
        ("user.add", "@bob:localhost"),
        ("admin.login", ""),
        ("user.password", "@bob:localhost"),
        ("user.deactivate", "@bob:localhost"),
        ("keyring.add-slot", ""),
        ("keyring.add-slot", ""),
        ("backup.create", ""),
        ("backup.create", ""),
        ("config.reload", ""),
        ("server.stop", ""),
        ("server.start", ""),
    ];
    let expected = expected.map(|(act, subject)| (act.to_owned(), subject.to_owned()));
    assert_eq!(acts(&log), expected, "{log}");
    let entries = log["entries"].as_array().unwrap();
    let keys: Vec<&str> = entries[..3]
        .iter()
        .map(|entry| entry["subject"].as_str().unwrap())
        .collect();
    assert_eq!(keys, ["tls-authority", "tls-server", "signing-key"]);
    assert_eq!(entries[3]["facts"]["signing_key"], entries[2]["facts"]["public"]);
    let entries = &entries[3..];
    assert_eq!(entries[1]["actor"], format!("uid {}", own_uid()));
    assert_eq!(entries[4]["actor"], "shared secret");
    assert_eq!(entries[5]["actor"], "@alice:localhost");
    assert_eq!(entries[9]["facts"]["state"], "done");
    assert_eq!(entries[11]["facts"]["state"], "done", "{}", entries[11]);
    assert_eq!(entries[12]["facts"]["changed"], "registration.mode");
    assert_eq!(entries[3]["facts"]["made_ms"], entries[2]["facts"]["made_ms"]);
    for secret in [
        &*token,
        "a long password",
        "another password",
        "passphrase\n",
        "127.0.0.1",
    ] {
        assert!(!log.to_string().contains(secret), "{secret}: {log}");
    }
    // Pages, and the newest by default.
    let page = site.command_json(&["audit", "show", "--since", "4", "--limit", "2"], "");
    assert_eq!(acts(&page), expected[1..3]);
    let newest = text(&site.command(&["audit", "show", "--limit", "1"], "").stdout);
    assert!(
        newest.contains("server.start") && newest.contains("software key"),
        "{newest}"
    );
    assert!(!newest.contains("user.add"), "{newest}");
    server.stop();
}

#[test]
fn an_export_is_verified_witnessed_and_not_to_be_tampered_with() {
    let site = Site::new();
    let server = site.start();
    let auditor = tempfile::tempdir().unwrap();
    let at = auditor.path();
    let bring = |name: &str| std::fs::copy(site.path(name), at.join(name)).unwrap();
    for name in ["alice", "bob", "carol"] {
        site.command_json(&["user", "add", name], "a long password\n");
    }
    site.command_json(&["audit", "export", "first"], "");
    bring("first");
    let twice = site.command(&["audit", "export", "first"], "");
    assert_eq!(twice.status.code(), Some(1), "an export never overwrites anything");

    // The first visit: the key is noted, the checkpoint co-signed.
    let log = site.command_json(&["audit", "show"], "");
    std::fs::write(at.join("log.key"), log["key"].as_str().unwrap()).unwrap();
    let made = lamchat(
        at,
        &["audit", "witness-key", "own.key", "--name", "auditor.example.org"],
        "",
    );
    assert!(made.status.success(), "{}", text(&made.stderr));
    let public = text(&made.stdout).trim().to_owned();
    let verdict = offline(at, &["audit", "verify", "first", "--key", "log.key", "--entries"]);
    assert_eq!(verdict["key_pinned"], true);
    assert_eq!(verdict["entries"], log["entries"]);
    let seen = verdict["size"].as_u64().unwrap();
    let unpinned = lamchat(at, &["audit", "verify", "first"], "");
    assert!(unpinned.status.success());
    assert!(
        text(&unpinned.stdout).contains("Not proved"),
        "{}",
        text(&unpinned.stdout)
    );
    offline(
        at,
        &["audit", "witness", "first", "--key", "own.key", "--log-key", "log.key"],
    );
    std::fs::copy(at.join("first.cosigned"), site.path("first.cosigned")).unwrap();
    site.command_json(&["audit", "add-witness", "first.cosigned"], "");
    let refused = site.command(&["audit", "add-witness", "first"], "");
    assert_eq!(refused.status.code(), Some(1), "an export is no checkpoint");

    // The second visit, after a restart: only what is new.
    server.stop();
    let server = site.start();
    site.command_json(&["user", "admin", "alice"], "");
    let since = (seen + 1).to_string();
    site.command_json(&["audit", "export", "second", "--since", &since], "");
    bring("second");
    let arguments = [
        "audit",
        "verify",
        "second",
        "--key",
        "log.key",
        "--previous",
        "first",
        "--witness",
        &public,
    ];
    let verdict = offline(at, &arguments);
    assert_eq!(
        (&verdict["start"], &verdict["consistent_with"]),
        (&json!(seen + 1), &json!([seen]))
    );
    assert_eq!(verdict["witnesses"][0]["name"], "auditor.example.org");
    offline(at, &["audit", "witness", "second", "--key", "own.key"]);

    // The witness does not sign what is older than what it signed.
    std::fs::remove_file(at.join("first.cosigned")).unwrap();
    let older = lamchat(at, &["audit", "witness", "first", "--key", "own.key"], "");
    assert_eq!(older.status.code(), Some(1));
    assert!(text(&older.stderr).contains("cut off"), "{}", text(&older.stderr));
    assert!(!at.join("first.cosigned").exists());

    // Tampering: each line in turn changed, left out, repeated.
    let honest = std::fs::read_to_string(at.join("second")).unwrap();
    let lines: Vec<&str> = honest.lines().collect();
    let entries: Vec<usize> = (0..lines.len())
        .filter(|line| lines[*line].starts_with("entry "))
        .collect();
    assert!(entries.len() >= 3, "{honest}");
    let mut changed = Vec::new();
    for entry in entries {
        let mut without = lines.clone();
        without.remove(entry);
        let mut repeated = lines.clone();
        repeated.insert(entry, lines[entry]);
        let mut other = lines.clone();
        let letter = lines[entry].replacen("AAA", "AAB", 1);
        other[entry] = &letter;
        changed.extend([without.join("\n"), repeated.join("\n"), other.join("\n")]);
    }
    for text_ in changed {
        std::fs::write(at.join("tampered"), text_ + "\n").unwrap();
        let output = lamchat(at, &["audit", "verify", "tampered", "--key", "log.key"], "");
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
        assert!(output.stdout.is_empty());
    }
    server.stop();
}

#[test]
fn a_database_that_was_put_back_is_not_signed_again() {
    let site = Site::new();
    let server = site.start();
    site.command_json(&["user", "add", "alice"], "a long password\n");
    server.stop();
    let copy = |from: &str, to: &str| {
        let copied = std::process::Command::new("cp")
            .arg("-a")
            .arg(site.path(from))
            .arg(site.path(to))
            .status();
        assert!(copied.unwrap().success());
    };
    copy("data/store", "old");
    let server = site.start();
    site.command_json(&["user", "add", "mallory", "--admin"], "a long password\n");
    server.stop();
    // Somebody removes the traces: the database of before.
    std::fs::remove_dir_all(site.path("data/store")).unwrap();
    copy("old", "data/store");
    let server = site.start();
    server.wait_for_log("not the continuation of its signed head");
    let refused = site.command(&["audit", "export", "export"], "");
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("put back to an older state"),
        "{}",
        text(&refused.stderr)
    );
    server.stop();
}

fn newest<'a>(log: &'a Value, act: &str) -> &'a Value {
    let entries = log["entries"].as_array().unwrap();
    let mut found = entries.iter().filter(|entry| entry["act"] == act);
    found.next_back().unwrap_or_else(|| panic!("no {act}: {log}"))
}

#[test]
fn a_configuration_that_was_edited_while_the_server_was_stopped_is_named() {
    let site = Site::new();
    let log = || site.command_json(&["audit", "show", "--limit", "100"], "");
    site.start().stop();
    // The same again leaves nothing but its start.
    let server = site.start();
    let before = log();
    assert!(!before.to_string().contains("config.start"), "{before}");
    let digest = newest(&before, "server.start")["facts"]["configuration"].clone();
    assert_eq!(digest.as_str().unwrap().len(), 64);
    server.stop();
    let secret = "a secret that nobody may see";
    let edited = CONFIG.replace("mode = \"token\"", "mode = \"open\"");
    let edited = edited.replace("shared_secret = \"", &format!("shared_secret = \"{secret}"));
    site.configure(&format!("{edited}\n[federation]\nenabled = false\n"));
    let server = site.start();
    let after = log();
    let facts = &newest(&after, "config.start")["facts"];
    assert_eq!(
        facts["changed"],
        "federation.enabled, registration.mode, registration.shared_secret"
    );
    assert_eq!(
        (&facts["changed_count"], &facts["federation"]),
        (&json!("3"), &json!("false"))
    );
    assert_ne!(facts["configuration"], digest);
    assert_eq!(
        facts["configuration"],
        newest(&after, "server.start")["facts"]["configuration"]
    );
    server.stop();
    // Another secret alone, which the digest leaves out, is named as well; what a reload took over is not named again.
    let other = edited.replace(secret, "another secret");
    site.configure(&other);
    let server = site.start();
    let third = log();
    let facts = &newest(&third, "config.start")["facts"];
    assert_eq!(facts["changed"], "federation.enabled, registration.shared_secret");
    assert_eq!(facts["federation"], "true");
    site.configure(&other.replace("mode = \"open\"", "mode = \"closed\""));
    server.signal("HUP");
    server.wait_for_log("was reloaded");
    let reloaded = newest(&log(), "config.reload")["facts"]["configuration"].clone();
    server.stop();
    let server = site.start();
    let last = log();
    assert_eq!(newest(&last, "config.start"), newest(&third, "config.start"));
    assert_eq!(newest(&last, "server.start")["facts"]["configuration"], reloaded);
    assert!(!last.to_string().contains(secret) && !last.to_string().contains("another secret"));
    server.stop();
}

/// Checks a folder of tiles, and proofs, by a reader that has no code in common with the server.
fn read_tiles(site: &Site, files: &[&str]) -> (bool, String) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tlog/tiles.py");
    let output = std::process::Command::new("python3")
        .arg(script)
        .args(files)
        .current_dir(site.path(""))
        .output()
        .unwrap();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn another_reader_of_tiles_finds_the_same_log() {
    let site = Site::new();
    let server = site.start();
    // More than a tile, each act an entry.
    for _ in 0..260 {
        site.command_json(&["token", "create"], "");
    }
    let size = site.command_json(&["audit", "export", "--tiles", "tiles"], "")["size"].clone();
    assert!(size.as_u64() > Some(256), "{size}");
    site.command_json(&["audit", "export", "whole"], "");
    for number in ["0", "100", "255", "256"] {
        let proof = lamchat(&site.path(""), &["audit", "prove", "whole", number], "");
        assert!(proof.status.success(), "{}", text(&proof.stderr));
        std::fs::write(site.path(&format!("proof{number}")), &proof.stdout).unwrap();
    }
    let (good, said) = read_tiles(&site, &["tiles", "proof0", "proof100", "proof255", "proof256"]);
    assert!(good && said.trim_end().ends_with(&size.to_string()), "{said}");
    let twice = site.command(&["audit", "export", "--tiles", "tiles"], "");
    assert_eq!(twice.status.code(), Some(1), "an export never overwrites anything");
    let none = lamchat(&site.path(""), &["audit", "prove", "whole", "9999"], "");
    assert!(text(&none.stderr).contains("no entry 9999"), "{}", text(&none.stderr));
    // The reader would have said so.
    let bundle = site.path("tiles/tile/entries/000");
    let mut bytes = std::fs::read(&bundle).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&bundle, bytes).unwrap();
    let (good, said) = read_tiles(&site, &["tiles"]);
    assert!(!good && said.contains("not the hashes of the entries"), "{said}");
    server.stop();
}

/// Texts in the program that look like acts and are none: files, settings, a name.
const NO_ACTS: [&str; 6] = [
    "admin.sock",
    "attestation.pcrs",
    "audit.log",
    "box.invalid",
    "certificate.pem",
    "keyring.key",
];

/// Every quoted text of a source file that is named like an act, tests left out.
fn quoted_acts(source: &str, kinds: &[&str], found: &mut BTreeSet<String>) {
    let source = source.split("#[cfg(test)]").next().unwrap();
    let is_code = |line: &&str| !line.trim_start().starts_with("//") && !line.contains("Table::");
    let code = source.lines().filter(is_code);
    for line in code {
        // Odd pieces are inside quotes.
        for text in line.split('"').skip(1).step_by(2) {
            let Some((kind, rest)) = text.split_once('.') else {
                continue;
            };
            let is_name = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
            if kinds.contains(&kind) && is_name && !NO_ACTS.contains(&text) {
                found.insert(text.to_owned());
            }
        }
    }
}

fn sources(folder: &Path, out: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() && name != "tests" && name != "examples" {
            sources(&path, out);
        } else if name.ends_with(".rs") && !name.ends_with("tests.rs") {
            out.push(std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn the_format_lists_every_act_of_the_program() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let format = std::fs::read_to_string(root.join("src/platform/audit/FORMAT.md")).unwrap();
    let table = format.split_once("| act | subject | facts |").unwrap().1;
    let rows = table.split("\n\n").next().unwrap().lines().skip(2);
    let listed: BTreeSet<String> = rows
        .flat_map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2))
        .map(str::to_owned)
        .collect();
    let kinds: BTreeSet<&str> = listed.iter().map(|act| act.split('.').next().unwrap()).collect();
    let kinds: Vec<&str> = kinds.into_iter().collect();
    let (mut files, mut known) = (Vec::new(), BTreeSet::new());
    sources(&root.join("src"), &mut files);
    for source in &files {
        quoted_acts(source, &kinds, &mut known);
        // Acts whose names are put together.
        if let Some((_, list)) = source.split_once("const BOX_ACTS: &[&str] = &[") {
            let list = list.split(']').next().unwrap();
            known.extend(list.split('"').skip(1).step_by(2).map(|act| format!("box.{act}")));
        }
        // No entry has a kind of act that the table does not know.
        for rest in source.split("Entry::new(").skip(1) {
            let act = rest.split(';').next().unwrap().split('"').nth(1).unwrap_or_default();
            let kind = act.split_once('.').map(|(kind, _)| kind);
            assert!(
                kind.is_none_or(|kind| kinds.contains(&kind)),
                "{act} is not in FORMAT.md"
            );
        }
    }
    let missing: Vec<&String> = known.difference(&listed).collect();
    let stale: Vec<&String> = listed.difference(&known).collect();
    assert!(
        missing.is_empty() && stale.is_empty(),
        "missing: {missing:?}, stale: {stale:?}"
    );

    // The acts that are anchored at once are told as they are.
    let anchor = std::fs::read_to_string(root.join("src/serve/anchor.rs")).unwrap();
    let critical = anchor.split_once("const CRITICAL").unwrap().1;
    let critical = critical.split_once("= [").unwrap().1.split("];").next().unwrap();
    let critical: Vec<String> = critical
        .split('"')
        .skip(1)
        .step_by(2)
        .map(|act| format!("`{act}`"))
        .collect();
    let (last, rest) = critical.split_last().unwrap();
    let sentence = format!("acts that begin with {} or {last}", rest.join(", "));
    assert!(format.contains(&sentence), "{sentence}");
}
