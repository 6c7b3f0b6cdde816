//! What the kernel said before the machine's last crash, where firmware or an ACPI table keep it (pstore).
//!
//! Kernel documentation, admin-guide/abi-testing (`sysfs-fs-pstore`) and ramoops: after a crash the file system shows one
//! file for each part, such as `dmesg-efi-…` or `dmesg-erst-…`; removing a file frees its place. A place that is never
//! freed fills the firmware's memory, so whatever was read is removed.

use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Parts that are read; the rest is removed unread.
const PARTS_MAX: usize = 64;
/// Longest part, in bytes.
const PART_BYTES_MAX: u64 = 128 << 10;
/// Longest line, in characters.
const LINE_CHARS_MAX: usize = 1000;

/// Reads all parts, of the oldest crash first and of each the oldest first, as lines without control characters, and
/// removes them. Empty: there was no crash, or nothing keeps it.
pub fn take(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut paths: Vec<_> = std::fs::read_dir(folder)?
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .map(|entry| entry.path())
        .collect();
    // Names end in a time and, where that is the same, the number of the part.
    paths.sort();
    // Of each crash its parts, of each part its lines.
    let mut crashes: Vec<Vec<Vec<String>>> = Vec::new();
    let mut parts = 0;
    for path in &paths {
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        if parts < PARTS_MAX && name.starts_with("dmesg-") {
            parts += 1;
            let mut bytes = Vec::new();
            File::open(path)?.take(PART_BYTES_MAX).read_to_end(&mut bytes)?;
            let mut lines = vec![format!("--- {}", clean(&name))];
            lines.extend(String::from_utf8_lossy(&bytes).lines().map(clean));
            match crashes.last_mut() {
                Some(crash) if !is_first(&lines) => crash.push(lines),
                _ => crashes.push(vec![lines]),
            }
        }
        std::fs::remove_file(path)?;
    }
    // The first part has the kernel's last words.
    let parts = crashes.into_iter().flat_map(|crash| crash.into_iter().rev());
    Ok(parts.flatten().collect())
}

/// Whether a part begins a crash: `Panic#1 Part1` (fs/pstore/platform.c, `pstore_dump`).
fn is_first(lines: &[String]) -> bool {
    lines.get(1).is_none_or(|line| line.ends_with(" Part1"))
}

fn clean(line: &str) -> String {
    line.chars()
        .filter(|letter| !letter.is_control())
        .take(LINE_CHARS_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn what_was_kept_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        assert!(take(folder.path()).unwrap().is_empty());
        let write = |name: &str, text: &[u8]| std::fs::write(folder.path().join(name), text).unwrap();
        write(
            "dmesg-efi_pstore-170000000001001",
            b"Oops#1 Part1\n<4>[ 9.1] newest\x1b[2J\n",
        );
        write("dmesg-efi_pstore-170000000002001", b"Oops#1 Part2\nolder \xff\n");
        write(
            "dmesg-efi_pstore-170000009901001",
            b"Panic#1 Part1\nof the second crash\n",
        );
        write("console-ramoops-0", b"not of a crash");
        let lines = take(folder.path()).unwrap();
        assert_eq!(
            lines,
            [
                "--- dmesg-efi_pstore-170000000002001",
                "Oops#1 Part2",
                "older \u{fffd}",
                "--- dmesg-efi_pstore-170000000001001",
                "Oops#1 Part1",
                "<4>[ 9.1] newest[2J",
                "--- dmesg-efi_pstore-170000009901001",
                "Panic#1 Part1",
                "of the second crash",
            ]
        );
        assert!(take(folder.path()).unwrap().is_empty());
        assert!(take(&folder.path().join("none")).is_err());
    }
}
