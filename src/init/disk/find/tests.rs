//! Disks that say they are the box's, as files: everything about a partition but its contents can be copied or made up,
//! and nothing of that is opened in place of what was recorded.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::super::halves::{Ids, Mirror};
use super::super::member::{DATA_KIND, KEYRING_KIND, METADATA_KIND};
use super::*;
use crate::init::record::{Binding, Record};
use lamchat_image::Guid;
use lamchat_image::gpt::{ALIGNMENT, Partition, lay_out};
use lamchat_machine::gpt::ESP_KIND;
use lamchat_machine::two_copies::{self, RECORD};
use std::fs::File;
use std::os::unix::fs::FileExt;

/// The key of the box's disk.
const KEY: [u8; 64] = [7; 64];
/// Bytes of each partition here.
const BYTES: u64 = 4 * ALIGNMENT;

/// Disks in a folder, which stand for those in /dev: `sda` and its partitions `sda1`, `sda2`, …
struct Machine(tempfile::TempDir);

/// A partition of a test's: what it is for, its label, and what its identifier is drawn from.
type Made = ([u8; 16], &'static str, &'static str);

/// Those of the image, in its order.
const OURS: [Made; 3] = [
    (ESP_KIND, "lamchat-esp", "esp"),
    (KEYRING_KIND, "lamchat-keyring", "keyring"),
    (DATA_KIND, "lamchat-data", "data"),
];

impl Machine {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes a disk with these partitions, by what makes the image's table.
    fn disk(&self, name: &str, made: &[Made]) -> PathBuf {
        let partitions: Vec<Partition> = made
            .iter()
            .map(|(kind, label, id)| Partition {
                name: label,
                kind: Guid(*kind),
                id: Guid::of_name(id),
                bytes: BYTES,
            })
            .collect();
        let table = lay_out(Guid::of_name(name), &partitions);
        let disk = self.path(name);
        let file = File::create(&disk).unwrap();
        file.set_len(table.bytes).unwrap();
        for (offset, bytes) in &table.extents {
            file.write_all_at(bytes, *offset).unwrap();
        }
        for number in 1..=made.len() {
            let partition = File::create(self.path(&format!("{name}{number}"))).unwrap();
            partition.set_len(BYTES).unwrap();
        }
        disk
    }

    /// Records on a disk's keyring that its set-up came to an end, as this box does or, without the key, as anybody can.
    fn record(&self, keyring: &str, stage: Stage, ids: &Ids, mirror: Option<&Mirror>, key: Option<&[u8; 64]>) {
        let mut record = Record::new(stage, ids.keyring.clone(), ids.data.clone());
        record.mirror = mirror.cloned();
        if let Some(key) = key {
            record = record.bind(&Binding::of(key));
        }
        let device = File::options().read(true).write(true).open(self.path(keyring)).unwrap();
        two_copies::write(&device, &RECORD, &record.encode()).unwrap();
    }

    /// The box's own disk, set up.
    fn own(&self, name: &str) -> PathBuf {
        let disk = self.disk(name, &OURS);
        self.record(
            &format!("{name}2"),
            Stage::Done,
            &ids("keyring", "data"),
            None,
            Some(&KEY),
        );
        disk
    }

    fn find(&self, names: &[&str]) -> Result<Found, DiskError> {
        among(names.iter().map(|name| self.path(name)).collect())
    }
}

fn ids(keyring: &str, data: &str) -> Ids {
    let text = |name: &str| gpt::text(&Guid::of_name(name).0);
    Ids {
        keyring: text(keyring),
        data: text(data),
    }
}

/// What is opened of what was found: the data's device, if it is one disk that is bound to the box's key.
fn opened(found: Result<Found, DiskError>) -> Result<PathBuf, String> {
    let found = found.map_err(|error| error.to_string())?;
    match found.is_own(&KEY) {
        Some(true) if found.is_set_up => {}
        other => return Err(format!("bound: {other:?}, set up: {}", found.is_set_up)),
    }
    let [member] = found.members.as_slice() else {
        return Err(format!("{} disks", found.members.len()));
    };
    Ok(member.data.clone())
}

#[test]
fn a_disk_with_the_same_labels_and_identifiers_is_not_taken_for_the_one_that_was_set_up() {
    let machine = Machine::new();
    machine.own("sdb");
    let real = machine.path("sdb3");
    assert_eq!(opened(machine.find(&["sdb"])), Ok(real.clone()));
    // Found before it: copies of its table, all identifiers included, whose data are somebody else's.
    machine.disk("sda", &OURS);
    assert_eq!(opened(machine.find(&["sda", "sdb"])), Ok(real.clone()), "never set up");
    // It says that it is set up, under identifiers that are not its own.
    machine.record("sda2", Stage::Done, &ids("x", "y"), None, Some(&KEY));
    assert_eq!(opened(machine.find(&["sda", "sdb"])), Ok(real), "another's record");
    // It says so under those that it copied: nobody chooses between two that say the same.
    machine.record("sda2", Stage::Done, &ids("keyring", "data"), None, None);
    let told = opened(machine.find(&["sda", "sdb"])).unwrap_err();
    assert!(told.contains("several disks"), "{told}");
    // Alone it has no keyring that opens; and if it had, its record is not bound to the key.
    let told = opened(machine.find(&["sda"])).unwrap_err();
    assert!(told.contains("bound: None"), "{told}");
    machine.record("sda2", Stage::Done, &ids("keyring", "data"), None, Some(&[8; 64]));
    let told = opened(machine.find(&["sda"])).unwrap_err();
    assert!(told.contains("bound: Some(false)"), "{told}");
}

/// Whoever has the disk adds partitions to its table, before or behind the box's own.
#[test]
fn a_disk_with_a_second_partition_of_the_same_type_is_refused() {
    let forged: [Made; 4] = [
        (ESP_KIND, "lamchat-esp", "forged"),
        (DATA_KIND, "lamchat-data", "forged"),
        (KEYRING_KIND, "lamchat-keyring", "forged"),
        (DATA_KIND, "lamchat-data", "data"),
    ];
    let [esp, data, keyring, twin] = forged;
    for (what, extra) in [
        ("a system partition", esp),
        ("data", data),
        ("a keyring", keyring),
        ("data of the same identifier", twin),
    ] {
        for is_first in [true, false] {
            let machine = Machine::new();
            let mut made = OURS.to_vec();
            made.insert(if is_first { 0 } else { made.len() }, extra);
            machine.disk("sda", &made);
            let shift = u32::from(is_first);
            // The record is where the box wrote it, and a forged keyring has a copy of it.
            let own = gpt::device(Path::new("sda"), 2 + shift);
            for keyring in [own.to_str().unwrap(), if is_first { "sda1" } else { "sda4" }] {
                machine.record(keyring, Stage::Done, &ids("keyring", "data"), None, Some(&KEY));
            }
            let told = opened(machine.find(&["sda"])).unwrap_err();
            assert!(told.contains("not those that were set up"), "{what}: {told}");
        }
    }
}

#[test]
fn a_disk_that_says_it_is_a_half_of_the_mirror_is_not_one() {
    let machine = Machine::new();
    let half = |id: &'static str| -> Vec<Made> {
        let (keyring, data) = match id {
            "one" => ("keyring-one", "one"),
            "two" => ("keyring-two", "two"),
            _ => ("keyring-three", "three"),
        };
        let ours = OURS.map(|(kind, label, other)| match kind {
            KEYRING_KIND => (kind, label, keyring),
            DATA_KIND => (kind, label, data),
            _ => (kind, label, other),
        });
        [&ours[..], &[(METADATA_KIND, "lamchat-mirror", "metadata")]].concat()
    };
    let (first, second) = (ids("keyring-one", "one"), ids("keyring-two", "two"));
    let mirror = Mirror {
        id: "m".to_owned(),
        sectors: 2048,
        members: [first.clone(), second.clone()],
        without: None,
        left: Vec::new(),
    };
    for ((name, id), own) in [("sda", "one"), ("sdb", "two")].into_iter().zip([&first, &second]) {
        machine.disk(name, &half(id));
        machine.record(&format!("{name}2"), Stage::Done, own, Some(&mirror), Some(&KEY));
    }
    let both = |found: Result<Found, DiskError>| {
        let found = found.map_err(|error| error.to_string())?;
        assert_eq!(found.is_own(&KEY), Some(true));
        Ok::<_, String>(
            found
                .members
                .iter()
                .map(|member| member.data.clone())
                .collect::<Vec<_>>(),
        )
    };
    let real = vec![machine.path("sda3"), machine.path("sdb3")];
    assert_eq!(both(machine.find(&["sda", "sdb"])), Ok(real.clone()));
    // Another disk, before them in the list, with the mirror's name and members, to which it does not belong.
    machine.disk("sdA", &half("three"));
    let third = ids("keyring-three", "three");
    machine.record("sdA2", Stage::Done, &third, Some(&mirror), None);
    assert_eq!(both(machine.find(&["sdA", "sda", "sdb"])), Ok(real), "no member");
    // A copy of a half's table and record.
    machine.disk("sdc", &half("one"));
    machine.record("sdc2", Stage::Done, &first, Some(&mirror), None);
    let told = both(machine.find(&["sdc", "sda", "sdb"])).unwrap_err();
    assert!(told.contains("several disks"), "{told}");
    // A record that makes itself a member is bound to no key, and the others' do not know it.
    let own = Mirror {
        members: [first.clone(), third.clone()],
        ..mirror.clone()
    };
    machine.record("sdA2", Stage::Done, &third, Some(&own), None);
    let found = machine.find(&["sdA", "sda", "sdb"]).unwrap();
    assert_eq!(found.is_own(&KEY), Some(false), "not opened: {}", found.names());
}
