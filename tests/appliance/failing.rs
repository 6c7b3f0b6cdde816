//! Releases that fail: each is left by itself after three starts, and everything is there.
//!
//! `LAMCHAT_FAULTY_BUNDLES` names a folder with an update for each way to fail (`faulty.rs`).

use crate::opening::{Begun, begin, good_box};
use crate::restart::is_there;
use crate::set_up::PIN;
use crate::slots;
use crate::update::{far, network};
use crate::virtual_machine::{Disk, VirtualMachine, flat};
use lamchat_release::{Header, Start};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the firmware says when it hands over.
pub const HAND_OVER: &str = "BdsDxe: starting";
/// A watchdog in hardware.
const WATCHDOG: &[&str] = &["-device", "i6300esb", "-action", "watchdog=reset"];
/// Starts of a release before it is left.
const STARTS: usize = 3;

/// A box that has left a release which failed.
struct Back {
    machine: VirtualMachine,
    port: u16,
    known: (PathBuf, String),
    _folder: tempfile::TempDir,
}

impl Back {
    /// What the kernel said before its crashes, from a distance; the console shows the same, page by page.
    fn crashes(&mut self) -> String {
        let answer = far(self.port, &self.known, &["box", "log", "--of", "crash"]);
        let lines = answer.get("lines").and_then(Value::as_array).unwrap();
        let lines: Vec<&str> = lines.iter().filter_map(Value::as_str).collect();
        self.machine.choose("Kernel log of the last crash", "k", Some(PIN));
        let shown = self.machine.expect("Press Enter");
        let last = lines.iter().rfind(|line| line.len() > 20 && line.len() < 70).unwrap();
        assert!(shown.contains(last), "{last:?} is not shown: {shown}");
        self.machine.type_text("\r");
        lines.join("\n")
    }
}

/// Updates a box to a release that fails in this way; no start of it may take longer than `patience`. `devices`: of QEMU's.
fn falls_back(way: &str, patience: Duration, devices: &[&str]) -> Back {
    let bundles = PathBuf::from(std::env::var_os("LAMCHAT_FAULTY_BUNDLES").unwrap());
    let bundle = bundles.join(format!("{way}.bundle"));
    let folder = tempfile::tempdir().unwrap();
    let (disk, board) = good_box();
    let (network, clients, port) = network();
    let mut machine = VirtualMachine::start_restarting(&board, &disk, &[&["-nic", &network], devices].concat());
    machine.expect(HAND_OVER);
    let Begun { event, known, .. } = begin(&mut machine, clients, folder.path());
    let bundle = bundle.to_str().unwrap();
    far(port, &known, &["update", "apply", bundle, "--yes", "--restart"]);
    // Nobody touches the machine any more.
    for start in 1..=STARTS {
        machine.expect_within(HAND_OVER, patience);
        println!(
            "{way}: start {start} of the release that fails after {:?}",
            machine.age()
        );
    }
    machine.expect_within(HAND_OVER, patience);
    machine.expect("New administrator");
    println!("{way}: back after {:?}", machine.age());
    is_there(clients, &event);
    let status = far(port, &known, &["update", "status"]);
    assert_eq!(status.get("running"), Some(&Value::from("0.1.0")), "{status}");
    assert_eq!(slots::names(&disk), ["lamchat-a.efi", "lamchat-b+0-3.efi"]);
    Back {
        machine,
        port,
        known,
        _folder: folder,
    }
}

/// The board's memory for what a kernel says last (ACPI 6.5, 18.5, ERST), in this file: QEMU's arguments.
fn last_words(memory: &Path) -> Vec<String> {
    let object = format!(
        "memory-backend-file,id=erst,mem-path={},size=64K,share=on",
        memory.display()
    );
    let words = ["-object", &object, "-device", "acpi-erst,memdev=erst"];
    words.map(str::to_owned).to_vec()
}

/// Before it has loaded a module, so that only the board's own memory keeps why.
#[test]
fn a_release_that_panics_at_its_start_is_left() {
    let memory = tempfile::NamedTempFile::new().unwrap();
    memory.as_file().set_len(64 << 10).unwrap();
    let erst = last_words(memory.path());
    let erst: Vec<&str> = erst.iter().map(String::as_str).collect();
    let mut back = falls_back("panic", Duration::from_secs(180), &[WATCHDOG, &erst].concat());
    let shown = back.machine.shown();
    assert_eq!(shown.matches("Attempted to kill init").count(), STARTS, "{shown}");
    assert!(
        flat(shown).contains("it crashed before this start: k shows the kernel's last words"),
        "{shown}"
    );
    let crashes = back.crashes();
    let kept = crashes.matches("Attempted to kill init").count();
    assert_eq!(kept, STARTS, "{crashes}");
}

/// A kernel that crashes while the box runs, on a board that keeps its last words in the firmware's variables alone.
#[test]
fn a_release_whose_kernel_crashes_is_left_and_its_last_words_are_kept() {
    let mut back = falls_back("crashed", Duration::from_secs(240), WATCHDOG);
    let crashes = back.crashes();
    assert!(crashes.contains("efi"), "{crashes}");
    // As many as the firmware has room for.
    assert!(crashes.contains("sysrq triggered crash"), "{crashes}");
}

/// Process 1 gives it three minutes, and the exchange time to end.
#[test]
fn a_release_whose_exchange_never_answers_is_left() {
    falls_back("silent", Duration::from_secs(600), WATCHDOG);
}

/// Only the watchdog is left.
#[test]
fn a_release_whose_first_process_hangs_is_left() {
    falls_back("frozen", Duration::from_secs(400), WATCHDOG);
}

/// On a machine that has none, the kernel's own is left, which the console names. Without firmware, because the machines
/// that QEMU has for it come with a watchdog that does not bite.
#[test]
fn a_first_process_that_hangs_is_ended_without_a_watchdog_in_hardware() {
    let bundles = PathBuf::from(std::env::var_os("LAMCHAT_FAULTY_BUNDLES").unwrap());
    let bundle = std::fs::read(bundles.join("frozen.bundle")).unwrap();
    let mut rest = bundle.as_slice();
    let start = Start::read(&mut rest).unwrap();
    let header = Header::from_bytes(&start.header).unwrap();
    let image = header.files.first().unwrap();
    assert_eq!(image.name, "uki");
    let image = rest.get(..usize::try_from(image.bytes).unwrap()).unwrap();
    let disk = Disk::blank();
    let mut machine = VirtualMachine::start_image(image, &disk, &["-nic", "none"]);
    machine.expect("Software Watchdog");
    println!("the kernel's watchdog is fed after {:?}", machine.age());
    machine.wait_off();
    println!("ended after {:?}", machine.age());
    // Nobody else did it.
    assert!(!machine.shown().contains("Restarting system"), "{}", machine.shown());
}
