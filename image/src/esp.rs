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
