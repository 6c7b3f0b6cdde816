//! Keys that open only here: against a TPM in software, a fresh one for each test.

use crate::harness::{Server, Site, text};
use crate::maker::manufacture;
use serde_json::Value;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// swtpm with its state in a folder of its own; ended on drop.
pub struct Swtpm {
    pub folder: tempfile::TempDir,
    child: Child,
    pub port: u16,
}

impl Swtpm {
    /// Factory-fresh.
    pub fn new() -> Self {
        Self::of(tempfile::tempdir().unwrap())
    }

    /// As its maker delivers it: with a certificate of its endorsement key by an authority of its own, in `ca`.
    pub fn manufactured() -> Self {
        let folder = tempfile::tempdir().unwrap();
        manufacture(folder.path(), folder.path(), "sha1,sha256");
        Self::of(folder)
    }

    fn of(folder: tempfile::TempDir) -> Self {
        // swtpm cannot choose ports itself, so another process may be faster; then again.
        for _ in 0..50 {
            let port = free_ports();
            if let Some(child) = swtpm(folder.path(), port) {
                return Self { folder, child, port };
            }
        }
        panic!("swtpm found no free ports");
    }

    pub fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// It answers nobody (STOP) until it goes on (CONT).
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id().try_into().unwrap());
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    /// Power on again: PCRs are zero, NV memory stays.
    pub fn start(&mut self) {
        self.child = swtpm(self.folder.path(), self.port).expect("swtpm starts again");
    }

    /// Runs a tool of tpm2-tools, and answers what it prints.
    pub fn tool(&self, arguments: &[&str]) -> String {
        let output = Command::new(arguments[0])
            .args(&arguments[1..])
            .env("TPM2TOOLS_TCTI", format!("swtpm:host=127.0.0.1,port={}", self.port))
            .output()
            .expect("tpm2-tools are installed");
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// What another firmware or another Secure Boot key would do.
    pub fn change_pcr_7(&self) {
        self.tool(&["tpm2_pcrextend", &format!("7:sha256={}", "ab".repeat(32))]);
    }

    /// How many of the counters there are that slots have, one each.
    pub fn indices(&self) -> usize {
        let is_counter = |line: &&str| line.contains("0x1804C0") || line.contains("0x1804C1");
        let listed = self.tool(&["tpm2_getcap", "handles-nv-index"]);
        listed.lines().filter(is_counter).count()
    }

    /// The anchors, one for each installation.
    pub fn anchors(&self) -> Vec<String> {
        let listed = self.tool(&["tpm2_getcap", "handles-nv-index"]);
        let handles = listed.lines().map(|line| line.trim_start_matches("- ").to_owned());
        handles
            .filter(|handle| handle.starts_with("0x1804C2") || handle.starts_with("0x1804C3"))
            .collect()
    }

    pub fn config(&self) -> String {
        format!(
            "{}\n[seal]\ntpm = \"tcp:127.0.0.1:{}\"\n",
            crate::harness::CONFIG,
            self.port
        )
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two free ports in a row: tpm2-tools look for the control socket behind the command socket.
fn free_ports() -> u16 {
    loop {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
}

fn swtpm(folder: &Path, port: u16) -> Option<Child> {
    let mut child = Command::new("swtpm")
        .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
        .args(["--seccomp", "action=none", "--tpmstate"])
        .arg(format!("dir={}", folder.display()))
        .args(["--server", &format!("type=tcp,port={port},bindaddr=127.0.0.1")])
        .args(["--ctrl", &format!("type=tcp,port={},bindaddr=127.0.0.1", port + 1)])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("swtpm is installed (Debian: swtpm)");
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline && child.try_wait().unwrap().is_none() {
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Some(child);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = child.kill();
    child.wait().unwrap();
    None
}

/// The number of the slot of this kind.
pub fn slot(status: &Value, kind: &str) -> String {
    let mut slots = status["slots"].as_array().unwrap().iter();
    slots.find(|slot| slot["kind"] == kind).unwrap()["id"].to_string()
}

pub fn status(site: &Site) -> Value {
    site.command_json(&["seal", "status"], "")
}

/// An exchange with an account, whose keys only the TPM and a recovery key open; and that key.
pub fn sealed(tpm: &Swtpm) -> (Site, String) {
    let site = Site::with(&tpm.config());
    let server = site.start();
    server.account("ada");
    let made = site.command_json(&["seal", "add-recovery"], "");
    let key = made["recovery_key"].as_str().unwrap().to_owned();
    let made = site.command_json(&["seal", "init", "--force"], "");
    assert!(
        site.command(&["seal", "remove", &slot(&made, "file")], &format!("{key}\n"))
            .status
            .success()
    );
    server.stop();
    (site, key)
}

/// The start by itself, with everything there.
pub fn opens(site: &Site) -> Server {
    let server = site.start();
    server.plain_client().log_in("ada", "password of ada").ok();
    server
}

/// The start that does not open; what it says, once the recovery key has opened it and everything was there.
pub fn recovers(site: &Site, key: &str) -> (Server, String) {
    let server = site.start_locked();
    let reason = status(site)["reason"].as_str().unwrap().to_owned();
    let advice = text(&site.command(&["health"], "").stderr);
    assert!(advice.contains("lamchat seal unlock"), "{advice}");
    let unlocked = site.command_json(&["seal", "unlock"], &format!("{key}\n"));
    assert_eq!(unlocked["by"], "recovery key");
    server.wait_for_log("running");
    let users = text(&site.command(&["user", "list"], "").stdout);
    assert!(users.contains("ada"), "{users}");
    (server, reason)
}

/// The same of a disk that is older than its anchor: the start asks about that in its own right.
pub fn recovers_older(site: &Site, key: &str) -> (Server, String) {
    let server = site.start_locked();
    let reason = status(site)["reason"].as_str().unwrap().to_owned();
    site.command_json(&["seal", "unlock"], &format!("{key}\n"));
    server.wait_for_log("older than the TPM remembers");
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let shown = site.command(&["seal", "status", "--json"], "");
        let shown: Value = serde_json::from_slice(&shown.stdout).unwrap_or_default();
        match shown["reason"].as_str() {
            Some(second) if second.contains("goes on as a new epoch") => break,
            _ => assert!(Instant::now() < until, "{shown}"),
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let refused = site.command(&["user", "list"], "");
    assert!(!refused.status.success(), "nobody was asked about the disk");
    site.command_json(&["seal", "unlock"], &format!("{key}\n"));
    server.wait_for_log("running");
    (server, reason)
}

pub fn rebind(site: &Site) {
    let rebound = site.command(&["seal", "rebind", &slot(&status(site), "tpm"), "--force"], "");
    assert!(rebound.status.success(), "{}", text(&rebound.stderr));
}

pub fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

#[test]
fn keys_are_sealed_to_the_tpm_and_open_by_it_at_every_start() {
    let tpm = Swtpm::new();
    let site = Site::with(&tpm.config());
    let server = site.start();
    assert!(server.greeting.contains("PCR 7 only"), "{}", server.greeting);
    // Nothing says that Secure Boot is on.
    let refused = site.command(&["seal", "init"], "");
    assert!(text(&refused.stderr).contains("--force"), "{}", text(&refused.stderr));
    assert_eq!(tpm.indices(), 0);
    let made = site.command_json(&["seal", "init", "--force"], "");
    assert_eq!(made["hardware_sealed"], false, "the file slot undoes it");
    // Whoever has nothing but a TPM loses everything with it.
    let file = slot(&made, "file");
    let refused = site.command(&["seal", "remove", &file], "");
    assert!(
        text(&refused.stderr).contains("add-recovery"),
        "{}",
        text(&refused.stderr)
    );
    server.stop();

    let (site, _) = sealed(&tpm);
    for _ in 0..2 {
        let server = opens(&site);
        assert!(server.greeting.contains("keys are sealed"), "{}", server.greeting);
        let metrics = text(&server.plain_client().get("/metrics").body);
        assert!(metrics.contains("seal_hardware_sealed 1"), "{metrics}");
        let health = text(&server.client().get("/health").body);
        assert_eq!(health, "OK\nkeys: hardware-sealed\n");
        server.stop();
    }
    let server = opens(&site);
    let sealed = status(&site);
    assert_eq!(sealed["hardware_sealed"], true);
    assert!(
        sealed["tpm"]["sentence"].as_str().unwrap().contains("PCR 7 only"),
        "{sealed}"
    );
    // The TPM says who it is, and the catalogue what that means.
    assert_eq!(sealed["tpm"]["known"]["family"], "swtpm, a TPM in software", "{sealed}");
    assert_eq!(sealed["tpm"]["known"]["quirks"][0]["id"], "no-hardware", "{sealed}");
    let said = text(&site.command(&["seal", "status"], "").stdout);
    assert!(
        said.contains("whoever runs it, or copies its files, has its keys"),
        "{said}"
    );
    // Two slots of two exchanges on one TPM: each has its own counter, and takes it along.
    assert_eq!(tpm.indices(), 2);
    rebind(&site);
    assert_eq!(tpm.indices(), 2);
    assert!(
        site.command(&["seal", "remove", &slot(&sealed, "tpm")], "")
            .status
            .success()
    );
    assert_eq!(tpm.indices(), 1);
    server.stop();
}

#[test]
fn a_changed_pcr_is_named_and_the_recovery_key_binds_anew() {
    let mut tpm = Swtpm::new();
    let (site, key) = sealed(&tpm);
    tpm.change_pcr_7();
    let (server, reason) = recovers(&site, &key);
    for part in ["PCR 7 changed from 0000000000000000", "dbx", "lamchat seal rebind"] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    assert!(!reason.contains("another TPM"), "{reason}");
    rebind(&site);
    server.stop();
    opens(&site).stop();
    // Back to how it was is a change as well.
    tpm.stop();
    tpm.start();
    let (server, reason) = recovers(&site, &key);
    assert!(reason.contains("PCR 7 changed from"), "{reason}");
    server.stop();
}

#[test]
fn a_copied_data_folder_does_not_open_on_another_tpm() {
    let (tpm, other) = (Swtpm::new(), Swtpm::new());
    let (site, key) = sealed(&tpm);
    let stolen = Site::with(&other.config());
    copy(&site.path("data"), &stolen.path("data"));
    let (server, reason) = recovers(&stolen, &key);
    assert!(reason.contains("another TPM"), "{reason}");
    // On the new board the slot is bound anew; the old one has noticed nothing.
    rebind(&stolen);
    assert_eq!(other.indices(), 1);
    server.stop();
    opens(&stolen).stop();
    opens(&site).stop();
}

#[test]
fn an_older_copy_does_not_open_after_rebinding() {
    let tpm = Swtpm::new();
    let (site, key) = sealed(&tpm);
    let older = Site::with(&tpm.config());
    copy(&site.path("data"), &older.path("data"));
    let server = opens(&site);
    rebind(&site);
    server.stop();
    opens(&site).stop();
    // By hand the older copy goes on, and the TPM's anchor with it: it is the same installation.
    let (server, reason) = recovers_older(&older, &key);
    assert!(reason.contains("the counter against rollback"), "{reason}");
    assert!(!reason.contains("PCR 7 changed"), "{reason}");
    server.stop();
}

/// A software TPM's files, or a laboratory.
#[test]
fn a_tpm_that_was_put_back_opens_nothing_that_was_sealed_later() {
    let mut tpm = Swtpm::new();
    let (site, key) = sealed(&tpm);
    let state = tpm.folder.path().join("tpm2-00.permall");
    let kept = tempfile::tempdir().unwrap();
    tpm.stop();
    copy(&state, kept.path());
    tpm.start();
    let server = opens(&site);
    rebind(&site);
    server.stop();
    opens(&site).stop();
    tpm.stop();
    std::fs::copy(kept.path().join("tpm2-00.permall"), &state).unwrap();
    tpm.start();
    let (server, reason) = recovers(&site, &key);
    assert!(reason.contains("the counter against rollback"), "{reason}");
    assert!(!reason.contains("another TPM"), "{reason}");
    rebind(&site);
    server.stop();
    opens(&site).stop();
}

#[test]
fn a_tpm_that_is_gone_is_named_and_works_again_when_it_is_back() {
    let mut tpm = Swtpm::new();
    let (site, key) = sealed(&tpm);
    tpm.stop();
    let (server, reason) = recovers(&site, &key);
    assert!(reason.contains("there is no TPM at tcp:127.0.0.1:"), "{reason}");
    let refused = site.command(&["seal", "rebind", &slot(&status(&site), "tpm"), "--force"], "");
    assert!(
        text(&refused.stderr).contains("there is no TPM at"),
        "{}",
        text(&refused.stderr)
    );
    server.stop();
    tpm.start();
    opens(&site).stop();
    // Switched off in the configuration is as good as gone.
    site.configure(&format!("{}\n[seal]\ntpm = \"none\"\n", crate::harness::CONFIG));
    let (server, reason) = recovers(&site, &key);
    assert!(reason.contains("seal.tpm = \"none\""), "{reason}");
    server.stop();
}

/// What the start says while it waits for the PIN.
fn waits_for_pin(site: &Site) -> Server {
    let server = site.start_locked();
    let now = status(site);
    assert!(now["reason"].as_str().unwrap().contains("asks for its PIN"), "{now}");
    assert!(now["advice"].as_str().unwrap().contains("PIN"), "{now}");
    assert_eq!(now["asks_for_pin"], true);
    server
}

fn unlock(site: &Site, typed: &str) -> String {
    let tried = site.command(&["seal", "unlock"], &format!("{typed}\n"));
    assert!(!tried.status.success());
    text(&tried.stderr)
}

#[test]
fn a_pin_is_asked_for_at_every_start_and_never_passes_the_exchange() {
    let tpm = Swtpm::new();
    let site = Site::with(&format!("{}pin = true\n", tpm.config()));
    let server = site.start();
    let made = site.command_json(&["seal", "add-recovery"], "");
    let key = made["recovery_key"].as_str().unwrap().to_owned();
    let short = site.command(&["seal", "init", "--force"], "123\n");
    assert!(text(&short.stderr).contains("fewer than 4"), "{}", text(&short.stderr));
    let unforced = site.command(&["seal", "init"], "a pin\n");
    assert!(text(&unforced.stderr).contains("--force"), "{}", text(&unforced.stderr));
    let made = site.command_json(&["seal", "init", "--force"], "a pin\n");
    assert_eq!(made["tpm"]["pin"], true);
    // In the order of the slots: the recovery key, then the PIN.
    let removed = site.command(&["seal", "remove", &slot(&made, "file")], &format!("{key}\na pin\n"));
    assert!(removed.status.success(), "{}", text(&removed.stderr));
    server.stop();

    let server = waits_for_pin(&site);
    let wrong = unlock(&site, "another pin");
    assert!(
        wrong.contains("PIN is wrong") && wrong.contains("takes 2 more"),
        "{wrong}"
    );
    // The TPM slows down, not the key holder.
    let opened = site.command_json(&["seal", "unlock"], "a pin\n");
    assert_eq!(opened["by"], "pin");
    server.wait_for_log("running");
    let log = site.command_json(&["audit", "show", "--limit", "100"], "").to_string();
    assert!(log.contains("\"unlocked_by\":\"tpm\""), "{log}");
    assert!(log.contains("keyring.unlock") && !log.contains("a pin"), "{log}");
    let rebound = site.command(&["seal", "rebind", &slot(&made, "tpm"), "--force"], "newer pin\n");
    assert!(rebound.status.success(), "{}", text(&rebound.stderr));
    assert_eq!(tpm.indices(), 1);
    server.stop();

    // The old one is as wrong as any other; at last the TPM refuses all, and says for how long.
    let server = waits_for_pin(&site);
    let mut said = Vec::new();
    for _ in 0..4 {
        said.push(unlock(&site, "a pin"));
    }
    assert!(said[0].contains("PIN is wrong"), "{said:?}");
    assert!(
        said[3].contains("too many wrong PINs") && said[3].contains("recovery key"),
        "{said:?}"
    );
    let opened = site.command_json(&["seal", "unlock"], &format!("{key}\n"));
    assert_eq!(opened["by"], "recovery key");
    server.wait_for_log("running");
    server.stop();

    // Nobody is asked for a PIN that would open nothing.
    tpm.tool(&["tpm2_pcrextend", &format!("7:sha256={}", "77".repeat(32))]);
    let server = site.start_locked();
    let now = status(&site);
    assert!(now["reason"].as_str().unwrap().contains("PCR 7 changed"), "{now}");
    assert!(!now["advice"].as_str().unwrap().contains("PIN"), "{now}");
    assert_eq!(now["asks_for_pin"], false);
    server.stop();
}

/// A keyring whose `tpm` slot wraps something else, as somebody without the master key can make it: the checksum fits,
/// the rest does not (FORMAT.md of the keyring).
fn forged(keyring: &[u8]) -> Vec<u8> {
    let number = |at: usize, bytes: usize| {
        keyring[at..at + bytes]
            .iter()
            .fold(0, |all, byte| all << 8 | usize::from(*byte))
    };
    let (total, slots) = (number(12, 4), number(40, 2));
    let mut copy = keyring[..total].to_vec();
    let mut at = 44;
    for _ in 0..slots {
        let end = at + 7 + number(at + 5, 2);
        if keyring[at] == 4 {
            copy[end - 1] ^= 1;
        }
        at = end;
    }
    let checksum = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &copy[..total - 32]);
    copy[total - 32..].copy_from_slice(checksum.as_ref());
    copy.resize(keyring.len() / 2, 0);
    copy.repeat(2)
}

#[test]
fn a_forged_slot_locks_the_start_and_does_not_end_it() {
    let tpm = Swtpm::new();
    let (site, key) = sealed(&tpm);
    let keyring = site.path("data/keys/keyring");
    let honest = std::fs::read(&keyring).unwrap();
    std::fs::write(&keyring, forged(&honest)).unwrap();
    let server = site.start_locked();
    let reason = status(&site)["reason"].as_str().unwrap().to_owned();
    assert!(
        reason.contains("changed by somebody who does not have its master key"),
        "{reason}"
    );
    let refused = unlock(&site, &key);
    assert!(refused.contains("does not have its master key"), "{refused}");
    // Put back what was there, and go on.
    std::fs::write(&keyring, &honest).unwrap();
    site.command_json(&["seal", "unlock"], &format!("{key}\n"));
    server.wait_for_log("running");
    server.stop();
}
