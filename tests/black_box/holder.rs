//! The key holder is a process of its own: nobody's child, without a network, and the only one with the keyring.

use crate::harness::{CONFIG, PATIENCE, Server, Site, program, text};
use crate::tpm::{Swtpm, slot};
use lamchat_attestation::{Evidence, KeyUse};
use lamchat_base::Entropy;
use lamchat_host::OsEntropy;
use lamchat_seal::{Keyring, Unlock};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The process that has the lock of this site's keys open.
fn holder(site: &Site) -> u32 {
    let lock = std::fs::canonicalize(site.path("data/keys/lock")).unwrap();
    let processes = std::fs::read_dir("/proc").unwrap().map_while(Result::ok);
    let numbers = processes.filter_map(|process| process.file_name().to_str()?.parse().ok());
    let mut holders: Vec<u32> = numbers.filter(|pid| open_files(*pid).contains(&lock)).collect();
    assert_eq!(holders.len(), 1, "{holders:?}");
    holders.remove(0)
}

/// What a process has open; nothing if it cannot be seen.
fn open_files(pid: u32) -> Vec<PathBuf> {
    let files = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten();
    let files = files.map_while(Result::ok);
    files.filter_map(|file| std::fs::read_link(file.path()).ok()).collect()
}

fn status(pid: u32, field: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').trim().to_owned()
}

fn is_gone(pid: u32) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        // A dead child of another process may wait to be collected.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        if stat.is_empty() || stat.rsplit(')').next().unwrap().trim().starts_with('Z') {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}

fn end(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid.try_into().unwrap()), signal).unwrap();
}

/// All that a process can write to and has in memory, but for pages of zeros: what is locked, and what is not.
fn locked_and_not(pid: u32) -> (Vec<u8>, Vec<u8>) {
    use std::os::unix::fs::FileExt;
    let maps = std::fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let file = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let (mut locked, mut other, mut range) = (Vec::new(), Vec::new(), None);
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (first, second) = (fields.next().unwrap(), fields.next().unwrap_or_default());
        match first.split_once('-') {
            Some((from, to)) if !first.ends_with(':') => {
                let ends = [from, to].map(|number| u64::from_str_radix(number, 16).unwrap());
                range = second.starts_with("rw").then_some(ends);
            }
            // The last line of a mapping: proc_pid_smaps(5).
            _ if first == "VmFlags:" => {
                let Some([from, to]) = range.take() else { continue };
                let is_locked = line.split_whitespace().any(|flag| flag == "lo");
                let place = if is_locked { &mut locked } else { &mut other };
                // In pieces: a part of a mapping may be out of reach.
                for at in (from..to).step_by(4096) {
                    let mut page = [0; 4096];
                    if file.read_exact_at(&mut page, at).is_ok() && page != [0; 4096] {
                        place.extend(page);
                    }
                }
            }
            _ => {}
        }
    }
    (locked, other)
}

/// The same as one.
fn memory(pid: u32) -> Vec<u8> {
    let (locked, other) = locked_and_not(pid);
    [locked, other].concat()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn it_is_nobodys_child_and_has_no_network() {
    let site = Site::new();
    let server = site.start();
    let pid = holder(&site);
    assert_ne!(pid, server.pid());
    let parent: u32 = status(pid, "PPid").parse().unwrap();
    assert_ne!(parent, server.pid());
    // The first process of this machine, or who stands in for it.
    let grandparent: u32 = status(parent, "PPid").parse().unwrap();
    assert!(
        parent == 1 || grandparent <= 1 || status(parent, "Name") != "lamchat",
        "{parent}"
    );
    assert_eq!(status(pid, "NoNewPrivs"), "1");
    assert_eq!(status(pid, "Seccomp"), "2");
    let locked: u64 = status(pid, "VmLck").trim_end_matches(" kB").parse().unwrap();
    if nix::unistd::geteuid().is_root() {
        // All of it: whoever may lock as much as they like does so.
        let resident: u64 = status(pid, "VmRSS").trim_end_matches(" kB").parse().unwrap();
        assert!(locked >= resident, "{locked} of {resident} kB");
    } else {
        assert_eq!(locked, 16);
    }
    for pid in [pid, server.pid()] {
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let core = limits
            .lines()
            .find(|line| line.starts_with("Max core file size"))
            .unwrap();
        assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
    }

    let told = site.command_json(&["seal", "status"], "");
    let sentence = told["holder"]["sentence"].as_str().unwrap();
    assert!(server.greeting.contains(sentence), "{}", server.greeting);
    let network = std::fs::read_to_string(format!("/proc/{pid}/net/dev"));
    if sentence.contains("with an empty network of its own") {
        let interfaces = network.unwrap();
        let names: Vec<&str> = interfaces
            .lines()
            .skip(2)
            .filter_map(|line| line.split(':').next())
            .collect();
        assert_eq!(names.iter().map(|name| name.trim()).collect::<Vec<_>>(), ["lo"]);
        let routes = std::fs::read_to_string(format!("/proc/{pid}/net/route")).unwrap();
        assert!(routes.lines().count() <= 1, "{routes}");
    } else {
        // And it says so.
        assert!(sentence.contains("allows it no network namespace"), "{sentence}");
    }
    server.stop();
    assert!(is_gone(pid));
}

#[test]
fn the_exchange_has_neither_the_keyring_nor_what_opens_it() {
    let site = Site::new();
    site.start().stop();
    let server = site.start();
    let keys = std::fs::canonicalize(site.path("data/keys")).unwrap();
    let pid = holder(&site);
    assert!(open_files(server.pid()).iter().all(|file| !file.starts_with(&keys)));
    assert!(open_files(pid).iter().any(|file| file.starts_with(&keys)));
    let store = std::fs::canonicalize(site.path("data/store")).unwrap();
    assert!(open_files(pid).iter().all(|file| !file.starts_with(&store)));

    // Only root can look: neither process may be read by its own user.
    if nix::unistd::geteuid().is_root() {
        let keyring = std::fs::read(site.path("data/keys/keyring")).unwrap();
        let wrapping = std::fs::read(site.path("data/keys/keyring.key")).unwrap();
        let (slot, wrapping) = (&keyring[44 + 7 + 12..44 + 7 + 60], &wrapping[8..40]);
        let exchange = memory(server.pid());
        assert!(contains(&exchange, b"localhost"), "it is the memory of the server");
        assert!(!contains(&exchange, slot) && !contains(&exchange, wrapping));
        assert!(!contains(&exchange, &keyring[44 + 7..200]));
        assert!(contains(&memory(pid), slot));
    } else {
        assert!(std::fs::File::open(format!("/proc/{}/mem", server.pid())).is_err());
        assert!(std::fs::File::open(format!("/proc/{pid}/mem")).is_err());
    }
    server.stop();
}

/// What the exchange is handed: the key of the database and the seed of the signing key.
fn released(site: &Site) -> [Vec<u8>; 2] {
    let folder = tempfile::tempdir().unwrap();
    crate::tpm::copy(&site.path("data"), folder.path());
    let data = folder.path().join("data");
    let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
    let keyring = Keyring::open(&data.join("keys"), &Unlock::File, Arc::clone(&entropy)).unwrap();
    let keys = keyring.data_keys(&data).unwrap();
    let seed = keys.unseal_secret("signing-key").unwrap().unwrap();
    [
        keys.database_key().unwrap().expose().to_vec(),
        seed.expose()[..32].to_vec(),
    ]
}

#[test]
fn the_keys_of_the_exchange_are_in_locked_memory_alone() {
    // Only root can look.
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let site = Site::new();
    let server = site.start();
    server.account("alice");
    let [database, seed] = released(&site);
    // Both halves: of each the cipher keeps its round keys, the first of which are the half itself.
    let (first, second) = database.split_at(32);
    // Each of these signs an event.
    let mut client = server.account("bob");
    for _ in 0..20 {
        client.post("/_matrix/client/v3/createRoom", &json!({})).ok();
    }
    let (locked, other) = locked_and_not(server.pid());
    assert!(contains(&other, b"localhost"), "it is the memory of the server");
    for (what, key) in [("database", first), ("database, tweak", second), ("signing", &seed[..])] {
        assert!(
            contains(&locked, key),
            "{what}: elsewhere {}, {} bytes locked",
            contains(&other, key),
            locked.len()
        );
        assert!(!contains(&other, key), "{what}");
    }
    let (_, other) = locked_and_not(holder(&site));
    assert!(!contains(&other, first) && !contains(&other, &seed));
    server.stop();
}

/// Everything secret that people type or are shown, and that clients have; the log of both processes at its most talkative.
#[test]
fn no_secret_is_in_the_log_of_either() {
    let tpm = Swtpm::new();
    let site = Site::with(&format!("{}\npin = true\n[log]\nlevel = \"trace\"\n", tpm.config()));
    let mut server = site.start();
    let password = "a password of mine";
    site.command_json(&["user", "add", "alice"], &format!("{password}\n"));
    let token = server.account("bob").token.unwrap();
    let key = site.command_json(&["seal", "add-recovery"], "")["recovery_key"]
        .as_str()
        .unwrap()
        .to_owned();
    let (passphrase, pin) = ("words that nobody knows", "pin 8642");
    site.command(&["seal", "verify-recovery"], &format!("{key}\n"));
    site.command(&["seal", "verify-recovery"], &format!("{}\n", key.replace('1', "2")));
    site.command_json(&["seal", "add-passphrase"], &format!("{passphrase}\n"));
    site.command_json(&["seal", "init", "--force"], &format!("{pin}\n"));
    let file = slot(&crate::tpm::status(&site), "file");
    let removed = site.command(&["seal", "remove", &file], &format!("{key}\n{passphrase}\n{pin}\n"));
    assert!(removed.status.success(), "{}", text(&removed.stderr));
    server.signal("TERM");
    server.wait();
    let mut log = server.log_so_far();
    for typed in ["pin 8641", pin] {
        let mut server = site.start_locked();
        site.command(&["seal", "unlock"], &format!("{typed}\n"));
        if typed == pin {
            server.wait_for_log("running");
        }
        server.signal("TERM");
        server.wait();
        log.extend(server.log_so_far());
    }
    let log = log.join("\n");
    assert!(log.contains("DEBUG") && log.contains("lamchat_holder"), "{log}");
    let block = key.split(' ').next().unwrap();
    for secret in [password, &token, &key, block, passphrase, pin, "pin 8641"] {
        assert!(!log.contains(secret), "{secret} is in {log}");
    }
}

#[test]
fn each_ends_with_the_other() {
    let site = Site::new();
    let server = site.start();
    let pid = holder(&site);
    // Neither Ctrl-C on the terminal nor a stop of everything at once takes the keys from a server that finishes.
    end(pid, Signal::SIGINT);
    end(pid, Signal::SIGTERM);
    site.command_json(&["user", "add", "alice"], "a long password\n");
    server.kill();
    assert!(is_gone(pid));

    let mut server = site.start();
    let pid = holder(&site);
    end(pid, Signal::SIGKILL);
    let status = server.wait();
    assert_eq!(status.code(), Some(1));
    let log = server.log_so_far().join("\n");
    assert!(log.contains("the key holder has ended"), "{log}");

    // Nothing was lost, and the log of it goes on.
    let server = site.start();
    let users = text(&site.command(&["user", "list"], "").stdout);
    assert!(users.contains("alice"), "{users}");
    let log = site.command_json(&["audit", "show", "--limit", "100"], "").to_string();
    assert_eq!(log.matches("\"server.start\"").count(), 3, "{log}");
    server.stop();
}

#[test]
fn a_data_folder_has_one_holder() {
    let site = Site::new();
    let server = site.start();
    let second = site.command(&[], "");
    assert_eq!(second.status.code(), Some(1));
    let said = text(&second.stderr);
    assert!(said.contains("another lamchat"), "{said}");
    site.command_json(&["seal", "add-recovery"], "");
    server.stop();
}

#[test]
fn a_data_folder_of_before_is_taken_over() {
    let site = Site::new();
    let server = site.start();
    let account = server.account("alice");
    let log = site.command_json(&["audit", "show"], "");
    server.stop();
    // As earlier versions had it.
    let moved = |from: &str, to: &str| std::fs::rename(site.path(from), site.path(to)).unwrap();
    moved("data/keys/keyring", "data/keyring");
    moved("data/keys/keyring.key", "data/keyring.key");
    std::fs::remove_dir_all(site.path("data/keys")).unwrap();
    let server = site.start();
    let mut alice = server.plain_client();
    alice.token.clone_from(&account.token);
    alice.get("/_matrix/client/v3/account/whoami").ok();
    assert!(!site.path("data/keyring").exists() && site.path("data/keys/keyring").exists());
    assert!(log["size"].as_u64().unwrap() > 0);
    server.stop();
}

#[test]
fn unlocking_by_hand_is_in_the_audit_log() {
    let site = Site::new();
    let server = site.start();
    let made = site.command_json(&["seal", "add-recovery"], "");
    let key = made["recovery_key"].as_str().unwrap().to_owned();
    let file = made["slots"][0]["id"].to_string();
    let removed = site.command(&["seal", "remove", &file], &format!("{key}\n"));
    assert!(removed.status.success(), "{}", text(&removed.stderr));
    server.stop();
    let server = site.start_locked();
    let foreign = "000012 005157 010293 015432 020572 025710 030853 035993\n";
    assert!(!site.command(&["seal", "unlock"], foreign).status.success());
    std::thread::sleep(Duration::from_millis(1100));
    site.command_json(&["seal", "unlock"], &format!("{key}\n"));
    server.wait_for_log("running");
    let log = site.command_json(&["audit", "show", "--limit", "100"], "");
    let entries = log["entries"].as_array().unwrap();
    let unlocked: Vec<String> = entries
        .iter()
        .filter(|entry| entry["act"] == "keyring.unlock")
        .map(|entry| format!("{} {}", entry["facts"]["kind"], entry["facts"]["state"]).replace('"', ""))
        .collect();
    assert_eq!(unlocked, ["recovery failed", "recovery done"]);
    let starts = entries.iter().filter(|entry| entry["act"] == "server.start");
    let by: Vec<&str> = starts
        .map(|entry| entry["facts"]["unlocked_by"].as_str().unwrap())
        .collect();
    assert_eq!(by, ["file", "recovery"]);
    assert!(!log.to_string().contains(&key[..20]));
    server.stop();
}

#[test]
fn a_service_manager_may_start_it() {
    let site = Site::with(&format!("{CONFIG}\n[seal]\nholder = \"manager.sock\"\n"));
    let listener = UnixListener::bind(site.path("manager.sock")).unwrap();
    for _ in 0..2 {
        let socket = OwnedFd::from(listener.try_clone().unwrap());
        let mut child = Command::new(program())
            .args(["--config", "lamchat.toml", "key-holder"])
            .current_dir(site.path(""))
            .stdin(Stdio::from(socket))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let server = site.start();
        assert_eq!(holder(&site), child.id());
        server.stop();
        assert!(child.wait().unwrap().success());
    }
    // By hand it has nobody to answer.
    let alone = site.command(&["key-holder"], "");
    assert_eq!(alone.status.code(), Some(1));
    assert!(
        text(&alone.stderr).contains("not started by hand"),
        "{}",
        text(&alone.stderr)
    );
}

/// The socket for what people type is for the server's own user.
#[test]
fn its_socket_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new();
    let server: Server = site.start();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&site.path("data/keys/holder.socket")), 0o600);
    assert_eq!(mode(&site.path("data/keys")), 0o700);
    server.stop();
}

/// Then an intruder who starts processes as the server's user does not reach the keys either. Only root can set this up.
#[test]
fn it_may_have_a_user_of_its_own() {
    use std::os::unix::process::CommandExt;
    const KEEPER: u32 = 61_234;
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let tpm = crate::tpm::Swtpm::manufactured();
    let site = Site::with(&format!(
        "{}holder = \"manager.sock\"\nkeys_dir = \"vault/keys\"\n",
        tpm.config()
    ));
    // The folder of the test is closed to others, as temporary folders are.
    let open =
        |path: &Path| std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    open(&site.path(""));
    std::fs::create_dir(site.path("vault")).unwrap();
    std::os::unix::fs::chown(site.path("vault"), Some(KEEPER), Some(KEEPER)).unwrap();
    let listener = UnixListener::bind(site.path("manager.sock")).unwrap();
    // Where every user gets at it.
    // By another process: one that is forked meanwhile would have the copy open for writing.
    crate::tpm::copy(Path::new(&program()), &site.path("lamchat"));
    let start = |exchange: &str| {
        Command::new(site.path("lamchat"))
            .args(["--config", "lamchat.toml", "key-holder", "--exchange-user", exchange])
            .current_dir(site.path(""))
            .stdin(Stdio::from(OwnedFd::from(listener.try_clone().unwrap())))
            .stdout(Stdio::null())
            .uid(KEEPER)
            .gid(KEEPER)
            .spawn()
            .unwrap()
    };
    let mut keeper = start("root");
    let server = site.start();
    assert!(site.path("vault/keys/keyring").exists() && !site.path("data/keys").exists());
    let made = site.command_json(&["seal", "add-recovery"], "");
    assert!(made["recovery_key"].is_string());
    // In a namespace of users the holder knows nobody but itself; who passed its socket's mode is root.
    let log = site.command_json(&["audit", "show", "--limit", "100"], "");
    let entries = log["entries"].as_array().unwrap().iter();
    let actors: Vec<&str> = entries
        .filter(|entry| entry["act"] == "keyring.add-slot")
        .map(|entry| entry["actor"].as_str().unwrap())
        .collect();
    assert_eq!(actors, ["uid 0", "uid 0"]);
    // It sees nothing of the data folder, and has the server's keys in its evidence all the same.
    let quoted = site.command(&["attest", "quote", "--nonce", &"01".repeat(20)], "");
    assert!(quoted.status.success(), "{}", text(&quoted.stderr));
    let evidence = Evidence::from_bytes(text(&quoted.stdout).trim_end().as_bytes()).unwrap();
    let uses: Vec<KeyUse> = evidence.claims.keys.iter().map(|key| key.usage).collect();
    assert_eq!(uses, [KeyUse::Signing, KeyUse::Tls, KeyUse::Audit]);
    assert!(evidence.claims.seal.unwrap().starts_with("not at all"));
    server.stop();
    assert!(keeper.wait().unwrap().success());

    // Another user than the one it was told gets no answer.
    let mut keeper = start("61235");
    let refused = site.command(&[], "");
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(keeper.wait().unwrap().code(), Some(1));
}
