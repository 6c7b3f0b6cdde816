//! Keys under the policy of our image: releases that the operator's key approves, from a security epoch on.

use crate::harness::{Site, text};
use crate::tpm::{Swtpm, copy, opens, recovers, recovers_older, slot, status};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lamchat_tpm::{PcrValues, SignedPolicy};
use serde_json::{Value, json};

/// The operator's release key.
struct ReleaseKey(EcdsaKeyPair);

impl ReleaseKey {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn pem(&self) -> String {
        let point = self.0.public_key().as_ref().try_into().unwrap();
        let info = STANDARD.encode(lamchat_attestation::public_key_info(&point));
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n{}\n-----END PUBLIC KEY-----\n",
            &info[..64],
            &info[64..]
        )
    }

    /// As the image's builder writes it.
    fn approve(&self, pcr_11: [u8; 32], epoch: u64) -> Value {
        let message = SignedPolicy::message(&PcrValues::new([(11, pcr_11)]).unwrap(), epoch).unwrap();
        let signature = self.0.sign(&SystemRandom::new(), &message).unwrap();
        json!({
            "pcrs": [11],
            "epoch": epoch,
            "value": hex(&pcr_11),
            "pkfp": "not read",
            "pol": hex(&message[..32]),
            "sig": STANDARD.encode(signature),
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A machine that boots images, whose files the holder reads at each start.
struct Machine {
    tpm: Swtpm,
    files: tempfile::TempDir,
}

impl Machine {
    fn new(key: &ReleaseKey) -> Self {
        let machine = Self {
            tpm: Swtpm::new(),
            files: tempfile::tempdir().unwrap(),
        };
        machine.install(key);
        machine
    }

    fn install(&self, key: &ReleaseKey) {
        std::fs::write(self.files.path().join("release.pub"), key.pem()).unwrap();
    }

    fn config(&self) -> String {
        let files = self.files.path().display();
        format!(
            "{}release_key = \"{files}/release.pub\"\npcr_signature = \"{files}/signature.json\"\n",
            self.tpm.config()
        )
    }

    fn signature(&self, file: &str) {
        std::fs::write(self.files.path().join("signature.json"), file).unwrap();
    }

    /// Power on with this image: PCR 11 is as systemd's stub leaves it.
    fn measure(&mut self, image: u8) -> [u8; 32] {
        self.tpm.stop();
        self.tpm.start();
        let measured = hex(&[image; 32]);
        self.tpm.tool(&["tpm2_pcrextend", &format!("11:sha256={measured}")]);
        let read = self.tpm.tool(&["tpm2_pcrread", "sha256:11"]);
        let digits = read.split("0x").nth(1).unwrap().trim();
        std::array::from_fn(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
    }

    /// The same, with the approvals that this image carries: of each key for an epoch.
    fn boot(&mut self, image: u8, approvals: &[(&ReleaseKey, u64)]) {
        let measured = self.measure(image);
        let approvals: Vec<Value> = approvals
            .iter()
            .map(|(key, epoch)| key.approve(measured, *epoch))
            .collect();
        self.signature(&json!({"sha256": approvals}).to_string());
    }

    /// An exchange with an account, whose keys only this image's policy and a recovery key open; and that key.
    fn sealed(&self) -> (Site, String) {
        let site = Site::with(&self.config());
        let server = site.start();
        server.account("ada");
        let made = site.command_json(&["seal", "add-recovery"], "");
        let key = made["recovery_key"].as_str().unwrap().to_owned();
        let made = site.command_json(&["seal", "init", "--force"], "");
        let removed = site.command(&["seal", "remove", &slot(&made, "file")], &format!("{key}\n"));
        assert!(removed.status.success(), "{}", text(&removed.stderr));
        server.stop();
        (site, key)
    }
}

fn seal(site: &Site) -> Value {
    let status = status(site);
    let mut slots = status["slots"].as_array().unwrap().iter();
    slots.find(|slot| slot["kind"] == "tpm").unwrap()["seal"].clone()
}

fn refused(site: &Site, arguments: &[&str]) -> String {
    let output = site.command(arguments, "");
    assert!(!output.status.success(), "{arguments:?}: {}", text(&output.stdout));
    text(&output.stderr)
}

#[test]
fn another_release_opens_by_its_approval_and_nothing_else_does() {
    let (key, stranger) = (ReleaseKey::new(), ReleaseKey::new());
    let mut machine = Machine::new(&key);
    machine.boot(1, &[(&key, 5)]);
    let (site, recovery) = machine.sealed();
    let server = opens(&site);
    assert!(server.greeting.contains("the image's policy"), "{}", server.greeting);
    assert!(server.greeting.contains("security epoch 5"), "{}", server.greeting);
    let sealed = seal(&site);
    assert_eq!((&sealed["policy"], &sealed["floor"]), (&json!("image"), &json!(5)));
    assert_eq!(sealed["epochs"], json!([5, 6, 7, 8, 9, 10, 11, 12]));
    assert_eq!(sealed["pcrs"], json!([7]));
    let said = text(&site.command(&["seal", "status"], "").stdout);
    assert!(said.contains("image policy, security epochs 5 to 12"), "{said}");
    server.stop();
    // The next release is measured as something else, and its own approval opens. Of a later epoch, too.
    for (image, epoch) in [(2, 5), (3, 9)] {
        machine.boot(image, &[(&stranger, epoch), (&key, epoch)]);
        opens(&site).stop();
    }
    // Approved by nobody, by somebody else, for another image; an epoch below and one above.
    let other = key.approve([9; 32], 5);
    let unsigned = "no approval by the release key fits what was started (PCR 11 ";
    for (approvals, word) in [
        (vec![], unsigned),
        (vec![(&stranger, 5)], "not by the operator's release key"),
        (vec![(&key, 4)], unsigned),
        (vec![(&key, 13)], unsigned),
    ] {
        machine.boot(4, &approvals);
        let (server, reason) = recovers(&site, &recovery);
        assert!(reason.contains(word), "{word}: {reason}");
        assert!(!reason.contains("PCR 7 changed"), "{reason}");
        server.stop();
    }
    machine.boot(4, &[]);
    machine.signature(&json!({"sha256": [other]}).to_string());
    let (server, reason) = recovers(&site, &recovery);
    assert!(reason.contains(unsigned), "{reason}");
    // Nor is anything sealed to it.
    let told = refused(&site, &["seal", "rebind", &slot(&status(&site), "tpm"), "--force"]);
    assert!(told.contains("approves nothing that fits PCR 11"), "{told}");
    server.stop();
    // The firmware's side still counts.
    machine.boot(2, &[(&key, 5)]);
    machine
        .tpm
        .tool(&["tpm2_pcrextend", &format!("7:sha256={}", "ab".repeat(32))]);
    let (server, reason) = recovers(&site, &recovery);
    assert!(reason.contains("PCR 7 changed from"), "{reason}");
    assert!(!reason.contains("no approval"), "{reason}");
    server.stop();
    // Nothing was lost by all of it.
    machine.boot(2, &[(&key, 5)]);
    opens(&site).stop();
}

#[test]
fn files_of_a_release_that_cannot_be_used_are_named() {
    let key = ReleaseKey::new();
    let mut machine = Machine::new(&key);
    machine.boot(1, &[(&key, 1)]);
    let (site, recovery) = machine.sealed();
    machine.signature("{\"sha256\":[1]}");
    let (server, reason) = recovers(&site, &recovery);
    assert!(
        reason.contains("seal.pcr_signature") && reason.contains("not the JSON"),
        "{reason}"
    );
    let told = refused(&site, &["seal", "init", "--force"]);
    assert!(told.contains("seal.pcr_signature"), "never to PCR 7 instead: {told}");
    server.stop();
    std::fs::remove_file(machine.files.path().join("signature.json")).unwrap();
    std::fs::write(machine.files.path().join("release.pub"), "no key").unwrap();
    let (server, reason) = recovers(&site, &recovery);
    assert!(reason.contains("seal.release_key"), "{reason}");
    server.stop();
    // The same disk under a configuration that knows of no image.
    site.configure(&machine.tpm.config());
    let (server, reason) = recovers(&site, &recovery);
    assert!(reason.contains("names no release key"), "{reason}");
    // There the slot can be bound to PCR 7, which says so.
    crate::tpm::rebind(&site);
    assert_eq!(seal(&site)["sentence"], "PCR 7 only");
    server.stop();
    opens(&site).stop();
    // The configuration binds PCR 11 in one way only.
    site.configure(&machine.config().replace("[seal]\n", "[seal]\npcrs = [7, 11]\n"));
    let told = refused(&site, &["config", "check", "lamchat.toml"]);
    assert!(told.contains("PCR 11 is what the release key approves"), "{told}");
}

#[test]
fn an_old_epoch_is_refused_after_the_floor_was_raised() {
    let key = ReleaseKey::new();
    let mut machine = Machine::new(&key);
    machine.boot(1, &[(&key, 5)]);
    let (site, recovery) = machine.sealed();
    let older = Site::with(&machine.config());
    copy(&site.path("data"), &older.path("data"));
    machine.boot(2, &[(&key, 6)]);
    let server = opens(&site);
    let raise = |floor: &str, bootable: &str| {
        refused(
            &site,
            &[
                "seal",
                "raise-floor",
                floor,
                "--bootable",
                bootable,
                "--bootable",
                "9",
                "--force",
            ],
        )
    };
    let told = raise("6", "5");
    assert!(
        told.contains("has security epoch 5") && told.contains("replace it first"),
        "{told}"
    );
    let told = raise("7", "7");
    assert!(told.contains("the running release has security epoch 6"), "{told}");
    let told = raise("5", "5");
    assert!(told.contains("is 5 or higher already"), "{told}");
    assert_eq!(seal(&site)["floor"], 5, "a refusal changes nothing");
    let unforced = ["seal", "raise-floor", "6", "--bootable", "6"];
    assert!(
        refused(&site, &unforced).contains("say --force"),
        "nothing says that Secure Boot is on"
    );
    let raised = site.command_json(&[&unforced[..], &["--force"]].concat(), "");
    assert_eq!(raised["slots"].as_array().unwrap().len(), 2);
    assert_eq!(seal(&site)["epochs"], json!([6, 7, 8, 9, 10, 11, 12, 13]));
    assert_eq!(machine.tpm.indices(), 1, "the counter of before is gone");
    // Binding anew keeps what was raised.
    crate::tpm::rebind(&site);
    assert_eq!(seal(&site)["floor"], 6);
    let log = site.command_json(&["audit", "show", "--limit", "100"], "").to_string();
    assert!(
        log.contains("keyring.raise-floor") && log.contains("\"floor\":\"6\""),
        "{log}"
    );
    server.stop();
    opens(&site).stop();
    // The withdrawn release, on the disk as it is and on the disk as it was.
    machine.boot(1, &[(&key, 5)]);
    let (server, reason) = recovers(&site, &recovery);
    assert!(
        reason.contains("epochs [6, 7") && reason.contains("withdrawn"),
        "{reason}"
    );
    server.stop();
    machine.boot(2, &[(&key, 6)]);
    opens(&site).stop();
    machine.boot(1, &[(&key, 5)]);
    let (server, reason) = recovers_older(&older, &recovery);
    assert!(reason.contains("the counter against rollback"), "{reason}");
    assert!(!reason.contains("no approval"), "{reason}");
    server.stop();
}

#[test]
fn the_release_key_is_rotated_by_a_release_that_both_keys_approve() {
    let (former, next) = (ReleaseKey::new(), ReleaseKey::new());
    let mut machine = Machine::new(&former);
    machine.boot(1, &[(&former, 3)]);
    let (site, recovery) = machine.sealed();
    let bound_to = |site: &Site| seal(site)["release_key"].as_str().unwrap().to_owned();
    machine.install(&next);
    machine.boot(2, &[(&next, 3), (&former, 3)]);
    opens(&site).stop();
    // It fails, and the slot of before opens the keys.
    machine.install(&former);
    machine.boot(1, &[(&former, 3)]);
    opens(&site).stop();
    machine.install(&next);
    machine.boot(2, &[(&next, 3), (&former, 3)]);
    let server = opens(&site);
    let before = bound_to(&site);
    crate::tpm::rebind(&site);
    assert_ne!(bound_to(&site), before);
    assert_eq!(seal(&site)["floor"], 3);
    server.stop();
    opens(&site).stop();
    // The other slot has a release of both keys, too.
    machine.boot(5, &[(&next, 3), (&former, 3)]);
    opens(&site).stop();
    machine.boot(3, &[(&next, 3)]);
    opens(&site).stop();
    machine.boot(4, &[(&former, 3)]);
    let (server, reason) = recovers(&site, &recovery);
    assert!(reason.contains("not by the operator's release key"), "{reason}");
    server.stop();
}
