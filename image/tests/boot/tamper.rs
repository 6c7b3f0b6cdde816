//! Changes to images on disks, as an attacker or an operator makes them.

#![expect(
    clippy::ptr_arg,
    reason = "one type for all changes, some of which put another image in the place"
)]

use fatfs::{FileSystem, FsOptions};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Where the EFI system partition starts.
const ESP_AT: u64 = 1 << 20;
/// The boot loader that firmware starts from a disk without a boot entry.
pub const LOADER: &str = "EFI/BOOT/BOOTX64.EFI";
/// The image's file in the first slot.
pub const SLOT: &str = "EFI/Linux/lamchat-a+3.efi";

/// The part of a disk from the EFI system partition on.
struct Esp(File);

impl Read for Esp {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(bytes)
    }
}

impl Write for Esp {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

impl Seek for Esp {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let to = match to {
            SeekFrom::Start(offset) => SeekFrom::Start(offset + ESP_AT),
            other => other,
        };
        Ok(self.0.seek(to)? - ESP_AT)
    }
}

fn with_esp<T>(disk: &Path, act: impl FnOnce(&FileSystem<Esp>) -> T) -> T {
    let mut file = File::options().read(true).write(true).open(disk).unwrap();
    file.seek(SeekFrom::Start(ESP_AT)).unwrap();
    let system = FileSystem::new(Esp(file), FsOptions::new()).unwrap();
    act(&system)
}

/// The names of the images in the slots.
pub fn slots(disk: &Path) -> Vec<String> {
    with_esp(disk, |system| {
        let folder = system.root_dir().open_dir("EFI/Linux").unwrap();
        let names = folder.iter().map(|entry| entry.unwrap().file_name());
        names.filter(|name| !name.starts_with('.')).collect()
    })
}

/// Changes a program on a disk.
pub fn change(disk: &Path, path: &str, change: fn(&mut Vec<u8>)) {
    with_esp(disk, |system| {
        let mut file = system.root_dir().open_file(path).unwrap();
        let mut program = Vec::new();
        file.read_to_end(&mut program).unwrap();
        let before = program.clone();
        change(&mut program);
        assert!(program != before, "nothing was changed");
        file.seek(SeekFrom::Start(0)).unwrap();
        file.truncate().unwrap();
        file.write_all(&program).unwrap();
    });
}

fn find(image: &[u8], text: &[u8]) -> usize {
    image.windows(text.len()).position(|window| window == text).unwrap()
}

fn set(image: &mut [u8], offset: usize, bytes: &[u8]) {
    image
        .get_mut(offset..offset + bytes.len())
        .unwrap()
        .copy_from_slice(bytes);
}

/// Clears the entry for signatures (PE32+: data directory 4).
pub fn remove_signature(image: &mut Vec<u8>) {
    let header = u32::from_le_bytes(image.get(0x3C..0x40).unwrap().try_into().unwrap());
    set(image, usize::try_from(header).unwrap() + 24 + 112 + 4 * 8, &[0; 8]);
}

/// Kernel modules without signature.
pub fn change_command_line(image: &mut Vec<u8>) {
    let at = find(image, b"module.sig_enforce=1");
    set(image, at, b"module.sig_enforce=0");
}

/// More messages of the kernel.
pub fn change_log_level(image: &mut Vec<u8>) {
    let at = find(image, b" loglevel=3");
    set(image, at, b" loglevel=4");
}

/// One bit in the compressed initrd: `.initrd` is the section before the last one, so near the end.
pub fn change_initrd(image: &mut Vec<u8>) {
    let at = image.len() - 100_000;
    let byte = *image.get(at).unwrap();
    set(image, at, &[byte ^ 1]);
}

/// The epoch in the approval.
pub fn change_approval(image: &mut Vec<u8>) {
    let at = find(image, b"\"epoch\":1");
    set(image, at, b"\"epoch\":2");
}
