//! What an auditor gets from a running box, compared with what the build says; and an image with one other byte, which
//! the operator's key signed for the firmware: it starts, opens no keys, is left again, and its evidence is refused.

use crate::client::get;
use crate::failing::HAND_OVER;
use crate::opening::{Begun, begin, good_box};
use crate::restart::is_there;
use crate::set_up::{PIN, shut_down, unlock};
use crate::slots;
use crate::update::{far, network, start};
use crate::virtual_machine::{Disk, VirtualMachine, flat, uki};
use lamchat_attestation::Sha256;
use lamchat_image::Signer;
use lamchat_slots::Slot;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Until the box notes how much it needs.
const IDLE: Duration = Duration::from_secs(65);
const NONCES: [&str; 2] = [
    "0101010101010101010101010101010101010101",
    "0202020202020202020202020202020202020202",
];

/// An auditor's laptop: a folder.
struct Desk {
    folder: tempfile::TempDir,
    known: (PathBuf, String),
}

impl Desk {
    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn run(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lamchat"));
        let output = command
            .current_dir(self.folder.path())
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let why = String::from_utf8_lossy(&output.stderr);
        let code = output.status.code().unwrap();
        assert!(code < 2, "{arguments:?}: {why}");
        (code, said)
    }

    /// A file that the box answers with.
    fn take(&self, port: u16, arguments: &[&str], name: &str) {
        let answer = far(port, &self.known, arguments);
        let file = answer.get(name).and_then(Value::as_str).unwrap();
        std::fs::write(self.path(name), file).unwrap();
    }

    /// Both rounds; `roots`: the maker of the box's TPM.
    fn enrol(&self, port: u16, roots: &str) {
        let (_, public) = self.run(&["attest", "enrol", "public-key", "--key", "auditor.pem"]);
        std::fs::write(self.path("trust.pem"), format!("{roots}{public}")).unwrap();
        self.take(port, &["attest", "enrol", "request"], "request");
        let challenge = [
            "attest",
            "enrol",
            "challenge",
            "request",
            "--label",
            "rack 7",
            "--trust",
            "trust.pem",
        ];
        let (code, said) = self.run(&[&challenge[..], &["--key", "auditor.pem", "--out", "challenge"]].concat());
        assert_eq!(code, 0, "{said}");
        self.take(
            port,
            &["attest", "enrol", "activate", &self.path("challenge")],
            "answer",
        );
        let finish = [
            "attest",
            "enrol",
            "finish",
            "challenge",
            "answer",
            "--key",
            "auditor.pem",
        ];
        let (code, said) = self.run(&[&finish[..], &["--out", "enrolment"]].concat());
        assert_eq!(code, 0, "{said}");
    }

    /// The box's evidence, judged by a build's reference: exit code and verdict.
    fn judge(&self, port: u16, nonce: &str, reference: &Path) -> (i32, Value) {
        self.take(port, &["attest", "quote", "--nonce", nonce], "evidence");
        self.judge_again(nonce, reference)
    }

    fn judge_again(&self, nonce: &str, reference: &Path) -> (i32, Value) {
        let reference = reference.to_str().unwrap();
        let verify = [
            "attest",
            "verify",
            "evidence",
            "--nonce",
            nonce,
            "--reference",
            reference,
        ];
        let more = ["--trust", "trust.pem", "--enrolment", "enrolment", "--json"];
        let (code, verdict) = self.run(&[&verify[..], &more].concat());
        (code, serde_json::from_str(&verdict).unwrap())
    }
}

/// Prints what a start costs and what the box needs at rest. Nothing is asserted of times.
fn print_figures(machine: &mut VirtualMachine, port: u16) {
    let image = uki();
    for (what, file) in [
        ("the image that runs", image.clone()),
        ("the disk's image", image.with_extension("img")),
    ] {
        let about = std::fs::metadata(file).unwrap();
        let blocks = std::os::unix::fs::MetadataExt::blocks(&about) * 512;
        println!("figure: {what}: {} bytes, {blocks} on a disk with holes", about.len());
    }
    machine.expect(HAND_OVER);
    let (wall, processor) = (machine.age(), machine.spent());
    println!("figure: firmware: {wall:.1?}, {processor:.1?} of a processor");
    while !matches!(get(port, "/_matrix/client/versions", None), Ok((200, _))) {
        std::thread::sleep(Duration::from_millis(200));
    }
    let (wall, processor) = (machine.age() - wall, machine.spent() - processor);
    println!("figure: from the firmware's hand-over to /versions: {wall:.1?}, {processor:.1?} of a processor");
    machine.expect("New administrator");
    std::thread::sleep(IDLE);
    machine.type_text("7");
    machine.answer("PIN: ", PIN);
    let log = machine.answer("Press Enter", "");
    let (_, idle) = log.split_once("idle: ").unwrap_or_else(|| panic!("{log}"));
    println!("figure: idle: {}", idle.lines().next().unwrap().trim_end());
}

/// The image with one other byte in the kernel's command line, signed for the firmware.
fn changed() -> Vec<u8> {
    let keys = PathBuf::from(std::env::var_os("LAMCHAT_IMAGE_KEYS").unwrap());
    let mut image = std::fs::read(uki()).unwrap();
    let wanted = b" loglevel=3";
    let at = image.windows(wanted.len()).position(|window| window == wanted).unwrap();
    *image.get_mut(at + wanted.len() - 1).unwrap() = b'4';
    Signer::with_keys(&keys).unwrap().program("changed", &image).unwrap()
}

/// Puts an image into the second slot, as if it were an update.
fn place(disk: &Disk, image: &[u8]) {
    let sha256 = Sha256::of(image).0;
    slots::with_slots(disk, |slots| {
        slots.write(Slot::A, &mut &*image, image.len() as u64, &sha256).unwrap()
    });
}

/// What the firmware measured as the image that it started (PCR 4) is none of the reference's.
fn is_another_image(code: i32, verdict: &Value) {
    let reason = verdict.get("reason");
    assert_eq!((code, reason), (1, Some(&Value::from("event-unknown"))), "{verdict}");
    let message = verdict.get("message").unwrap().as_str().unwrap();
    assert!(
        message.contains("in PCR 4 has digest") && message.contains("not in the reference manifest"),
        "{message}"
    );
}

#[test]
fn evidence_is_that_of_the_build_and_a_changed_image_has_neither_keys_nor_evidence() {
    let reference = uki().with_file_name("reference.json");
    let folder = tempfile::tempdir().unwrap();
    let (disk, board) = good_box();
    let maker = board.manufacture_tpm();
    let (mut machine, clients, _) = start(&disk, &board);
    let Begun { key, event, known } = begin(&mut machine, clients, folder.path());
    let desk = Desk { folder, known };
    shut_down(&mut machine);

    let (mut machine, clients, port) = start(&disk, &board);
    print_figures(&mut machine, clients);
    desk.enrol(port, &maker);
    let (code, verdict) = desk.judge(port, NONCES[0], &reference);
    assert_eq!(code, 0, "{verdict}");
    assert_eq!(
        verdict.pointer("/facts/server_name"),
        Some(&Value::from("chat.example.org"))
    );
    // The same evidence, asked whether it is the next release.
    let next = PathBuf::from(std::env::var_os("LAMCHAT_NEXT_BUNDLE").unwrap());
    let (code, verdict) = desk.judge_again(NONCES[0], &next.with_file_name("reference.json"));
    is_another_image(code, &verdict);
    shut_down(&mut machine);

    // It starts, opens nothing, and is left after three starts, all by itself.
    let changed = changed();
    place(&disk, &changed);
    let (network, clients, _) = network();
    let mut machine = VirtualMachine::start_restarting(&board, &disk, &["-nic", &network]);
    for _ in 0..3 {
        machine.expect(HAND_OVER);
        let screen = flat(&machine.expect("Unlock with the recovery key"));
        assert!(screen.contains("no approval by the release key"), "{screen}");
        assert!(!screen.contains("PCR 7 changed"), "{screen}");
    }
    machine.expect(HAND_OVER);
    machine.expect("New administrator");
    println!("left after {:?}", machine.age());
    is_there(clients, &event);
    assert_eq!(slots::names(&disk), ["lamchat-a.efi", "lamchat-b+0-3.efi"]);
    shut_down(&mut machine);

    // Even somebody who has the recovery key gets no evidence that it is the release.
    place(&disk, &changed);
    let (mut machine, clients, port) = start(&disk, &board);
    unlock(&mut machine, &key);
    is_there(clients, &event);
    let (code, verdict) = desk.judge(port, NONCES[1], &reference);
    is_another_image(code, &verdict);
    println!("refused: {}", verdict.get("message").unwrap());
    shut_down(&mut machine);
}
