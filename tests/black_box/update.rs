//! Updates of a box, without a box: the real server and the real updater, an image of a partition, and a thread in the
//! place of process 1.

use crate::harness::{Site, lamchat, program, text};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use lamchat_attestation::Sha256;
use lamchat_release::{Approvers, File, Header, Start, Version};
use serde_json::json;
use std::io::{Cursor, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub const CONFIG: &str = r#"
server_name = "localhost"
data_dir = "data"

[[listeners]]
port = 0
tls_local_authority = true
resources = ["client", "admin"]

[registration]
password_hash = "minimum"

[admin]
updates = "update.sock"
"#;
/// What stands before the point in a public key of P-256.
const SPKI: &str = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
const CHANGELOG: &str = "## 0.2.0\nBetter\u{1b}[2J.\n";

pub fn signer() -> EcdsaKeyPair {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()
}

pub fn release(seed: u32, length: usize) -> Vec<u8> {
    (0..length)
        .map(|index| ((index as u32).wrapping_mul(2_654_435_761) >> 24) as u8 ^ seed as u8)
        .collect()
}

fn bill(version: &str) -> Vec<u8> {
    let components = json!([{"name": "linux", "version": version}, {"name": "systemd", "version": "252"}]);
    json!({"bomFormat": "CycloneDX", "components": components})
        .to_string()
        .into_bytes()
}

/// A bundle of these files.
pub fn bundle(signer: &EcdsaKeyPair, version: [u32; 3], product: &str, uki: &[u8]) -> Vec<u8> {
    let bill = bill(&format!("6.1.{}", version[1]));
    let files: [(&str, &[u8]); 4] = [
        ("uki", uki),
        ("boot-loader", b"loader"),
        ("sbom", &bill),
        ("changelog", CHANGELOG.as_bytes()),
    ];
    bundle_of(signer, version, product, &files)
}

/// A bundle of any files.
fn bundle_of(signer: &EcdsaKeyPair, version: [u32; 3], product: &str, files: &[(&str, &[u8])]) -> Vec<u8> {
    let header = Header {
        product: product.to_owned(),
        version: Version(version),
        epoch: 1,
        commit: "abc".to_owned(),
        built_at: 1_767_225_600,
        files: files
            .iter()
            .map(|(name, content)| File {
                name: (*name).to_owned(),
                bytes: content.len() as u64,
                sha256: Sha256::of(content),
            })
            .collect(),
    };
    let header = serde_json::to_vec(&header).unwrap();
    let signature = signer
        .sign(&SystemRandom::new(), &lamchat_release::message(&header))
        .unwrap();
    let contents: Vec<&[u8]> = files.iter().map(|(_, content)| *content).collect();
    let mut bytes = Vec::new();
    lamchat_release::write(&mut bytes, &header, signature.as_ref().try_into().unwrap(), &contents).unwrap();
    bytes
}

/// The bundle with one more approval.
fn approved(bundle: &[u8], approver: &EcdsaKeyPair) -> Vec<u8> {
    let mut rest = bundle;
    let mut start = Start::read(&mut rest).unwrap();
    let message = lamchat_release::message(&start.header);
    let signature = approver.sign(&SystemRandom::new(), &message).unwrap();
    start
        .approvals
        .add(&public(approver), signature.as_ref().try_into().unwrap())
        .unwrap();
    let mut bytes = Vec::new();
    start.write(&mut bytes).unwrap();
    bytes.extend(rest);
    bytes
}

fn public(key: &EcdsaKeyPair) -> [u8; 65] {
    key.public_key().as_ref().try_into().unwrap()
}

/// The folder of a box: its partition, its release, and what its process 1 does with updates.
pub struct Machine {
    pub site: Site,
    pub key: EcdsaKeyPair,
    /// Exit codes of updaters.
    pub codes: Arc<Mutex<Vec<i32>>>,
}

impl Machine {
    pub fn new() -> Self {
        Self::with(CONFIG)
    }

    /// One whose server has this configuration.
    pub fn with(config: &str) -> Self {
        let site = Site::with(config);
        let key = signer();
        let digits = |at: usize| u8::from_str_radix(&SPKI[at..at + 2], 16).unwrap();
        let spki: Vec<u8> = (0..SPKI.len())
            .step_by(2)
            .map(digits)
            .chain(key.public_key().as_ref().iter().copied())
            .collect();
        let spki = base64::engine::general_purpose::STANDARD.encode(spki);
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n{}\n-----END PUBLIC KEY-----\n",
            &spki[..64],
            &spki[64..]
        );
        std::fs::write(site.path("release.pub"), pem).unwrap();
        let about = json!({"product": "lamchat", "version": "0.1.0", "epoch": 1});
        std::fs::write(site.path("release.json"), about.to_string()).unwrap();
        std::fs::write(site.path("sbom.cdx.json"), bill("6.1.0")).unwrap();
        let mut image = Cursor::new(vec![0; 40 << 20]);
        let options = fatfs::FormatVolumeOptions::new()
            .fat_type(fatfs::FatType::Fat32)
            .bytes_per_cluster(512);
        fatfs::format_volume(&mut image, options).unwrap();
        {
            let system = fatfs::FileSystem::new(&mut image, fatfs::FsOptions::new()).unwrap();
            let root = system.root_dir();
            root.create_dir("EFI").unwrap();
            root.create_dir("EFI/Linux").unwrap();
            root.create_file("EFI/Linux/lamchat-a.efi")
                .unwrap()
                .write_all(&release(1, 9_000))
                .unwrap();
        }
        std::fs::write(site.path("esp"), image.into_inner()).unwrap();
        let codes = Arc::default();
        let machine = Self { site, key, codes };
        machine.take_updates("a");
        machine
    }

    fn updater(folder: &Path, running: &str) -> Command {
        let mut command = Command::new(program());
        command
            .current_dir(folder)
            .args(["updater", "--esp", "esp", "--folder", "update"]);
        command.args([
            "--key",
            "release.pub",
            "--approvers",
            "approvers.json",
            "--release",
            "release.json",
            "--bill",
            "sbom.cdx.json",
            "--running",
            running,
            "--user",
            "991",
        ]);
        command
    }

    /// What process 1 does: an updater for each connection.
    fn take_updates(&self, running: &'static str) {
        let socket = self.site.path("update.sock");
        // From an earlier start, if there was one.
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let (folder, codes) = (self.site.path(""), Arc::clone(&self.codes));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = Stdio::from(OwnedFd::from(stream.unwrap()));
                let status = Self::updater(&folder, running).stdin(stream).status().unwrap();
                codes.lock().unwrap().push(status.code().unwrap_or(-1));
            }
        });
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.site.path(name), bytes).unwrap();
    }

    /// The files of the slots.
    pub fn slots(&self) -> Vec<(String, Vec<u8>)> {
        let image = std::fs::read(self.site.path("esp")).unwrap();
        let system = fatfs::FileSystem::new(Cursor::new(image), fatfs::FsOptions::new()).unwrap();
        let folder = system.root_dir().open_dir("EFI/Linux").unwrap();
        let files = folder.iter().map(Result::unwrap).filter(|entry| entry.is_file());
        let mut files: Vec<_> = files
            .map(|entry| {
                let mut content = Vec::new();
                entry.to_file().read_to_end(&mut content).unwrap();
                (entry.file_name(), content)
            })
            .collect();
        files.sort();
        files
    }
}

#[test]
fn a_bundle_whose_sender_goes_away_has_an_end_in_the_log() {
    let machine = Machine::new();
    let server = machine.site.start();
    let site = &machine.site;
    let mut sender = std::os::unix::net::UnixStream::connect(site.path("data/admin.sock")).unwrap();
    let head = "POST /_lamchat/admin/v1/update/bundle HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n";
    sender.write_all(head.as_bytes()).unwrap();
    sender.write_all(&[0; 1000]).unwrap();
    let states = || {
        let log = site.command_json(&["audit", "show"], "");
        let entries = log["entries"].as_array().unwrap().iter();
        let staged = entries.filter(|entry| entry["act"] == "update.stage");
        staged
            .map(|entry| entry["facts"]["state"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let until = Instant::now() + Duration::from_secs(30);
    let wait = |expected: &[&str]| {
        while states() != expected {
            assert!(Instant::now() < until, "{:?}", states());
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    wait(&["begun"]);
    drop(sender);
    wait(&["begun", "failed"]);
    server.stop();
}

#[test]
fn an_update_is_checked_shown_accepted_and_installed() {
    let machine = Machine::new();
    let server = machine.site.start();
    let site = &machine.site;
    let status = site.command_json(&["update", "status"], "");
    assert_eq!(status["slots"].as_array().unwrap().len(), 1, "{status}");
    assert_eq!((&status["running"], &status["staged"]), (&json!("0.1.0"), &json!(null)));
    // It is no image at all, so nobody knows whether it may be left behind.
    assert_eq!(status["slots"][0]["epoch"], json!(null));

    // What a later release may have left, before this one was fallen back to.
    machine.write("update/staged.bundle", b"LAMUPDT\x02 and so on");
    assert_eq!(site.command_json(&["update", "status"], "")["staged"], json!(null));
    assert!(!site.command(&["update", "show"], "").status.success());
    let two = release(2, 3_000_000);
    machine.write("two", &bundle(&machine.key, [0, 2, 0], "lamchat", &two));
    let before = std::fs::read(site.path("esp")).unwrap();
    let checked = site.command_json(&["update", "check", "two"], "");
    assert_eq!(checked["version"], "0.2.0");
    // Already the first one is compared with what runs.
    let linux = |to: &str| json!([{"name": "linux", "from": "6.1.0", "to": to}]);
    assert_eq!(
        (&checked["components_known"], &checked["components"]),
        (&json!(true), &linux("6.1.2")),
        "{checked}"
    );
    let shown = text(&site.command(&["update", "show"], "").stdout);
    assert!(
        shown.contains("Release 0.2.0") && shown.contains("Better") && !shown.contains('\u{1b}'),
        "{shown}"
    );
    let refused = site.command(&["update", "apply"], "no\n");
    assert!(
        text(&refused.stderr).contains("nothing was installed"),
        "{}",
        text(&refused.stderr)
    );
    assert!(
        std::fs::read(site.path("esp")).unwrap() == before,
        "nothing is written before it is accepted"
    );

    let applied = site.command_json(&["update", "apply", "--yes"], "");
    assert_eq!(applied["file"], "lamchat-b+3.efi", "{applied}");
    let slots = machine.slots();
    assert!(slots[0] == ("lamchat-a.efi".to_owned(), release(1, 9_000)));
    assert!(slots.len() == 2 && slots[1] == ("lamchat-b+3.efi".to_owned(), two));
    let status = text(&site.command(&["update", "status"], "").stdout);
    assert!(
        status.contains("on trial, 3 attempts left") && status.contains("good"),
        "{status}"
    );
    let none = site.command(&["update", "show"], "");
    assert!(
        text(&none.stderr).contains("no update is staged"),
        "{}",
        text(&none.stderr)
    );

    // From a distance, with a restart. What runs is compared with, neither what was installed meanwhile nor what a file
    // among the data says.
    machine.write("update/sbom.json", &bill("6.1.3"));
    let made = site.command(&["admin-credential", "create", "alice", "--out", "alice"], "");
    assert!(made.status.success(), "{}", text(&made.stderr));
    machine.write(
        "three",
        &bundle(&machine.key, [0, 3, 0], "lamchat", &release(3, 500_000)),
    );
    let elsewhere = tempfile::tempdir().unwrap();
    let path = |name: &str| site.path(name).display().to_string();
    let apply = [
        "--credential",
        &path("alice"),
        "update",
        "apply",
        &path("three"),
        "--restart",
    ];
    let applied = lamchat(elsewhere.path(), &apply, "yes\n");
    let said = text(&applied.stdout);
    assert!(applied.status.success(), "{}", text(&applied.stderr));
    assert!(
        said.contains("linux") && said.contains("6.1.0") && said.contains("6.1.3") && !said.contains("systemd"),
        "{said}"
    );
    assert!(said.contains("starts again"), "{said}");
    assert_eq!(machine.codes.lock().unwrap().last(), Some(&10), "process 1 is told");

    let log = site.command_json(&["audit", "show"], "");
    let entries = log["entries"].as_array().unwrap().iter();
    let acts: Vec<String> = entries
        .filter(|entry| entry["act"].as_str().unwrap().starts_with("update."))
        .map(|entry| {
            format!(
                "{} {} {}",
                entry["act"], entry["facts"]["state"], entry["facts"]["version"]
            )
            .replace('"', "")
        })
        .collect();
    let of = |version: &str| {
        ["update.stage", "update.apply"]
            .map(|act| [format!("{act} begun null"), format!("{act} done {version}")])
            .concat()
    };
    assert_eq!(acts, [of("0.2.0"), of("0.3.0")].concat());

    // A bundle may come without a bill.
    let bare: [(&str, &[u8]); 2] = [("uki", b"a release"), ("boot-loader", b"loader")];
    machine.write("bare", &bundle_of(&machine.key, [0, 2, 0], "lamchat", &bare));
    let said = text(&site.command(&["update", "check", "bare"], "").stdout);
    assert!(said.contains("no bill of materials"), "{said}");
    server.stop();
}

#[test]
fn bundles_that_are_not_right_are_refused_before_any_write() {
    let machine = Machine::new();
    let server = machine.site.start();
    let site = &machine.site;
    let uki = release(2, 300_000);
    let good = bundle(&machine.key, [0, 2, 0], "lamchat", &uki);
    let mut damaged = good.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    let cases: [(&str, Vec<u8>, &str); 7] = [
        ("truncated", good[..good.len() - 1].to_vec(), "cut off"),
        ("damaged", damaged, "damaged"),
        ("longer", [good.as_slice(), b"x"].concat(), "behind its last file"),
        (
            "wrong-signer",
            bundle(&signer(), [0, 2, 0], "lamchat", &uki),
            "not signed by this box's release key",
        ),
        (
            "older",
            bundle(&machine.key, [0, 0, 9], "lamchat", &uki),
            "nothing below 0.1.0",
        ),
        (
            "wrong-product",
            bundle(&machine.key, [0, 2, 0], "toaster", &uki),
            "another product",
        ),
        ("nonsense", b"nonsense".to_vec(), "no update of LamChat"),
    ];
    let before = std::fs::read(site.path("esp")).unwrap();
    for (name, bytes, reason) in cases {
        machine.write(name, &bytes);
        for arguments in [vec!["update", "check", name], vec!["update", "apply", name, "--yes"]] {
            let refused = site.command(&arguments, "");
            let error = text(&refused.stderr);
            assert!(!refused.status.success() && error.contains(reason), "{name}: {error}");
        }
        assert_eq!(
            site.command_json(&["update", "status"], "")["staged"],
            json!(null),
            "{name}"
        );
        assert_eq!(
            std::fs::metadata(site.path("update/staged.bundle")).unwrap().len(),
            0,
            "{name}"
        );
    }
    assert!(std::fs::read(site.path("esp")).unwrap() == before);
    // What was looked at is what is installed.
    machine.write("good", &good);
    site.command_json(&["update", "check", "good"], "");
    let mut client = server.client();
    client.token = None;
    let refused = client
        .post("/_lamchat/admin/v1/update/apply", &json!({"id": "x"}))
        .refusal();
    assert_eq!(refused, (401, "M_MISSING_TOKEN".to_owned()));
    // A release that runs on trial keeps its fallback, until it is marked good.
    site.command_json(&["update", "apply", "--yes"], "");
    machine.take_updates("b");
    let refused = site.command(&["update", "apply", "good", "--yes"], "");
    assert!(
        text(&refused.stderr).contains("not marked good yet"),
        "{}",
        text(&refused.stderr)
    );
    // Another updater is at work, such as the one that has the other half of a mirror follow: this one waits for it.
    let staged = std::fs::File::open(site.path("update/staged.bundle")).unwrap();
    staged.lock().unwrap();
    let waiting = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(2));
        drop(staged);
    });
    site.command_json(&["update", "status"], "");
    waiting.join().unwrap();
    // The answer may come before its end is noticed here.
    let since = Instant::now();
    while machine.codes.lock().unwrap().last() != Some(&12) {
        assert!(since.elapsed() < Duration::from_secs(10), "something has to follow");
    }
    let marked = Machine::updater(&site.path(""), "b")
        .arg("--mark-good")
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(marked.success());
    let names: Vec<String> = machine.slots().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["lamchat-a.efi", "lamchat-b.efi"]);
    site.command_json(&["update", "apply", "good", "--yes"], "");
    let names: Vec<String> = machine.slots().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["lamchat-a+3.efi", "lamchat-b.efi"]);
    server.stop();
}

#[test]
fn a_box_that_names_approvers_asks_for_enough_of_them() {
    let machine = Machine::new();
    let (ann, bob, eve) = (signer(), signer(), signer());
    let approvers = Approvers::new(vec![public(&ann), public(&bob)], 2).unwrap();
    machine.write("approvers.json", approvers.to_json().as_bytes());
    let server = machine.site.start();
    let none = bundle(&machine.key, [0, 2, 0], "lamchat", &release(2, 1_000));
    let one = approved(&none, &ann);
    let strange = approved(&one, &eve);
    for (name, bytes, found) in [("none", &none, 0), ("one", &one, 1), ("strange", &strange, 1)] {
        machine.write(name, bytes);
        let refused = machine.site.command(&["update", "apply", name, "--yes"], "");
        let error = text(&refused.stderr);
        assert!(
            error.contains(&format!("has {found} of the 2 approvals")),
            "{name}: {error}"
        );
    }
    assert_eq!(machine.slots().len(), 1);
    machine.write("both", &approved(&strange, &bob));
    machine.site.command_json(&["update", "apply", "both", "--yes"], "");
    assert_eq!(machine.slots().len(), 2);

    // A file that cannot be read is no file that names nobody.
    machine.write("approvers.json", b"{}");
    machine.write("later", &bundle(&machine.key, [0, 3, 0], "lamchat", &release(3, 1_000)));
    let refused = machine.site.command(&["update", "check", "later"], "");
    assert!(
        text(&refused.stderr).contains("the file of approvers"),
        "{}",
        text(&refused.stderr)
    );
    server.stop();
}
