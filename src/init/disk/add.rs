//! A disk that becomes the other half of a mirror while the box runs: one that was replaced, or one that was away.

use super::member::Member;
use super::{ARRAY, DiskError, Found, draw, open};
use crate::init::record::Stage;
use lamchat_machine::gpt::{self, GptError};
use lamchat_machine::mirror::{self, Begin};
use lamchat_machine::two_copies::{self, KEYRING, RECORD};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Bytes of the EFI system partition that are copied at once.
const CHUNK_BYTES: u64 = 1 << 20;

impl Found {
    /// Makes a disk the other half, whatever was on it, and lets dm-raid fill it while the box goes on. `progress` is told
    /// how many hundredths of the EFI system partition are copied; when this returns, the data are being filled.
    pub fn add(&mut self, disk: &Path, progress: &mut dyn FnMut(u64)) -> Result<(), DiskError> {
        let unfit = |why: &str| DiskError::Unfit(why.to_owned());
        let mirror = self
            .mirror
            .as_mut()
            .ok_or_else(|| unfit("this box has one disk and was set up so"))?;
        let [member] = self.members.as_slice() else {
            return Err(unfit("the mirror has both of its disks"));
        };
        let position = mirror.position(&member.ids).map(|position| 1 - position);
        let position = position.ok_or_else(|| DiskError::Changed(member.disk.clone()))?;
        if block_bytes(&member.disk)? != block_bytes(disk)? {
            return Err(unfit("the disks count in blocks of different sizes"));
        }
        match gpt::copy_layout(&member.disk, disk, draw) {
            Ok(()) => {}
            Err(GptError::Unfit) => return Err(unfit("the disk is smaller than what the other one holds")),
            Err(error) => return Err(error.into()),
        }
        let new = Member::at(disk)?.ok_or_else(|| DiskError::Changed(disk.to_owned()))?;
        let mut new = Member {
            stage: Stage::Filling,
            is_added: true,
            ..new
        };
        new.await_nodes()?;
        let keyring = open(&new.keyring)?;
        for thing in [RECORD, KEYRING] {
            two_copies::blank(&keyring, &thing)?;
        }
        new.blank_metadata()?;
        if let (Some(from), Some(to)) = (&member.esp, &new.esp) {
            copy(from, to, progress)?;
        }
        two_copies::level(&[open(&member.keyring)?, keyring], &KEYRING)?;
        mirror.exchange(position, new.ids.clone());
        // The new one first: it does not count before the other one knows of it.
        let binding = self.binding.as_ref();
        new.keep(Stage::Filling, Some(mirror), binding)?;
        member.keep(Stage::Done, Some(mirror), binding)?;
        let mirror = mirror.clone();
        self.members.push(new);
        self.members.sort_by_key(|member| mirror.position(&member.ids));
        let replaced = mirror::replace(ARRAY, mirror.sectors, &self.halves(&mirror), Begin::Fill(position));
        if let Err(error) = replaced {
            self.members
                .retain(|member| !member.is_added || member.stage == Stage::Done);
            self.go_on_without_the_other()?;
            return Err(error.into());
        }
        Ok(())
    }

    /// Takes note that a half has everything now, or that it misses something. Durable when it returns.
    pub fn mark(&mut self, position: usize, stage: Stage) -> Result<(), DiskError> {
        let ids = self
            .mirror
            .as_ref()
            .and_then(|mirror| mirror.members.get(position))
            .cloned();
        for member in &mut self.members {
            if Some(&member.ids) == ids.as_ref() && member.stage != stage {
                member.stage = stage;
                member.keep(stage, self.mirror.as_ref(), self.binding.as_ref())?;
            }
        }
        Ok(())
    }

    /// Gives the newest keyring to the disks that were added since the key holder started, which it does not know of.
    pub fn follow_keyring(&self) -> Result<(), DiskError> {
        if self.members.iter().any(|member| member.is_added) {
            let devices: Vec<File> = self
                .members
                .iter()
                .map(|member| open(&member.keyring))
                .collect::<Result<_, _>>()?;
            two_copies::level(&devices, &KEYRING)?;
        }
        Ok(())
    }
}

/// The bytes of a disk's blocks.
fn block_bytes(disk: &Path) -> Result<String, DiskError> {
    let name = disk.file_name().unwrap_or_default();
    let path = Path::new("/sys/class/block")
        .join(name)
        .join("queue/logical_block_size");
    std::fs::read_to_string(&path).map_err(|error| DiskError::Io(path, error))
}

/// Copies a partition. Its first part comes last: until then no firmware takes it for a file system. Where an update has
/// changed what is copied meanwhile, the slots are made alike by the next one.
fn copy(from: &Path, to: &Path, progress: &mut dyn FnMut(u64)) -> Result<(), DiskError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| DiskError::Io(path, error)
    };
    let (source, target) = (open(from)?, open(to)?);
    let bytes = std::io::Seek::seek(&mut &source, std::io::SeekFrom::End(0)).map_err(failed(from))?;
    let mut buffer = vec![0; usize::try_from(CHUNK_BYTES).unwrap_or_default()];
    target.write_all_at(&buffer, 0).map_err(failed(to))?;
    let chunks = bytes.div_ceil(CHUNK_BYTES);
    for chunk in (1..chunks).chain([0]) {
        if chunk == 0 {
            target.sync_all().map_err(failed(to))?;
        }
        let at = chunk * CHUNK_BYTES;
        let length = usize::try_from(CHUNK_BYTES.min(bytes - at)).unwrap_or_default();
        let part = buffer.get_mut(..length).unwrap_or_default();
        source.read_exact_at(part, at).map_err(failed(from))?;
        target.write_all_at(part, at).map_err(failed(to))?;
        progress(chunk * 100 / chunks);
    }
    target.sync_all().map_err(failed(to))
}
