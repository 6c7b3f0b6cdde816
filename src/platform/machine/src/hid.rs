//! Human interface devices that tell rather than ask: their descriptors, and reports that are read from them. Nothing is
//! ever sent to one (Linux, Documentation/hid/hidraw.rst).

use crate::ioctl;
pub use crate::ioctl::Report;
use std::fs::{File, OpenOptions, read_dir, read_to_string};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The most devices.
const DEVICES_MAX: usize = 32;
/// The longest descriptor: `HID_MAX_DESCRIPTOR_SIZE`, include/uapi/linux/hid.h.
const DESCRIPTOR_BYTES_MAX: u64 = 4096;
/// The longest name that is kept.
const NAME_CHARS_MAX: usize = 40;

/// A device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hid {
    /// Its file.
    pub path: PathBuf,
    /// What it calls itself, else its file's name.
    pub name: String,
    /// Its report descriptor, as it is.
    pub descriptor: Vec<u8>,
}

/// The devices that are there.
pub fn find() -> Vec<Hid> {
    find_below(Path::new("/sys/class/hidraw"))
}

fn find_below(class: &Path) -> Vec<Hid> {
    let entries = read_dir(class).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<String> = names.take(DEVICES_MAX).collect();
    names.sort();
    // One that was just pulled out has none any more.
    names.iter().filter_map(|name| one(class, name).ok()).collect()
}

fn one(class: &Path, file: &str) -> io::Result<Hid> {
    let folder = class.join(file).join("device");
    let mut descriptor = Vec::new();
    File::open(folder.join("report_descriptor"))?
        .take(DESCRIPTOR_BYTES_MAX)
        .read_to_end(&mut descriptor)?;
    let told = read_to_string(folder.join("uevent")).unwrap_or_default();
    let name = told.lines().find_map(|line| line.strip_prefix("HID_NAME="));
    // Whoever makes the device chooses it, and it comes onto screens and into logs.
    let name: String = name
        .unwrap_or_default()
        .chars()
        .filter(|letter| letter.is_ascii_graphic() || *letter == ' ')
        .take(NAME_CHARS_MAX)
        .collect();
    Ok(Hid {
        path: Path::new("/dev").join(file),
        name: if name.trim().is_empty() {
            file.to_owned()
        } else {
            name.trim().to_owned()
        },
        descriptor,
    })
}

/// Asks a device for one report of so many bytes behind its number. A device has some seconds for each, by the kernel. Takes
/// root.
pub fn report(device: &File, kind: Report, number: u8, bytes: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; bytes + 1];
    if let Some(first) = buffer.first_mut() {
        *first = number;
    }
    let written = ioctl::hid_report(device, kind, &mut buffer)?;
    buffer.truncate(written);
    buffer.drain(..written.min(1));
    Ok(buffer)
}

/// Opens a device for its reports.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::find_below;

    #[test]
    fn devices_have_names_and_descriptors() {
        let folder = tempfile::tempdir().unwrap();
        let device = |file: &str, name: Option<&str>| {
            let device = folder.path().join(file).join("device");
            std::fs::create_dir_all(&device).unwrap();
            std::fs::write(device.join("report_descriptor"), [5, 0x84]).unwrap();
            if let Some(name) = name {
                std::fs::write(device.join("uevent"), format!("DRIVER=hid-generic\nHID_NAME={name}\n")).unwrap();
            }
        };
        device("hidraw0", Some(" Some\u{1b}[31m UPS "));
        device("hidraw1", None);
        std::fs::create_dir_all(folder.path().join("hidraw2")).unwrap();
        let found = find_below(folder.path());
        let names: Vec<&str> = found.iter().map(|device| device.name.as_str()).collect();
        assert_eq!(names, ["Some[31m UPS", "hidraw1"]);
        assert!(found.iter().all(|device| device.descriptor == [5, 0x84]));
        assert!(find_below(&folder.path().join("none")).is_empty());
    }
}
