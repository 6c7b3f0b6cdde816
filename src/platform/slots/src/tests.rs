//! Updates on an image of a partition, with the power going at every write.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod follow;

use crate::volume::SECTOR;
use crate::{Device, Entry, Name, Slot, SlotError, Slots};
use aws_lc_rs::digest::{SHA256, digest};
use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};
use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};
use std::sync::{Arc, Mutex};

/// Enough for the clusters that FAT32 has at least.
const SECTORS: u64 = 70_000;

#[derive(Debug, Clone)]
enum Done {
    Written(u64, Box<[u8; SECTOR]>),
    Synced,
}

/// A disk that remembers what was done to it.
#[derive(Debug, Clone, Default)]
struct Disk {
    sectors: Arc<Mutex<BTreeMap<u64, [u8; SECTOR]>>>,
    done: Arc<Mutex<Vec<Done>>>,
}

impl Device for Disk {
    fn length(&self) -> u64 {
        SECTORS * SECTOR as u64
    }

    fn read_at(&mut self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        let sectors = self.sectors.lock().unwrap();
        let mut at = offset;
        let mut rest = buffer;
        while !rest.is_empty() {
            let within = (at % SECTOR as u64) as usize;
            let length = rest.len().min(SECTOR - within);
            let (part, more) = rest.split_at_mut(length);
            match sectors.get(&(at / SECTOR as u64)) {
                Some(bytes) => part.copy_from_slice(&bytes[within..within + length]),
                None => part.fill(0),
            }
            at += length as u64;
            rest = more;
        }
        Ok(())
    }

    fn write_sector(&mut self, sector: u64, bytes: &[u8; SECTOR]) -> std::io::Result<()> {
        self.sectors.lock().unwrap().insert(sector, *bytes);
        self.done.lock().unwrap().push(Done::Written(sector, Box::new(*bytes)));
        Ok(())
    }

    fn sync(&mut self) -> std::io::Result<()> {
        self.done.lock().unwrap().push(Done::Synced);
        Ok(())
    }
}

impl Disk {
    /// As it is after a power cut behind the first `count` acts on `before`: what was synced, and of the rest what
    /// `keeps` says.
    fn cut(before: &BTreeMap<u64, [u8; SECTOR]>, done: &[Done], mut keeps: impl FnMut() -> bool) -> Self {
        let synced = done.iter().rposition(|done| matches!(done, Done::Synced)).unwrap_or(0);
        let mut sectors = before.clone();
        for (index, done) in done.iter().enumerate() {
            if let Done::Written(sector, bytes) = done
                && (index < synced || keeps())
            {
                sectors.insert(*sector, **bytes);
            }
        }
        Self {
            sectors: Arc::new(Mutex::new(sectors)),
            done: Arc::default(),
        }
    }

    fn snapshot(&self) -> BTreeMap<u64, [u8; SECTOR]> {
        self.sectors.lock().unwrap().clone()
    }

    /// Every file by its name, as far as it can be read.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let mut image = vec![0; (SECTORS as usize) * SECTOR];
        self.clone().read_at(0, &mut image).unwrap();
        let system = FileSystem::new(Cursor::new(image), FsOptions::new()).unwrap();
        let folder = system.root_dir().open_dir("EFI/Linux").unwrap();
        let files = folder.iter().map(Result::unwrap).filter(|entry| entry.is_file());
        files
            .map(|entry| {
                let mut content = Vec::new();
                // What a cut left may end early.
                let _ = entry.to_file().read_to_end(&mut content);
                (entry.file_name(), content)
            })
            .collect()
    }
}

fn release(seed: u8, length: usize) -> Vec<u8> {
    (0..length)
        .map(|index| (index as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0] ^ seed)
        .collect()
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().unwrap()
}

/// A partition with these files in EFI/Linux.
fn disk(files: &[(&str, &[u8])]) -> Disk {
    let mut image = Cursor::new(vec![0; (SECTORS as usize) * SECTOR]);
    let options = FormatVolumeOptions::new()
        .fat_type(FatType::Fat32)
        .bytes_per_cluster(512);
    fatfs::format_volume(&mut image, options).unwrap();
    {
        let system = FileSystem::new(&mut image, FsOptions::new()).unwrap();
        let root = system.root_dir();
        for folder in ["EFI", "EFI/BOOT", "EFI/Linux", "loader"] {
            root.create_dir(folder).unwrap();
        }
        root.create_file("EFI/BOOT/BOOTX64.EFI")
            .unwrap()
            .write_all(b"loader")
            .unwrap();
        for (name, content) in files {
            root.create_file(&format!("EFI/Linux/{name}"))
                .unwrap()
                .write_all(content)
                .unwrap();
        }
    }
    let image = image.into_inner();
    let sectors = image.as_chunks::<SECTOR>().0.iter().enumerate();
    let sectors = sectors.filter(|(_, bytes)| bytes.iter().any(|byte| *byte != 0));
    Disk {
        sectors: Arc::new(Mutex::new(
            sectors.map(|(index, bytes)| (index as u64, *bytes)).collect(),
        )),
        done: Arc::default(),
    }
}

fn update(disk: &Disk, running: Slot, release: &[u8]) -> Result<Name, SlotError> {
    let mut slots = Slots::open(disk.clone())?;
    slots.write(running, &mut &*release, release.len() as u64, &sha256(release))
}

fn list(disk: &Disk) -> Vec<String> {
    let mut names: Vec<String> = Slots::open(disk.clone())
        .unwrap()
        .list()
        .unwrap()
        .iter()
        .map(name)
        .collect();
    names.sort();
    names
}

fn name(entry: &Entry) -> String {
    entry.name.to_string()
}

#[test]
fn releases_take_turns() {
    let (one, two, three) = (release(1, 5_000), release(2, 7_001), release(3, 4_096));
    let disk = disk(&[("lamchat-a.efi", &one)]);
    assert_eq!(update(&disk, Slot::A, &two).unwrap(), Name::fresh(Slot::B));
    assert_eq!(list(&disk), ["lamchat-a.efi", "lamchat-b+3.efi"]);
    assert_eq!(
        Slots::open(disk.clone()).unwrap().digest(Slot::B).unwrap(),
        Some(sha256(&two))
    );
    // It runs, on trial: nothing may be written.
    assert!(matches!(update(&disk, Slot::B, &three), Err(SlotError::OnTrial)));
    Slots::open(disk.clone()).unwrap().mark_good(Slot::B).unwrap();
    Slots::open(disk.clone()).unwrap().mark_good(Slot::B).unwrap();
    assert_eq!(list(&disk), ["lamchat-a.efi", "lamchat-b.efi"]);
    update(&disk, Slot::B, &three).unwrap();
    assert_eq!(list(&disk), ["lamchat-a+3.efi", "lamchat-b.efi"]);
    // Another one before it was ever started.
    update(&disk, Slot::B, &one).unwrap();
    let files = disk.files();
    assert_eq!(files["lamchat-a+3.efi"], one);
    assert_eq!(files["lamchat-b.efi"], two);
    assert_eq!(files.len(), 2);
}

#[test]
fn starts_that_do_not_count_are_given_back() {
    let (one, two) = (release(1, 5_000), release(2, 7_001));
    let disk = disk(&[("lamchat-a.efi", &one), ("lamchat-b+1-2.efi", &two)]);
    let slots = || Slots::open(disk.clone()).unwrap();
    slots().hold(Slot::B).unwrap();
    assert_eq!(list(&disk), ["lamchat-a.efi", "lamchat-b+3.efi"]);
    let done = disk.done.lock().unwrap().len();
    slots().hold(Slot::B).unwrap();
    slots().hold(Slot::A).unwrap();
    assert_eq!(disk.done.lock().unwrap().len(), done, "nothing was left to do");
    assert_eq!(list(&disk), ["lamchat-a.efi", "lamchat-b+3.efi"]);
    assert_eq!(disk.files()["lamchat-b+3.efi"], two);
}

#[test]
fn one_start_is_given_back_and_taken_again() {
    let (one, two) = (release(1, 5_000), release(2, 7_001));
    let disk = disk(&[("lamchat-a.efi", &one), ("lamchat-b+1-2.efi", &two)]);
    let slots = || Slots::open(disk.clone()).unwrap();
    slots().uncount(Slot::B).unwrap();
    assert_eq!(list(&disk), ["lamchat-a.efi", "lamchat-b+2-1.efi"]);
    slots().count(Slot::B).unwrap();
    slots().count(Slot::B).unwrap();
    assert_eq!(list(&disk), ["lamchat-a.efi", "lamchat-b+0-3.efi"]);
    // There is no more to take, and nothing of a good one.
    slots().count(Slot::B).unwrap();
    slots().count(Slot::A).unwrap();
    slots().uncount(Slot::A).unwrap();
    assert_eq!(list(&disk), ["lamchat-a.efi", "lamchat-b+0-3.efi"]);
    for _ in 0..5 {
        slots().uncount(Slot::B).unwrap();
    }
    assert_eq!(list(&disk), ["lamchat-a.efi", "lamchat-b+3.efi"], "as it came");
    assert_eq!(disk.files()["lamchat-b+3.efi"], two);
}

#[test]
fn only_a_slot_that_would_be_started_is_one_to_fall_back_to() {
    let one = release(1, 5_000);
    for (other, expected) in [
        (None, false),
        (Some("lamchat-b.efi"), true),
        (Some("lamchat-b+1-2.efi"), true),
        (Some("lamchat-b+0-3.efi"), false),
    ] {
        let mut files: Vec<(&str, &[u8])> = vec![("lamchat-a+2-1.efi", &one)];
        files.extend(other.map(|name| (name, one.as_slice())));
        let disk = disk(&files);
        let found = Slots::open(disk.clone()).unwrap().has_fallback(Slot::A).unwrap();
        assert_eq!(found, expected, "{other:?}");
        assert!(disk.done.lock().unwrap().is_empty());
    }
}

#[test]
fn what_looks_writes_nothing() {
    let disk = disk(&[("lamchat-a.efi", &release(1, 5_000))]);
    list(&disk);
    Slots::open(disk.clone()).unwrap().digest(Slot::A).unwrap();
    assert!(matches!(
        update(&disk, Slot::B, b"x"),
        Err(SlotError::NotThere(Slot::B))
    ));
    Slots::open(disk.clone()).unwrap().mark_good(Slot::A).unwrap();
    assert!(disk.done.lock().unwrap().is_empty());
}

#[test]
fn another_release_than_was_promised_changes_no_slot() {
    let (one, two) = (release(1, 5_000), release(2, 6_000));
    let disk = disk(&[("lamchat-a.efi", &one), ("lamchat-b.efi", &two)]);
    let three = release(3, 3_000);
    for (length, promised) in [(3_000, sha256(&two)), (3_001, sha256(&three)), (2_999, sha256(&three))] {
        let mut slots = Slots::open(disk.clone()).unwrap();
        let refused = slots.write(Slot::A, &mut three.as_slice(), length, &promised);
        assert!(matches!(refused, Err(SlotError::Other)), "{refused:?}");
    }
    assert_eq!(list(&disk), ["lamchat-a.efi", "lamchat-b.efi"]);
    let large = SECTORS * SECTOR as u64;
    let refused = Slots::open(disk.clone())
        .unwrap()
        .write(Slot::A, &mut std::io::repeat(1), large, &[0; 32]);
    assert!(matches!(refused, Err(SlotError::NoRoom { .. })), "{refused:?}");
    assert_eq!(list(&disk), ["lamchat-a.efi", "lamchat-b.efi"]);
    update(&disk, Slot::A, &three).unwrap();
    assert_eq!(disk.files()["lamchat-b+3.efi"], three);
}

#[test]
fn the_old_release_makes_room_where_both_do_not_fit() {
    let (one, two) = (release(1, 12_000_000), release(2, 12_000_000));
    let disk = disk(&[("lamchat-a.efi", &one), ("lamchat-b+0-3.efi", &two)]);
    let three = release(3, 14_000_000);
    update(&disk, Slot::A, &three).unwrap();
    let files = disk.files();
    assert_eq!((files["lamchat-a.efi"].len(), files.len()), (12_000_000, 2));
    assert!(files["lamchat-b+3.efi"] == three && files["lamchat-a.efi"] == one);
}

/// Cuts the power behind each act of `work`, in several ways, and hands each disk that is left to `check`.
fn every_cut(before: &Disk, work: impl Fn(&Disk), mut check: impl FnMut(&str, &Disk)) {
    let start = before.snapshot();
    let disk = Disk::cut(&start, &[], || true);
    work(&disk);
    let done = disk.done.lock().unwrap().clone();
    assert!(done.len() > 3, "{}", done.len());
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    for count in 0..=done.len() {
        for way in 0..4 {
            let keeps = || {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                match way {
                    0 => true,
                    1 => false,
                    _ => seed & 1 == 0,
                }
            };
            check(
                &format!("cut behind {count} of {}, way {way}", done.len()),
                &Disk::cut(&start, &done[..count], keeps),
            );
        }
    }
}

#[test]
fn a_power_cut_in_an_update_leaves_what_runs_and_the_next_update_works() {
    let (one, two, three) = (release(1, 2_000), release(2, 3_000), release(3, 2_500));
    let before = disk(&[("lamchat-a.efi", &one), ("lamchat-b+0-3.efi", &two)]);
    let free = |disk: &Disk| {
        let mut volume = crate::volume::Volume::new(disk.clone());
        let geometry = crate::fat::Geometry::read(&mut volume).unwrap();
        geometry.free(&mut volume).unwrap()
    };
    let whole = Disk::cut(&before.snapshot(), &[], || true);
    update(&whole, Slot::A, &three).unwrap();
    let expected = free(&whole);
    let (mut old, mut new) = (0, 0);
    every_cut(
        &before,
        |disk| {
            update(disk, Slot::A, &three).unwrap();
        },
        |what, disk| {
            let files = disk.files();
            assert_eq!(files.get("lamchat-a.efi"), Some(&one), "{what}");
            match (files.get("lamchat-b+0-3.efi"), files.get("lamchat-b+3.efi")) {
                (Some(_), None) => old += 1,
                // Whole, or not there.
                (None, Some(found)) => {
                    assert_eq!(found, &three, "{what}");
                    new += 1;
                }
                found => unreachable!("{what}: {found:?}"),
            }
            update(disk, Slot::A, &three).unwrap();
            let files = disk.files();
            assert_eq!(files.get("lamchat-a.efi"), Some(&one), "{what}");
            assert_eq!(files.get("lamchat-b+3.efi"), Some(&three), "{what}");
            assert_eq!(files.len(), 2, "{what}: {:?}", files.keys());
            assert_eq!(free(disk), expected, "{what}: clusters are lost");
        },
    );
    assert!(old > 20 && new > 0, "{old} {new}");
}

#[test]
fn a_power_cut_while_marking_good_leaves_one_name_of_the_whole_release() {
    let (one, two) = (release(1, 2_000), release(2, 3_000));
    let before = disk(&[("lamchat-a.efi", &one), ("lamchat-b+2-1.efi", &two)]);
    // A neighbour's write, so that there is something before the one sector that counts.
    every_cut(
        &before,
        |disk| {
            Slots::open(disk.clone()).unwrap().mark_good(Slot::B).unwrap();
            let mut slots = Slots::open(disk.clone()).unwrap();
            slots
                .write(Slot::B, &mut &*one, one.len() as u64, &sha256(&one))
                .unwrap();
        },
        |what, disk| {
            let files = disk.files();
            let names = ["lamchat-b+2-1.efi", "lamchat-b.efi"];
            let found: Vec<_> = names.iter().filter_map(|name| files.get(*name)).collect();
            assert_eq!(found, [&two], "{what}: {:?}", files.keys());
            Slots::open(disk.clone()).unwrap().mark_good(Slot::B).unwrap();
            assert!(list(disk).contains(&"lamchat-b.efi".to_owned()), "{what}");
        },
    );
}

#[test]
fn other_file_systems_are_refused_before_anything_is_written() {
    let empty = Disk::default();
    assert!(matches!(
        Slots::open(empty),
        Err(SlotError::Fat(crate::FatError::Foreign(_)))
    ));
    let good = disk(&[("lamchat-a.efi", &release(1, 5_000))]);
    // Each byte of the first sector that means something, in turn.
    for at in 11..90 {
        for value in [0, 1, 0xFF] {
            let hurt = Disk::cut(&good.snapshot(), &[], || true);
            hurt.sectors.lock().unwrap().get_mut(&0).unwrap()[at] = value;
            if let Err(error) = update(&hurt, Slot::A, &release(2, 1_000)) {
                let written = hurt.done.lock().unwrap().len();
                assert_eq!(written, 0, "byte {at} = {value}: {error}");
            }
        }
    }
}
