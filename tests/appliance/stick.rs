//! A USB stick: made and read on this side by other programs (dosfstools, mtools), used by the box on the other.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the partition of a stick with one begins.
const START: u64 = 1 << 20;
const BYTES: u64 = 512 << 20;

/// A stick that outlives machines. Removed when dropped.
pub struct UsbStick {
    image: PathBuf,
    start: u64,
    _folder: tempfile::TempDir,
}

/// Another program's work on a file system; what it says.
pub fn run(command: &str, arguments: &[&str]) -> Vec<u8> {
    let found = ["/usr/sbin", "/usr/bin"].map(|folder| Path::new(folder).join(command));
    let command = found.into_iter().find(|file| file.exists()).unwrap();
    let output = Command::new(&command)
        .args(arguments)
        .env("MTOOLS_SKIP_CHECK", "1")
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} {arguments:?}: {error}");
    output.stdout
}

impl UsbStick {
    /// FAT32 without partitions, or in the only one of an old table.
    pub fn new(is_partitioned: bool) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let image = folder.path().join("stick");
        let file = std::fs::File::create_new(&image).unwrap();
        file.set_len(BYTES).unwrap();
        let start = if is_partitioned { START } else { 0 };
        let (offset, kib) = ((start / 512).to_string(), ((BYTES - start) / 1024).to_string());
        let name = image.to_str().unwrap();
        run("mkfs.vfat", &["-F", "32", "--offset", &offset, name, &kib]);
        if is_partitioned {
            let block = |bytes: u64| u32::try_from(bytes / 512).unwrap().to_le_bytes();
            // UEFI Specification 2.10, table 5.2: status, CHS, kind, CHS, first block, count.
            let entry = [
                &[0, 0, 0, 0, 0x0C, 0, 0, 0],
                block(start).as_slice(),
                &block(BYTES - start),
            ]
            .concat();
            file.write_all_at(&entry, 446).unwrap();
            file.write_all_at(&[0x55, 0xAA], 510).unwrap();
        }
        Self {
            image,
            start,
            _folder: folder,
        }
    }

    /// QEMU's arguments for a machine that it is plugged into.
    pub fn arguments(&self) -> Vec<String> {
        let drive = format!("if=none,id=stick,format=raw,file={}", self.image.display());
        let words = [
            "-device",
            "qemu-xhci",
            "-drive",
            &drive,
            "-device",
            "usb-storage,drive=stick",
        ];
        words.map(str::to_owned).to_vec()
    }

    fn place(&self) -> String {
        format!("{}@@{}", self.image.display(), self.start)
    }

    /// Puts a file into the first folder.
    pub fn put(&self, file: &Path) {
        run("mcopy", &["-i", &self.place(), file.to_str().unwrap(), "::"]);
    }

    /// Writes a file into the first folder, in the place of one of this name.
    pub fn write(&self, name: &str, content: &[u8]) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        std::fs::write(&file, content).unwrap();
        run("mcopy", &["-o", "-i", &self.place(), file.to_str().unwrap(), "::"]);
    }

    /// Writes a file into a folder, which is made where it is not there yet, in the place of one of this name.
    pub fn write_into(&self, folder: &str, name: &str, content: &[u8]) {
        let listed = String::from_utf8(run("mdir", &["-b", "-i", &self.place(), "::"])).unwrap();
        if !listed.lines().any(|line| line.trim_matches([':', '/']) == folder) {
            run("mmd", &["-i", &self.place(), &format!("::{folder}")]);
        }
        let here = tempfile::tempdir().unwrap();
        let file = here.path().join(name);
        std::fs::write(&file, content).unwrap();
        let to = format!("::{folder}/");
        run("mcopy", &["-o", "-i", &self.place(), file.to_str().unwrap(), &to]);
    }

    /// Removes the folder whose name begins with `name`.
    pub fn forget(&self, name: &str) {
        let listed = String::from_utf8(run("mdir", &["-b", "-i", &self.place(), "::"])).unwrap();
        let folder = listed
            .lines()
            .map(|line| line.trim_matches([':', '/']))
            .find(|folder| folder.starts_with(name));
        run("mdeltree", &["-i", &self.place(), &format!("::{}", folder.unwrap())]);
    }

    /// Copies the folder whose name begins with `name` out of it, and answers where it is.
    pub fn take(&self, name: &str, to: &Path) -> PathBuf {
        let listed = String::from_utf8(run("mdir", &["-b", "-i", &self.place(), "::"])).unwrap();
        let mut folders = listed
            .lines()
            .map(|line| line.trim_start_matches("::/").trim_end_matches('/'));
        let folder = folders.find(|folder| folder.starts_with(name));
        let folder = folder.unwrap_or_else(|| panic!("no {name} in {listed}")).to_owned();
        let from = format!("::{folder}");
        run("mcopy", &["-s", "-i", &self.place(), &from, to.to_str().unwrap()]);
        to.join(folder)
    }

    /// Has another program check the file system.
    pub fn check(&self) {
        let file = std::fs::File::open(&self.image).unwrap();
        let mut bytes = vec![0; usize::try_from(BYTES - self.start).unwrap()];
        file.read_exact_at(&mut bytes, self.start).unwrap();
        let copy = self.image.with_extension("checked");
        std::fs::write(&copy, bytes).unwrap();
        run("fsck.vfat", &["-n", copy.to_str().unwrap()]);
        std::fs::remove_file(copy).unwrap();
    }
}
