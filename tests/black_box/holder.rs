//! The key holder is a process of its own: nobody's child, without a network, and the only one with the keyring.

use crate::harness::{CONFIG, PATIENCE, Server, Site, program, text};
use lamchat_attestation::{Evidence, KeyUse};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
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

/// All that a process can write to and has in memory, but for pages of zeros.
fn memory(pid: u32) -> Vec<u8> {
    use std::os::unix::fs::FileExt;
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let file = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut all = Vec::new();
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (range, rights) = (fields.next().unwrap(), fields.next().unwrap());
        if !rights.starts_with("rw") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let [from, to] = [from, to].map(|number| u64::from_str_radix(number, 16).unwrap());
        // In pieces: a part of a mapping may be out of reach.
        for at in (from..to).step_by(4096) {
            let mut page = [0; 4096];
            if file.read_exact_at(&mut page, at).is_ok() && page != [0; 4096] {
                all.extend(page);
            }
        }
    }
    all
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
    let locked = status(pid, "VmLck");
    assert_eq!(locked, "16 kB");

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
    std::fs::copy(program(), site.path("lamchat")).unwrap();
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
