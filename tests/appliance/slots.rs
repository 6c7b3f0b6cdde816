//! The EFI system partition of a disk, while its machine is off or does not write to it.

use crate::virtual_machine::Disk;
use lamchat_slots::{FileDevice, Slot, Slots};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// Its bytes, and where it starts.
pub fn esp(disk: &Disk) -> (Vec<u8>, u64) {
    let file = File::open(disk.path()).unwrap();
    let partitions = lamchat_machine::gpt::read(disk.path()).unwrap();
    let mut partitions = partitions.iter();
    let esp = partitions.find(|partition| partition.label == "lamchat-esp").unwrap();
    let mut bytes = vec![0; usize::try_from(esp.length).unwrap()];
    file.read_exact_at(&mut bytes, esp.offset).unwrap();
    (bytes, esp.offset)
}

/// Works on its slots, and writes back what has changed.
pub fn with_slots<T>(disk: &Disk, work: impl FnOnce(&mut Slots<FileDevice>) -> T) -> T {
    let (before, offset) = esp(disk);
    let copy = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(copy.path(), &before).unwrap();
    let device = FileDevice::new(copy.reopen().unwrap()).unwrap();
    let result = work(&mut Slots::open(device).unwrap());
    let after = std::fs::read(copy.path()).unwrap();
    if after != before {
        let file = File::options().write(true).open(disk.path()).unwrap();
        file.write_all_at(&after, offset).unwrap();
    }
    result
}

/// The names of the files of both slots, in order.
pub fn names(disk: &Disk) -> Vec<String> {
    let entries = with_slots(disk, |slots| slots.list().unwrap());
    let mut names: Vec<String> = entries.iter().map(|entry| entry.name.to_string()).collect();
    names.sort();
    names
}

/// As if the release in this slot had answered for ten minutes.
pub fn mark_good(disk: &Disk, slot: Slot) {
    with_slots(disk, |slots| slots.mark_good(slot).unwrap());
}

/// Puts back what [`esp`] read.
pub fn put_back(disk: &Disk, esp: &(Vec<u8>, u64)) {
    let file = File::options().write(true).open(disk.path()).unwrap();
    file.write_all_at(&esp.0, esp.1).unwrap();
}

/// Has another program change the file system.
fn change(disk: &Disk, program: &str, paths: &[&str]) {
    let (_, offset) = esp(disk);
    let image = format!("{}@@{offset}", disk.path().display());
    let paths: Vec<String> = paths.iter().map(|name| format!("::/EFI/Linux/{name}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    crate::stick::run(program, &[&["-i", image.as_str()], paths.as_slice()].concat());
}

/// Removes the file of a slot, which nothing of ours does.
pub fn remove(disk: &Disk, name: &str) {
    change(disk, "mdel", &[name]);
}

/// Gives the file of a slot another name of that slot.
pub fn rename(disk: &Disk, from: &str, to: &str) {
    change(disk, "mren", &[from, to]);
}
