//! The box's disk, or the two that hold the same: which they are, and the data on them. Everything here blocks.

mod add;
mod find;
mod halves;
mod member;

pub use find::find;
pub use halves::{Ids, Mirror};
pub use member::Member;

use super::record::{Binding, Stage};
use lamchat_base::Entropy;
use lamchat_host::OsEntropy;
use lamchat_machine::crypt;
use lamchat_machine::device_mapper::{self, MapError, SECTOR};
use lamchat_machine::ext4::{self, TemplateError};
use lamchat_machine::gpt::{self, Beside, GptError};
use lamchat_machine::mirror::{self, Begin, Half, METADATA_BYTES, MirrorStatus};
use lamchat_machine::mounts::{self, MountError};
use lamchat_machine::two_copies::{self, KEYRING, TwoCopiesError};
use member::{DATA_KIND, KEYRING_KIND, METADATA_KIND};
use nix::errno::Errno;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The template of the data's file system, in the image.
const TEMPLATE: &str = "/etc/lamchat/data.ext4.blocks";
/// What the open data are called.
const NAME: &str = "lamchat-data";
/// What the array of two halves is called.
const ARRAY: &str = "lamchat-mirror";
/// How long the kernel may take to show partitions that it has read.
const NODES_MAX: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Why the disk is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The table.
    #[error(transparent)]
    Gpt(#[from] GptError),
    /// The keyring's partition.
    #[error("the partition of the keyring: {0}")]
    Record(#[from] TwoCopiesError),
    /// The encryption or the mirror.
    #[error(transparent)]
    Map(#[from] MapError),
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
    #[error("several disks have the image's partitions, take all but one away (two, for a mirror): {0}")]
    Several(String),
    /// The partitions are not those of the set-up.
    #[error("the partitions of {0} are not those that were set up")]
    Changed(PathBuf),
    /// A later release has written what this one cannot read.
    #[error("a later release has recorded on {0} what this one does not know: start that release")]
    Later(PathBuf),
    /// Both halves were written without the other.
    #[error(
        "both halves went on alone: {0} and {1} each have what the other misses. Take one away, start with the other, and \
         add the first again as a new one"
    )]
    Parted(PathBuf, PathBuf),
    /// The half that has everything is not there.
    #[error("{0} was never filled completely: the other half of the mirror is needed")]
    Incomplete(PathBuf),
    /// A disk cannot become a half.
    #[error("{0}")]
    Unfit(String),
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// The disks that are used: one, or both halves of a mirror. Of a box that is not set up, those that can be.
    pub members: Vec<Member>,
    /// The mirror, once there is one.
    pub mirror: Option<Mirror>,
    /// Disks of the same mirror that are not used any more: they miss something.
    pub left: Vec<Member>,
    /// Whether a set-up came to its end on it.
    pub is_set_up: bool,
    /// What binds the records, once the key was there.
    binding: Option<Binding>,
}

fn open(device: &Path) -> Result<File, DiskError> {
    let file = File::options().read(true).write(true).open(device);
    file.map_err(|error| DiskError::Io(device.to_owned(), error))
}

fn draw() -> [u8; 16] {
    let mut id = [0; 16];
    OsEntropy.fill(&mut id);
    id
}

impl Found {
    /// These disks.
    fn new(members: Vec<Member>, mirror: Option<Mirror>, is_set_up: bool) -> Self {
        Self {
            members,
            mirror,
            left: Vec::new(),
            is_set_up,
            binding: None,
        }
    }

    /// Those of a test's.
    #[cfg(test)]
    pub fn of_test(members: Vec<Member>, left: Vec<Member>) -> Self {
        Self {
            left,
            ..Self::new(members, None, true)
        }
    }

    /// How far the box is.
    pub fn stage(&self) -> Stage {
        let mut stages = self.members.iter().map(|member| member.stage);
        if stages.clone().any(|stage| stage == Stage::Erasing) {
            Stage::Erasing
        } else if self.is_set_up {
            Stage::Done
        } else {
            stages.next().unwrap_or(Stage::New)
        }
    }

    /// All disks of the box's, also those that are not used any more.
    fn all(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().chain(&self.left)
    }

    /// Whether something was ever kept for the key holder, and not overwritten.
    pub fn has_keyring(&self) -> Result<bool, DiskError> {
        for member in self.all() {
            if member.has_keyring()? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the records are this box's own; `None`: an earlier release wrote them, and did not bind them.
    pub fn is_own(&self, key: &[u8; 64]) -> Option<bool> {
        let mut bound = self.members.iter().filter(|member| member.record.is_bound()).peekable();
        bound.peek()?;
        let is_all = self.members.iter().all(|member| member.record.is_bound_to(key));
        Some(is_all)
    }

    /// From now on everything goes, whatever happens to the power. Both copies of each record say it: the one that is
    /// overwritten last must not tell what was before, when the keyring is gone already.
    pub fn begin_erasing(&self) -> Result<(), DiskError> {
        for _ in 0..2 {
            for member in self.all() {
                let mirror = self.mirror.as_ref().or(member.record.mirror.as_ref());
                member.keep(Stage::Erasing, mirror, None)?;
            }
        }
        Ok(())
    }

    /// Overwrites the keyrings, then the records: the disks are new. The data stay as what nobody can read.
    pub fn end_erasing(&self) -> Result<(), DiskError> {
        self.all().try_for_each(Member::erase)
    }

    /// The partitions of the keyring.
    pub fn keyrings(&self) -> Vec<PathBuf> {
        self.members.iter().map(|member| member.keyring.clone()).collect()
    }

    /// The EFI system partitions.
    pub fn esps(&self) -> Vec<PathBuf> {
        self.members.iter().filter_map(|member| member.esp.clone()).collect()
    }

    /// The disks, also those that are not used.
    pub fn disks(&self) -> Vec<PathBuf> {
        self.all().map(|member| member.disk.clone()).collect()
    }

    /// The disks' names in /dev.
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.members.iter().map(Member::name).collect();
        names.join(" and ")
    }

    /// Whether the other half is to be there and is not.
    pub fn misses_a_half(&self) -> bool {
        self.members.len() == 1 && self.mirror.as_ref().is_some_and(|mirror| mirror.without.is_none())
    }

    /// Begins a set-up: the disk's own identifiers, all of its size, an empty keyring. What was there is lost.
    pub fn begin(&mut self) -> Result<(), DiskError> {
        for member in &self.members {
            member.keep(Stage::Begun, None, None)?;
        }
        let mut beside = None;
        if self.members.len() > 1 {
            // The halves have the length of the smaller one.
            let rooms = self
                .members
                .iter()
                .map(|member| gpt::room(&member.disk, &DATA_KIND, METADATA_BYTES));
            let rooms: Vec<u64> = rooms.collect::<Result<_, _>>()?;
            beside = Some(Beside {
                kind: METADATA_KIND,
                label: "lamchat-mirror",
                bytes: METADATA_BYTES,
                before: rooms.into_iter().min().unwrap_or_default(),
            });
        }
        for member in &mut self.members {
            gpt::renew(&member.disk, &DATA_KIND, beside.as_ref(), draw)?;
            member.await_nodes()?;
            two_copies::blank(&open(&member.keyring)?, &KEYRING)?;
            member.blank_metadata()?;
        }
        self.mirror = match (self.members.as_slice(), beside) {
            ([first, second], Some(beside)) => Some(Mirror {
                id: gpt::text(&draw()),
                sectors: beside.before / SECTOR,
                members: [first.ids.clone(), second.ids.clone()],
                without: None,
                left: Vec::new(),
            }),
            _ => None,
        };
        Ok(())
    }

    /// From now on a start opens what is there instead of setting it up. Durable when it returns.
    pub fn finish(&mut self, key: &[u8; 64]) -> Result<(), DiskError> {
        self.binding = Some(Binding::of(key));
        self.is_set_up = true;
        for member in &mut self.members {
            if member.stage != Stage::Filling {
                member.stage = Stage::Done;
            }
        }
        self.keep()
    }

    /// Writes what is known of the members onto each of them.
    fn keep(&self) -> Result<(), DiskError> {
        for member in &self.members {
            let stage = if self.is_set_up { member.stage } else { Stage::Begun };
            member.keep(stage, self.mirror.as_ref(), self.binding.as_ref())?;
        }
        Ok(())
    }

    /// The device that has the data, still encrypted.
    fn device(&self, begin: Begin) -> Result<PathBuf, DiskError> {
        match &self.mirror {
            Some(mirror) => Ok(mirror::open(ARRAY, mirror.sectors, &self.halves(mirror), begin)?),
            None => {
                let member = self.members.first().ok_or(DiskError::Absent)?;
                Ok(member.data.clone())
            }
        }
    }

    /// The halves that are used, in dm-raid's order.
    fn halves(&self, mirror: &Mirror) -> [Option<Half>; 2] {
        mirror.members.each_ref().map(|ids| {
            let member = self.members.iter().find(|member| member.ids == *ids)?;
            Some(Half {
                metadata: member.metadata.clone()?,
                data: member.data.clone(),
            })
        })
    }

    /// Makes the file system of the data under this key, and mounts it.
    pub fn format(&self, key: &[u8; 64], folder: &Path) -> Result<(), DiskError> {
        // An attempt that failed may have left it.
        close()?;
        let node = crypt::open(NAME, &self.device(Begin::New)?, key)?;
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
    pub fn open(&mut self, key: &[u8; 64], folder: &Path) -> Result<bool, DiskError> {
        self.binding = Some(Binding::of(key));
        if self.misses_a_half() {
            // Before the first write that the other half will miss.
            self.go_on_without_the_other()?;
        }
        let device = match (self.device(Begin::Known), self.filling()) {
            // The power was cut before dm-raid had written down that this half is new.
            (Err(_), Some(position)) => self.device(Begin::Fill(position))?,
            (device, _) => device?,
        };
        let node = crypt::open(NAME, &device, key)?;
        let has_errors = ext4::has_errors(&mut open(&node)?).map_err(|error| DiskError::Io(node.clone(), error))?;
        mounts::mount_ext4(&node, folder, has_errors)?;
        Ok(has_errors)
    }

    /// The half that is being filled, by its place in the mirror.
    fn filling(&self) -> Option<usize> {
        let filling = self.members.iter().find(|member| member.stage == Stage::Filling)?;
        self.mirror.as_ref()?.position(&filling.ids)
    }

    /// Writes down that the one member that is left goes on alone. Durable when it returns.
    fn go_on_without_the_other(&mut self) -> Result<(), DiskError> {
        let (Some(mirror), [member]) = (&mut self.mirror, self.members.as_slice()) else {
            return Ok(());
        };
        mirror.without = mirror.position(&member.ids).map(|position| 1 - position);
        self.keep()
    }

    /// Takes note that a half has failed or gone: a later start will not use it, also if it comes back. The box goes on
    /// with the other one. Durable when it returns.
    pub fn lose(&mut self, position: usize) -> Result<(), DiskError> {
        let lost = self
            .mirror
            .as_ref()
            .and_then(|mirror| mirror.members.get(position))
            .cloned();
        let is_lost = |member: &Member| Some(&member.ids) == lost.as_ref();
        // The last one stays, whatever it is.
        if self.members.len() > 1 && self.members.iter().any(is_lost) {
            self.members.retain(|member| !is_lost(member));
            self.go_on_without_the_other()?;
        }
        Ok(())
    }

    /// Has dm-raid let go of a half that was lost, so that its device can be used for something else.
    pub fn let_go(&self) -> Result<(), DiskError> {
        match &self.mirror {
            Some(mirror) => Ok(mirror::replace(
                ARRAY,
                mirror.sectors,
                &self.halves(mirror),
                Begin::Known,
            )?),
            None => Ok(()),
        }
    }
}

/// How the mirror is, if there is one: dm-raid's word for it.
pub fn array() -> Result<MirrorStatus, MapError> {
    mirror::status(ARRAY)
}

/// Whether a disk has partitions of the image's, whatever else is true of it.
pub fn is_ours(disk: &Path) -> bool {
    let all = gpt::read(disk).unwrap_or_default();
    all.iter()
        .any(|partition| [KEYRING_KIND, DATA_KIND].contains(&partition.kind))
}

/// Takes the key out of the kernel; nothing may be mounted any more.
pub fn close() -> Result<(), DiskError> {
    for name in [NAME, ARRAY] {
        match device_mapper::remove(name) {
            // Never opened.
            Ok(()) | Err(MapError::Refused(_, Errno::ENXIO)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
