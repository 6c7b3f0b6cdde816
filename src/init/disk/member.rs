//! One disk with the image's partitions.

use super::halves::{Ids, Mirror};
use super::{DiskError, LOOK, NODES_MAX, open};
use crate::init::record::{Binding, Record, Stage};
use lamchat_machine::gpt::{self, ESP_KIND, Partition};
use lamchat_machine::mirror::METADATA_BYTES;
use lamchat_machine::two_copies::{self, KEYRING, RECORD, TwoCopiesError};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// The partition of the keyring: 7D0CC9DE-5B0B-4D5D-8C3F-5B2E6F1A4C01, as on the disk.
pub const KEYRING_KIND: [u8; 16] = kind(1);
/// The partition of the data: …4C02.
pub const DATA_KIND: [u8; 16] = kind(2);
/// The partition for dm-raid's own, which a set-up of two disks makes: …4C04.
pub const METADATA_KIND: [u8; 16] = kind(4);

/// The image's own partition types, which differ in their last byte.
const fn kind(last: u8) -> [u8; 16] {
    [
        0xde, 0xc9, 0x0c, 0x7d, 0x0b, 0x5b, 0x5d, 0x4d, 0x8c, 0x3f, 0x5b, 0x2e, 0x6f, 0x1a, 0x4c, last,
    ]
}

/// A disk of the box's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The disk.
    pub disk: PathBuf,
    /// The partition of the keyring.
    pub keyring: PathBuf,
    /// The partition of the data.
    pub data: PathBuf,
    /// The partition for dm-raid's own, of a half.
    pub metadata: Option<PathBuf>,
    /// The EFI system partition.
    pub esp: Option<PathBuf>,
    /// What names it.
    pub ids: Ids,
    /// How far it is, or is to be.
    pub stage: Stage,
    /// What was recorded on it when it was found.
    pub record: Record,
    /// Whether it was added since the key holder started.
    pub is_added: bool,
}

impl Member {
    /// Looks at the partitions of a disk; `None`: they are not the image's. As if it was set up. Identifiers name one
    /// partition each, and the image has one of each type: where a table has one twice, nobody can say which is meant.
    pub fn at(disk: &Path) -> Result<Option<Self>, DiskError> {
        let all = gpt::read(disk)?;
        let is_twice = |(at, one): (usize, &Partition)| all.iter().skip(at + 1).any(|other| other.id == one.id);
        let is_one_of = |kind: [u8; 16]| all.iter().filter(|partition| partition.kind == kind).count() < 2;
        let is_ours = all.iter().any(|partition| partition.kind == KEYRING_KIND);
        let kinds = [ESP_KIND, KEYRING_KIND, DATA_KIND, METADATA_KIND];
        if all.iter().enumerate().any(is_twice) || (is_ours && !kinds.into_iter().all(is_one_of)) {
            return Err(DiskError::Changed(disk.to_owned()));
        }
        let of = |kind: [u8; 16]| all.iter().find(|partition| partition.kind == kind);
        let device = |partition: &Partition| gpt::device(disk, partition.number);
        Ok(of(KEYRING_KIND).zip(of(DATA_KIND)).map(|(keyring, data)| Self {
            disk: disk.to_owned(),
            keyring: device(keyring),
            data: device(data),
            metadata: of(METADATA_KIND).map(device),
            esp: of(ESP_KIND).map(device),
            ids: Ids {
                keyring: gpt::text(&keyring.id),
                data: gpt::text(&data.id),
            },
            stage: Stage::Done,
            record: Record::parse(&[]),
            is_added: false,
        }))
    }

    /// Its name in /dev.
    pub fn name(&self) -> &str {
        self.disk.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// Reads what was recorded on it.
    pub fn look(&mut self) -> Result<(), DiskError> {
        let record = two_copies::read(&open(&self.keyring)?, &RECORD)?;
        self.record = Record::parse(&record.unwrap_or_default());
        self.stage = self.record.stage;
        if self.record.is_later {
            return Err(DiskError::Later(self.disk.clone()));
        }
        Ok(())
    }

    /// Records how far it is, and its mirror, bound where the key is known. Durable when it returns.
    pub fn keep(&self, stage: Stage, mirror: Option<&Mirror>, binding: Option<&Binding>) -> Result<(), DiskError> {
        let mut record = Record::new(stage, self.ids.keyring.clone(), self.ids.data.clone());
        record.mirror = mirror.cloned();
        if matches!(stage, Stage::Done | Stage::Filling) {
            record = record.with_later_of(&self.record);
        }
        if let Some(binding) = binding {
            record = record.bind(binding);
        }
        let device = open(&self.keyring)?;
        Ok(two_copies::write(&device, &RECORD, &record.encode())?)
    }

    /// Whether something was ever kept for the key holder on it, and not overwritten.
    pub fn has_keyring(&self) -> Result<bool, DiskError> {
        match two_copies::read(&open(&self.keyring)?, &KEYRING) {
            Ok(kept) => Ok(kept.is_some_and(|kept| !kept.is_empty())),
            // Nothing that could be read: it is overwritten all the same.
            Err(TwoCopiesError::Broken) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Overwrites the keyring, then the record: the disk is new.
    pub fn erase(&self) -> Result<(), DiskError> {
        let device = open(&self.keyring)?;
        two_copies::blank(&device, &KEYRING)?;
        Ok(two_copies::blank(&device, &RECORD)?)
    }

    /// Waits for the partitions of a table that was written, and learns what they are called.
    pub fn await_nodes(&mut self) -> Result<(), DiskError> {
        let new = Self::at(&self.disk)?.ok_or_else(|| DiskError::Changed(self.disk.clone()))?;
        *self = Self {
            stage: self.stage,
            record: self.record.clone(),
            is_added: self.is_added,
            ..new
        };
        let since = Instant::now();
        let nodes = [
            Some(&self.keyring),
            Some(&self.data),
            self.metadata.as_ref(),
            self.esp.as_ref(),
        ];
        while !nodes.iter().flatten().all(|node| node.exists()) {
            if since.elapsed() > NODES_MAX {
                return Err(DiskError::Changed(self.disk.clone()));
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Makes it new to dm-raid. Durable when it returns.
    pub fn blank_metadata(&self) -> Result<(), DiskError> {
        let Some(metadata) = &self.metadata else { return Ok(()) };
        let device = open(metadata)?;
        let zeros = vec![0; usize::try_from(METADATA_BYTES).unwrap_or_default()];
        let written = device.write_all_at(&zeros, 0).and_then(|()| device.sync_all());
        written.map_err(|error| DiskError::Io(metadata.clone(), error))
    }

    /// Whether the kernel still has it.
    pub fn is_there(&self) -> bool {
        Path::new("/sys/class/block").join(self.name()).exists()
    }

    /// One of a test's, without partitions.
    #[cfg(test)]
    pub fn named(disk: &Path, stage: Stage) -> Self {
        Self {
            disk: disk.to_owned(),
            keyring: disk.to_owned(),
            data: disk.to_owned(),
            metadata: None,
            esp: None,
            ids: Ids {
                keyring: disk.display().to_string(),
                data: disk.display().to_string(),
            },
            stage,
            record: Record::parse(&[]),
            is_added: false,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::*;
    use crate::init::disk::Found;
    use std::fs::File;

    /// Where the record's copies are on a partition.
    fn copies(path: &Path) -> Vec<usize> {
        let bytes = std::fs::read(path).unwrap();
        let found = bytes
            .windows(8)
            .enumerate()
            .filter(|(_, window)| *window == b"LAMBOXRC");
        found.map(|(at, _)| at).collect()
    }

    #[test]
    fn neither_copy_of_the_record_tells_what_was_before_a_reset() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keyring");
        File::create(&path).unwrap().set_len(4 << 20).unwrap();
        let member = Member::named(&path, Stage::Done);
        for stage in [Stage::Begun, Stage::Done] {
            member.keep(stage, None, None).unwrap();
        }
        let found = Found::of_test(vec![member.clone()], Vec::new());
        found.begin_erasing().unwrap();
        let both = copies(&path);
        assert_eq!(both.len(), 2);
        for at in both {
            // A cut after this copy was overwritten, and before the other one was.
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[at..at + 8].fill(0);
            let cut = folder.path().join("cut");
            std::fs::write(&cut, bytes).unwrap();
            let mut left = Member::named(&cut, Stage::Done);
            left.look().unwrap();
            assert_eq!(left.stage, Stage::Erasing, "without the copy at {at}");
        }
        found.end_erasing().unwrap();
        let mut new = member;
        new.look().unwrap();
        assert_eq!(new.stage, Stage::New);
    }
}
