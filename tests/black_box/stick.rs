//! The process that has a USB stick, with file systems that other programs made and check afterwards: dosfstools, mtools.

use crate::harness::program;
use lamchat_stick::{Stick, StickError};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

fn run(command: &str, arguments: &[&str]) -> String {
    // Both are in /usr/sbin on Debian, which is not in everybody's path.
    let command = ["/usr/sbin", "/usr/bin"]
        .map(|folder| Path::new(folder).join(command))
        .into_iter()
        .find(|file| file.exists())
        .unwrap_or_else(|| panic!("{command} is not installed"));
    let output = Command::new(&command)
        .args(arguments)
        .env("MTOOLS_SKIP_CHECK", "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} {arguments:?}: {text}");
    text
}

/// A stick without a partition table.
fn format(folder: &Path, bits: &str, kib: &str) -> PathBuf {
    let image = folder.join("stick");
    let name = image.to_str().unwrap();
    run("mkfs.vfat", &["-F", bits, "-n", "MINE", "-C", name, kib]);
    image
}

/// The program as process 1 starts it.
fn start(image: &Path) -> (Stick, Child) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let device = File::options().read(true).write(true).open(image).unwrap();
    let child = Command::new(program())
        .args(["stick", "--user", "993"])
        .env_clear()
        .stdin(OwnedFd::from(theirs))
        .stdout(OwnedFd::from(device))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    (Stick::new(ours).unwrap(), child)
}

#[test]
fn other_programs_read_what_we_write_and_the_reverse() {
    for (bits, kib) in [("16", "32768"), ("32", "131072")] {
        let folder = tempfile::tempdir().unwrap();
        let image = format(folder.path(), bits, kib);
        let name = image.to_str().unwrap();
        let given = folder.path().join("a long name of somebody's.bundle");
        let content: Vec<u8> = (0..700_000u32).flat_map(u32::to_le_bytes).collect();
        std::fs::write(&given, &content).unwrap();
        run("mcopy", &["-i", name, given.to_str().unwrap(), "::"]);

        let (mut stick, mut child) = start(&image);
        let about = stick.about().unwrap();
        assert_eq!((about.kind, about.label.as_str()), (format!("FAT{bits}"), "MINE"));
        let entries = stick.list("").unwrap();
        assert!(
            entries
                .iter()
                .any(|entry| entry.name == "a long name of somebody's.bundle")
        );
        stick.make_folder("lamchat-backup-20261127").unwrap();
        for number in 1..40 {
            let path = format!("lamchat-backup-20261127/part-{number:05}");
            stick
                .write_small(&path, content.get(..number * 10_007).unwrap())
                .unwrap();
        }
        stick.close().unwrap();
        assert!(child.wait().unwrap().success());

        let found = run("fsck.vfat", &["-n", "-v", name]);
        assert!(
            !found.contains("differ") && !found.contains("free cluster summary wrong"),
            "{found}"
        );
        let taken = folder.path().join("taken");
        run(
            "mcopy",
            &[
                "-i",
                name,
                "::lamchat-backup-20261127/part-00039",
                taken.to_str().unwrap(),
            ],
        );
        assert!(std::fs::read(taken).unwrap() == content.get(..39 * 10_007).unwrap());

        let (mut stick, mut child) = start(&image);
        let copy = folder.path().join("plain.bundle");
        std::fs::write(&copy, &content).unwrap();
        run("mcopy", &["-i", name, copy.to_str().unwrap(), "::"]);
        assert!(stick.read_small("plain.bundle", 3_000_000).unwrap() == content);
        drop(stick);
        assert!(child.wait().unwrap().success(), "it ends with its peer");
    }
}

#[test]
fn the_process_has_nothing_but_its_stick() {
    let folder = tempfile::tempdir().unwrap();
    let image = format(folder.path(), "16", "32768");
    let (mut stick, mut child) = start(&image);
    stick.about().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let says = |line: &str| {
        status
            .lines()
            .any(|found| found.split_whitespace().eq(line.split_whitespace()))
    };
    assert!(says("NoNewPrivs: 1") && says("Seccomp: 2"), "{status}");
    if nix::unistd::geteuid().is_root() {
        assert!(
            says("Uid: 993 993 993 993") && says("CapEff: 0000000000000000"),
            "{status}"
        );
    }
    // Another file system, or none: a sentence for the operator, not an end.
    drop(stick);
    assert!(child.wait().unwrap().success());
    std::fs::write(&image, [0; 4096]).unwrap();
    let (mut stick, mut child) = start(&image);
    let refused = stick.list("").unwrap_err();
    assert!(
        matches!(&refused, StickError::Refused(why) if why.contains("FAT32")),
        "{refused}"
    );
    drop(stick);
    assert!(child.wait().unwrap().success());
}
