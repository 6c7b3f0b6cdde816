//! Commands to disks that change nothing: how worn they are. Takes root.

use crate::ioctl;
use std::fs::{File, read_dir};
use std::io;
use std::path::{Path, PathBuf};

/// The most disks of a kind.
const DISKS_MAX: usize = 64;
/// "Get Log Page" for the whole controller, log page 02h.
const HEALTH_PAGE: u8 = 0x02;

/// The controllers of NVMe disks, `nvme0` and so on, and their files.
pub fn nvme_disks() -> Vec<(String, PathBuf)> {
    named(Path::new("/sys/class/nvme"), |_| true)
}

/// Disks behind the SCSI layer, `sda` and so on: some of them are ATA's.
pub fn scsi_disks() -> Vec<(String, PathBuf)> {
    named(Path::new("/sys/class/block"), |name| {
        name.starts_with("sd") && !name.contains(|c: char| c.is_ascii_digit())
    })
}

/// Folders there are named as the files in /dev. One that is not there has no disks.
fn named(class: &Path, is_wanted: impl Fn(&str) -> bool) -> Vec<(String, PathBuf)> {
    let entries = read_dir(class).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| is_wanted(name)).take(DISKS_MAX).collect();
    names.sort();
    names
        .into_iter()
        .map(|name| (name.clone(), Path::new("/dev").join(name)))
        .collect()
}

/// The log page of an NVMe disk's health.
pub fn nvme_log(device: &Path) -> io::Result<[u8; 512]> {
    let mut log = [0; 512];
    match ioctl::nvme_log(&File::open(device)?, HEALTH_PAGE, &mut log)? {
        0 => Ok(log),
        status => Err(io::Error::other(format!("it refuses (status {status:#06x})"))),
    }
}

/// The middle and upper byte that an ATA disk answers "SMART RETURN STATUS" with; `None` when it is no ATA disk.
pub fn ata_status(device: &Path) -> io::Result<Option<(u8, u8)>> {
    // SAT-4, 12.2.2.6: the descriptor "ATA Status Return", of type 09h, behind the eight bytes of descriptor sense data.
    let sense = ioctl::ata_smart_status(&File::open(device)?)?;
    Ok(match sense {
        [
            0x72 | 0x73,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            0x09,
            0x0c,
            _,
            _,
            _,
            _,
            _,
            _,
            _,
            middle,
            _,
            upper,
            ..,
        ] => Some((middle, upper)),
        _ => None,
    })
}
