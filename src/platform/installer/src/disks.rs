//! The disks of this machine, and which of them may be written.

use lamchat_machine::gpt::{self, GptError};
use std::path::{Path, PathBuf};

/// The smallest disk that is taken: two slots, the keyring, and room for data.
pub const DISK_BYTES_MIN: u64 = 8_000_000_000;
/// What /sys counts disks in, whatever their sectors are.
const SECTOR: u64 = 512;
/// Longest text of a device that is shown, in characters.
const TEXT_CHARS_MAX: usize = 40;
/// The data of a box, as in the image.
const DATA_LABEL: &str = "lamchat-data";

/// Why a disk cannot be installed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is where the installer came from.
    #[error("it is this installer's stick")]
    Stick,
    /// It is too small.
    #[error("too small, 8 GB are needed")]
    Small,
    /// The kernel lets nobody write to it.
    #[error("it is write-protected")]
    Protected,
    /// Something on it is in use.
    #[error("it is in use")]
    Used,
}

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// Its block device.
    pub path: PathBuf,
    /// Its name in /dev.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
    /// Maker, model and serial number, as far as it tells.
    pub model: String,
    /// What is on it, for people.
    pub content: String,
    /// Why it cannot be taken.
    pub refusal: Option<Refusal>,
}

/// Describes disks (`/dev/NAME`); `blocks` is /sys/block, `stick` the disk that the installer is on. Disks without a
/// medium are left out.
pub fn list(disks: &[PathBuf], blocks: &Path, stick: Option<&Path>) -> Vec<Disk> {
    disks.iter().filter_map(|disk| describe(disk, blocks, stick)).collect()
}

fn describe(path: &Path, blocks: &Path, stick: Option<&Path>) -> Option<Disk> {
    let name = path.file_name()?.to_str()?.to_owned();
    let folder = blocks.join(&name);
    let bytes = number(&folder.join("size"))?.checked_mul(SECTOR)?;
    (bytes > 0).then_some(())?;
    let refusal = if stick == Some(path) {
        Some(Refusal::Stick)
    } else if number(&folder.join("ro")) != Some(0) {
        Some(Refusal::Protected)
    } else if is_used(&folder, &name) {
        Some(Refusal::Used)
    } else if bytes < DISK_BYTES_MIN {
        Some(Refusal::Small)
    } else {
        None
    };
    let parts = ["device/vendor", "device/model", "device/serial", "serial"];
    let parts: Vec<String> = parts.iter().filter_map(|part| text(&folder.join(part))).collect();
    Some(Disk {
        content: content(path),
        path: path.to_owned(),
        name,
        bytes,
        model: parts.join(" ").chars().take(TEXT_CHARS_MAX).collect(),
        refusal,
    })
}

fn content(path: &Path) -> String {
    match gpt::read(path) {
        Ok(partitions) if partitions.iter().any(|one| one.label == DATA_LABEL) => "a LamChat with its data".to_owned(),
        Ok(partitions) if partitions.len() == 1 => "1 partition".to_owned(),
        Ok(partitions) => format!("{} partitions", partitions.len()),
        // It may have an older kind of table, or a file system without any.
        Err(GptError::Absent) => "no partition table".to_owned(),
        Err(GptError::Io { source, .. }) => format!("unreadable: {source}"),
        Err(error @ (GptError::Unfit | GptError::Kernel(_))) => error.to_string(),
    }
}

/// Whether the disk or one of its partitions carries something that is set up, such as a mapped device.
fn is_used(folder: &Path, name: &str) -> bool {
    let has_holders =
        |folder: &Path| std::fs::read_dir(folder.join("holders")).is_ok_and(|mut holders| holders.next().is_some());
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut partitions = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(name));
    has_holders(folder) || partitions.any(|entry| has_holders(&entry.path()))
}

fn text(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let printable = text.trim().chars().filter(|letter| !letter.is_control());
    let text: String = printable.take(TEXT_CHARS_MAX).collect();
    // Virtual disks have a number where others have a maker.
    (!text.is_empty() && !text.starts_with("0x")).then_some(text)
}

fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn disk(blocks: &Path, name: &str, sectors: &str, read_only: &str) -> PathBuf {
        let folder = blocks.join(name);
        std::fs::create_dir_all(folder.join("device")).unwrap();
        std::fs::create_dir_all(folder.join("holders")).unwrap();
        std::fs::write(folder.join("size"), sectors).unwrap();
        std::fs::write(folder.join("ro"), read_only).unwrap();
        std::fs::write(folder.join("device/model"), "FAST DISK  \n").unwrap();
        std::fs::write(folder.join("device/vendor"), "0x1af4\n").unwrap();
        let device = blocks.join("dev").join(name);
        std::fs::create_dir_all(blocks.join("dev")).unwrap();
        std::fs::write(&device, b"").unwrap();
        device
    }

    #[test]
    fn only_a_disk_that_is_large_free_and_not_the_stick_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let blocks = folder.path();
        let disks = [
            disk(blocks, "sda", "33554432\n", "0\n"),
            disk(blocks, "sdb", "1194704\n", "0\n"),
            disk(blocks, "sdc", "33554432\n", "1\n"),
            disk(blocks, "sdd", "1194704\n", "0\n"),
            disk(blocks, "sde", "0\n", "0\n"),
            disk(blocks, "sdf", "x\n", "0\n"),
            disk(blocks, "sdg", "33554432\n", "0\n"),
        ];
        std::fs::create_dir_all(blocks.join("sdg/sdg1/holders/dm-0")).unwrap();
        let found = list(&disks, blocks, disks.get(1).map(PathBuf::as_path));
        let refusals: Vec<(&str, Option<Refusal>)> =
            found.iter().map(|disk| (disk.name.as_str(), disk.refusal)).collect();
        assert_eq!(
            refusals,
            [
                ("sda", None),
                ("sdb", Some(Refusal::Stick)),
                ("sdc", Some(Refusal::Protected)),
                ("sdd", Some(Refusal::Small)),
                ("sdg", Some(Refusal::Used)),
            ]
        );
        let first = found.first().unwrap();
        assert_eq!((first.bytes, first.model.as_str()), (17_179_869_184, "FAST DISK"));
        assert_eq!(first.content, "no partition table");
    }
}
