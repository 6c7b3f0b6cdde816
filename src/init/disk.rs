//! The box's disk: which one it is, and its data partition. Everything here blocks.

use super::record::{Record, Stage};
use lamchat_base::Entropy;
use lamchat_host::OsEntropy;
use lamchat_machine::crypt::{self, CryptError};
use lamchat_machine::ext4::{self, TemplateError};
use lamchat_machine::gpt::{self, GptError, Partition};
use lamchat_machine::mounts::{self, MountError};
use lamchat_machine::two_copies::{self, KEYRING, RECORD, TwoCopiesError};
use nix::errno::Errno;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The partition of the keyring: 7D0CC9DE-5B0B-4D5D-8C3F-5B2E6F1A4C01, as on the disk.
const KEYRING_KIND: [u8; 16] = kind(1);
/// The partition of the data: …4C02.
const DATA_KIND: [u8; 16] = kind(2);
/// The template of the data's file system, in the image.
const TEMPLATE: &str = "/etc/lamchat/data.ext4.blocks";
/// What the open data partition is called.
const NAME: &str = "lamchat-data";
/// How long the kernel may take to show partitions that it has read.
const NODES_MAX: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// The image's own partition types, which differ in their last byte.
const fn kind(last: u8) -> [u8; 16] {
    [
        0xde, 0xc9, 0x0c, 0x7d, 0x0b, 0x5b, 0x5d, 0x4d, 0x8c, 0x3f, 0x5b, 0x2e, 0x6f, 0x1a, 0x4c, last,
    ]
}

/// Why the disk is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The table.
    #[error(transparent)]
    Gpt(#[from] GptError),
    /// The keyring's partition.
    #[error("the partition of the keyring: {0}")]
    Record(#[from] TwoCopiesError),
    /// The encryption.
    #[error(transparent)]
    Crypt(#[from] CryptError),
    /// The template.
    #[error("the file system of the data: {0}")]
    Template(#[from] TemplateError),
    /// The mount.
    #[error(transparent)]
    Mount(#[from] MountError),
    /// Growing.
    #[error("the file system does not grow: {0}")]
    Grow(Errno),
    /// A file or device.
    #[error("{0}: {1}")]
    Io(PathBuf, std::io::Error),
    /// There is none.
    #[error("no disk of this machine has the image's partitions")]
    Absent,
    /// Nobody can say which.
    #[error("several disks have the image's partitions, take all but one away: {0}")]
    Several(String),
    /// The partitions are not those of the set-up.
    #[error("the partitions of {0} are not those that were set up")]
    Changed(PathBuf),
}

/// The disk that was found.
#[derive(Debug, Clone)]
pub struct Found {
    disk: PathBuf,
    /// The partition of the keyring.
    pub keyring: PathBuf,
    data: PathBuf,
    /// How far it is, as it says itself.
    record: Record,
}

/// Finds the disk: the one that is set up, else the only one with the image's partitions.
pub fn find() -> Result<Found, DiskError> {
    let (mut all, mut refused) = (Vec::new(), None);
    for disk in gpt::disks() {
        match look_at(&disk) {
            Ok(Some(found)) => all.push(found),
            // One of ours, and not as it was.
            Err(error @ (DiskError::Changed(_) | DiskError::Record(_))) => refused = Some(error),
            // A disk of somebody else's, or none that can be read.
            Ok(None) | Err(_) => {}
        }
    }
    if all.iter().filter(|found| found.is_in_use()).count() == 1 {
        all.retain(|found| found.is_in_use());
    }
    match all.as_slice() {
        [] => Err(refused.unwrap_or(DiskError::Absent)),
        [one] => Ok(one.clone()),
        several => {
            let names: Vec<String> = several.iter().map(|found| found.disk.display().to_string()).collect();
            Err(DiskError::Several(names.join(", ")))
        }
    }
}

fn partitions(disk: &Path) -> Result<Option<[Partition; 2]>, DiskError> {
    let all = gpt::read(disk)?;
    let of = |kind: [u8; 16]| all.iter().find(|partition| partition.kind == kind).cloned();
    Ok(of(KEYRING_KIND)
        .zip(of(DATA_KIND))
        .map(|(keyring, data)| [keyring, data]))
}

fn look_at(disk: &Path) -> Result<Option<Found>, DiskError> {
    let Some([keyring, data]) = partitions(disk)? else {
        return Ok(None);
    };
    // A set-up whose power was cut while the table was written.
    gpt::mend(disk)?;
    let device = gpt::device(disk, keyring.number);
    let record = two_copies::read(&open(&device)?, &RECORD)?.unwrap_or_default();
    let record = Record::parse(&record);
    // Types and labels can be copied; these identifiers were drawn when this disk was set up.
    let is_same = record.keyring == gpt::text(&keyring.id) && record.data == gpt::text(&data.id);
    if record.stage == Stage::Done && !is_same {
        return Err(DiskError::Changed(disk.to_owned()));
    }
    Ok(Some(Found {
        disk: disk.to_owned(),
        keyring: device,
        data: gpt::device(disk, data.number),
        record,
    }))
}

fn open(device: &Path) -> Result<File, DiskError> {
    let file = File::options().read(true).write(true).open(device);
    file.map_err(|error| DiskError::Io(device.to_owned(), error))
}

impl Found {
    /// Whether it has or had data.
    fn is_in_use(&self) -> bool {
        matches!(self.record.stage, Stage::Done | Stage::Erasing)
    }

    /// How far the disk is.
    pub fn stage(&self) -> Stage {
        self.record.stage
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

    /// Whether the record is this disk's own; `None`: an earlier release wrote it, and did not bind it.
    pub fn is_own(&self, key: &[u8; 64]) -> Option<bool> {
        self.record.is_bound().then(|| self.record.is_bound_to(key))
    }

    /// From now on everything goes, whatever happens to the power.
    pub fn begin_erasing(&self) -> Result<(), DiskError> {
        self.keep(Stage::Erasing, None)
    }

    /// Overwrites the keyring, then the record: the disk is new. The data stay as what nobody can read.
    pub fn end_erasing(&self) -> Result<(), DiskError> {
        let device = open(&self.keyring)?;
        two_copies::blank(&device, &KEYRING)?;
        Ok(two_copies::blank(&device, &RECORD)?)
    }

    /// Begins a set-up: the disk's own identifiers, all of its size, an empty keyring. What was there is lost.
    pub fn begin(&self) -> Result<(), DiskError> {
        self.keep(Stage::Begun, None)?;
        let draw = || {
            let mut id = [0; 16];
            OsEntropy.fill(&mut id);
            id
        };
        gpt::renew(&self.disk, &DATA_KIND, draw)?;
        let since = Instant::now();
        while !(self.keyring.exists() && self.data.exists()) {
            if since.elapsed() > NODES_MAX {
                return Err(DiskError::Changed(self.disk.clone()));
            }
            std::thread::sleep(LOOK);
        }
        Ok(two_copies::blank(&open(&self.keyring)?, &KEYRING)?)
    }

    /// From now on a start opens what is there instead of setting it up. Durable when it returns.
    pub fn finish(&self, key: &[u8; 64]) -> Result<(), DiskError> {
        self.keep(Stage::Done, Some(key))
    }

    fn keep(&self, stage: Stage, key: Option<&[u8; 64]>) -> Result<(), DiskError> {
        let [keyring, data] = partitions(&self.disk)?.ok_or_else(|| DiskError::Changed(self.disk.clone()))?;
        let record = Record::new(stage, gpt::text(&keyring.id), gpt::text(&data.id));
        let record = key.map_or(record.clone(), |key| record.bind(key));
        let device = open(&self.keyring)?;
        Ok(two_copies::write(&device, &RECORD, &record.encode())?)
    }

    /// Makes the file system of the data under this key, and mounts it.
    pub fn format(&self, key: &[u8; 64], folder: &Path) -> Result<(), DiskError> {
        // An attempt that failed may have left it.
        match crypt::close(NAME) {
            Ok(()) | Err(CryptError::Refused(_, Errno::ENXIO)) => {}
            Err(error) => return Err(error.into()),
        }
        let node = crypt::open(NAME, &self.data, key)?;
        let template = File::open(TEMPLATE).map_err(|error| DiskError::Io(TEMPLATE.into(), error))?;
        let mut device = open(&node)?;
        ext4::write_template(std::io::BufReader::new(template), &mut device)?;
        let bytes = device
            .seek(SeekFrom::End(0))
            .map_err(|error| DiskError::Io(node.clone(), error))?;
        drop(device);
        mounts::mount_ext4(&node, folder, false)?;
        ext4::grow(folder, bytes).map_err(DiskError::Grow)
    }

    /// Opens the data under this key and mounts them; whether errors were found in them before, so that they are only
    /// for reading.
    pub fn open(&self, key: &[u8; 64], folder: &Path) -> Result<bool, DiskError> {
        let node = crypt::open(NAME, &self.data, key)?;
        let has_errors = ext4::has_errors(&mut open(&node)?).map_err(|error| DiskError::Io(node.clone(), error))?;
        mounts::mount_ext4(&node, folder, has_errors)?;
        Ok(has_errors)
    }
}

/// Whether a disk has partitions of the image's, whatever else is true of it.
pub fn is_ours(disk: &Path) -> bool {
    let all = gpt::read(disk).unwrap_or_default();
    all.iter()
        .any(|partition| [KEYRING_KIND, DATA_KIND].contains(&partition.kind))
}

/// Takes the key out of the kernel; nothing may be mounted any more.
pub fn close() -> Result<(), DiskError> {
    match crypt::close(NAME) {
        // Never opened.
        Err(CryptError::Refused(_, Errno::ENXIO)) => Ok(()),
        other => Ok(other?),
    }
}
