//! The EFI system partition: FAT32 with systemd-boot and the image in the first of its two slots.

use fatfs::{Date, DateTime, FatType, FileSystem, FormatVolumeOptions, FsOptions, Time, TimeProvider};
use std::io::{Cursor, Write};

/// The firmware starts this from a disk without a boot entry.
const FALLBACK_LOADER: &str = "EFI/BOOT/BOOTX64.EFI";
/// No menu, no editor for the command line, no entries but ours.
const LOADER_CONFIGURATION: &str = "timeout 0\neditor no\nauto-entries no\nauto-firmware no\nconsole-mode keep\n";
/// The first slot, with three attempts before systemd-boot takes the other one.
pub const SLOT_A: &str = "EFI/Linux/lamchat-a+3.efi";
/// The installer, which nobody counts.
pub const INSTALLER: &str = "EFI/Linux/lamchat-install.efi";

/// Every file has this date: one that is no date (fatfs's default) makes the boot loader's rename fail.
#[derive(Debug)]
struct Fixed;

impl TimeProvider for Fixed {
    fn get_current_date(&self) -> Date {
        Date {
            year: 2026,
            month: 1,
            day: 1,
        }
    }

    fn get_current_date_time(&self) -> DateTime {
        DateTime {
            date: self.get_current_date(),
            time: Time {
                hour: 0,
                min: 0,
                sec: 0,
                millis: 0,
            },
        }
    }
}

/// The bytes of a partition of `bytes` with the signed boot loader and these files by path.
pub fn make(bytes: u64, serial: u32, loader: &[u8], files: &[(&str, &[u8])]) -> Result<Vec<u8>, std::io::Error> {
    let length = usize::try_from(bytes).map_err(std::io::Error::other)?;
    let mut volume = Cursor::new(vec![0; length]);
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .volume_id(serial)
        .volume_label(*b"LAMCHAT    ");
    fatfs::format_volume(&mut volume, options)?;
    {
        let options = FsOptions::new().time_provider(&Fixed).update_accessed_date(false);
        let system = FileSystem::new(&mut volume, options)?;
        let root = system.root_dir();
        for folder in ["EFI", "EFI/BOOT", "EFI/Linux", "EFI/systemd", "loader"] {
            root.create_dir(folder)?;
        }
        let fixed: [(&str, &[u8]); 3] = [
            (FALLBACK_LOADER, loader),
            ("EFI/systemd/systemd-bootx64.efi", loader),
            ("loader/loader.conf", LOADER_CONFIGURATION.as_bytes()),
        ];
        for (path, content) in fixed.iter().chain(files) {
            let mut file = root.create_file(path)?;
            file.write_all(content)?;
            file.flush()?;
        }
    }
    Ok(volume.into_inner())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests: a panic is the report")]
    use super::*;
    use std::io::Read;

    /// The smallest FAT32 has 65,525 clusters.
    const BYTES: u64 = 64 << 20;

    #[test]
    fn the_partition_has_the_files_with_a_date_that_is_one() {
        let image = vec![7; 3 << 20];
        let make = || make(BYTES, 5, b"loader", &[(SLOT_A, &image)]).unwrap();
        let bytes = make();
        assert!(bytes == make(), "two are not equal");
        assert_eq!(bytes.len() as u64, BYTES);
        let system = FileSystem::new(Cursor::new(bytes), FsOptions::new()).unwrap();
        assert_eq!(system.fat_type(), FatType::Fat32);
        assert_eq!(system.volume_id(), 5);
        let root = system.root_dir();
        let expected: [(&str, &[u8]); 3] = [
            (FALLBACK_LOADER, b"loader"),
            ("EFI/systemd/systemd-bootx64.efi", b"loader"),
            (SLOT_A, &image),
        ];
        for (path, content) in expected {
            let mut found = Vec::new();
            root.open_file(path).unwrap().read_to_end(&mut found).unwrap();
            assert!(found == content, "{path}");
        }
        let entries: Vec<_> = root
            .open_dir("EFI/Linux")
            .unwrap()
            .iter()
            .map(|entry| entry.unwrap())
            .collect();
        let slot = entries
            .iter()
            .find(|entry| entry.file_name() == "lamchat-a+3.efi")
            .unwrap();
        assert_eq!((slot.modified().date.year, slot.created().date.month), (2026, 1));
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let image = vec![7; 65 << 20];
        assert!(make(BYTES, 5, b"loader", &[(SLOT_A, &image)]).is_err());
        assert!(make(0, 5, b"loader", &[]).is_err());
    }
}
