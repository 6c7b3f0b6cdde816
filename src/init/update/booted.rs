//! Where the release that runs came from: the system partition that updates are written to.
//!
//! What must never happen here: that an update goes to a disk that only says that it is the one that was started from.

use crate::init::disk::Found;
use crate::init::state::Shared;
use lamchat_machine::efi::{LOADER, Variables};
use lamchat_machine::gpt;
use lamchat_slots::{Name, Slot};
use parking_lot::Mutex;
use std::path::PathBuf;

/// Where the release that runs came from.
#[derive(Debug)]
pub struct Booted {
    /// What the firmware started from.
    pub(super) from: PathBuf,
    /// The EFI system partition that counts: the same, or one of another disk of a mirror where the first has failed.
    esp: Mutex<PathBuf>,
    pub(super) slot: Slot,
}

impl Booted {
    /// Looked for once: a set-up gives the disk new identifiers, and the boot loader's variable keeps the one before.
    pub fn of(shared: &Shared) -> Result<&Self, String> {
        let booted = match shared.booted.get() {
            Some(known) => known,
            None => {
                let own = shared.disk.lock().as_ref().map(Found::disks).unwrap_or_default();
                Self::find(&own).map(|found| shared.booted.get_or_init(|| found))?
            }
        };
        let disk = shared.disk.lock();
        let mirror = disk.as_ref().filter(|found| found.mirror.is_some());
        let esps = mirror.map(Found::esps).unwrap_or_default();
        if let Some(first) = esps.first().filter(|_| !esps.contains(&booted.from)) {
            booted.esp.lock().clone_from(first);
        }
        Ok(booted)
    }

    /// The EFI system partition that counts.
    pub fn esp(&self) -> PathBuf {
        self.esp.lock().clone()
    }

    /// Those of a mirror's other disks, also of disks that are not used: a firmware may start from them first.
    pub fn others(&self, shared: &Shared) -> Vec<PathBuf> {
        let disk = shared.disk.lock();
        let Some(found) = disk.as_ref().filter(|found| found.mirror.is_some()) else {
            return Vec::new();
        };
        let left = found.left.iter().filter_map(|member| member.esp.clone());
        let all = found.esps().into_iter().chain(left);
        all.filter(|other| *other != *self.esp.lock()).collect()
    }

    /// The slot, as people write it.
    pub fn slot_name(&self) -> String {
        self.slot.to_string()
    }

    fn find(own: &[PathBuf]) -> Result<Self, String> {
        let entry = variable("LoaderEntrySelected")?;
        let name = Name::parse_path(&entry).ok_or_else(|| format!("{entry:?} was started, which is no slot's file"))?;
        let wanted = variable("LoaderDevicePartUUID")?.to_ascii_lowercase();
        let from = started_from(&gpt::disks(), own, &wanted)?;
        Ok(Self {
            esp: Mutex::new(from.clone()),
            from,
            slot: name.slot,
        })
    }
}

/// The partition with this identifier, which can be copied onto another disk: then only one of the box's `own` disks counts.
fn started_from(disks: &[PathBuf], own: &[PathBuf], wanted: &str) -> Result<PathBuf, String> {
    let on = |disk: &PathBuf| {
        let partitions = gpt::read(disk).unwrap_or_default();
        let found = partitions
            .into_iter()
            .find(|partition| gpt::text(&partition.id) == wanted);
        found.map(|found| (disk.clone(), gpt::device(disk, found.number)))
    };
    let found: Vec<(PathBuf, PathBuf)> = disks.iter().filter_map(on).collect();
    let mut ours = found.iter().filter(|(disk, _)| own.contains(disk));
    match (found.as_slice(), ours.next(), ours.next()) {
        ([(_, only)], ..) | (_, Some((_, only)), None) => Ok(only.clone()),
        ([], ..) => Err(format!(
            "no disk has the partition {wanted} that the box was started from"
        )),
        (several, ..) => {
            let names = several.iter().map(|(disk, _)| disk.display().to_string());
            Err(format!(
                "{} have the partition {wanted} that the box was started from: remove all but one, and start again",
                names.collect::<Vec<_>>().join(" and ")
            ))
        }
    }
}

/// A variable of the boot loader's.
fn variable(name: &str) -> Result<String, String> {
    let text = Variables::of_machine().text(name, LOADER);
    text.map_err(|error| error.to_string())?
        .ok_or_else(|| format!("there is no {name}: it was not the boot loader that started this"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use lamchat_image::Guid;
    use lamchat_image::gpt::{ALIGNMENT, Partition, lay_out};
    use lamchat_machine::gpt::ESP_KIND;
    use std::os::unix::fs::FileExt;
    use std::path::Path;

    /// A disk with a system partition behind one of something else.
    fn disk(folder: &Path, name: &str, id: &str) -> PathBuf {
        let partition = |name, kind, id| Partition {
            name,
            kind: Guid(kind),
            id: Guid::of_name(id),
            bytes: ALIGNMENT,
        };
        let made = [partition("other", [9; 16], name), partition("esp", ESP_KIND, id)];
        let table = lay_out(Guid::of_name(name), &made);
        let path = folder.join(name);
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(table.bytes).unwrap();
        for (offset, bytes) in &table.extents {
            file.write_all_at(bytes, *offset).unwrap();
        }
        path
    }

    #[test]
    fn a_copied_identifier_leads_no_update_to_another_disk() {
        let folder = tempfile::tempdir().unwrap();
        let wanted = gpt::text(&Guid::of_name("esp").0);
        let (copied, ours) = (disk(folder.path(), "sda", "esp"), disk(folder.path(), "sdb", "esp"));
        let other = disk(folder.path(), "sdc", "another");
        let real = gpt::device(&ours, 2);
        let from = |disks: &[&PathBuf], own: &[&PathBuf]| {
            let all = |paths: &[&PathBuf]| paths.iter().copied().cloned().collect::<Vec<_>>();
            started_from(&all(disks), &all(own), &wanted)
        };
        assert_eq!(from(&[&other, &ours], &[&ours]), Ok(real.clone()));
        // Before a set-up nothing is the box's own; an image may also run from a disk beside.
        assert_eq!(from(&[&other, &ours], &[]), Ok(real.clone()));
        assert_eq!(from(&[&other, &ours], &[&other]), Ok(real.clone()));
        assert_eq!(from(&[&copied, &other, &ours], &[&ours]), Ok(real));
        for own in [&[][..], &[&other], &[&copied, &ours]] {
            let told = from(&[&copied, &ours], own).unwrap_err();
            assert!(
                told.contains("sda and ") && told.contains("remove all but one"),
                "{told}"
            );
        }
        let told = from(&[&other], &[&other]).unwrap_err();
        assert!(told.starts_with("no disk has"), "{told}");
    }
}
