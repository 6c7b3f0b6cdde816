//! A disk whose changes stay in memory: what a disk that can only be read needs, to be opened by programs that write.
//!
//! What must never happen here: a byte that reaches the disk below. Its syncs succeed and make nothing durable, so nobody
//! may acknowledge anything that stands on it.

mod changed;

use crate::{Disk, File, Lock};
use changed::{Changed, Room};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A disk as it is, and what was changed since, which nobody else sees and which goes with the value.
#[derive(Debug)]
pub struct Overlay {
    below: Arc<dyn Disk>,
    /// Files that were opened, made, renamed or removed (`None`).
    files: Mutex<HashMap<PathBuf, Option<Arc<Changed>>>>,
    room: Arc<Room>,
}

#[derive(Debug)]
struct NoLock;

impl Lock for NoLock {}

impl Overlay {
    /// Over a disk, of which no byte is changed; at most `bytes_max` bytes of changes are kept.
    pub fn new(below: Arc<dyn Disk>, bytes_max: usize) -> Self {
        Self {
            below,
            files: Mutex::default(),
            room: Arc::new(Room::of(bytes_max)),
        }
    }

    fn changed(&self, below: Option<Arc<dyn File>>) -> io::Result<Arc<Changed>> {
        Changed::new(below, Arc::clone(&self.room)).map(Arc::new)
    }

    /// The file of this name, if there is one.
    fn find(
        &self,
        files: &mut HashMap<PathBuf, Option<Arc<Changed>>>,
        path: &Path,
    ) -> io::Result<Option<Arc<Changed>>> {
        if let Some(known) = files.get(path) {
            return Ok(known.clone());
        }
        let found = match self.below.open_to_read(path) {
            Ok(file) => Some(self.changed(Some(file))?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        files.insert(path.to_owned(), found.clone());
        Ok(found)
    }
}

impl Disk for Overlay {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        // Files are known by their whole path.
        Ok(())
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        match self.find(&mut self.files.lock(), path)? {
            Some(file) => Ok(file),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        match self.files.lock().get(path) {
            Some(Some(file)) => Ok(Arc::<Changed>::clone(file)),
            Some(None) => Err(io::ErrorKind::NotFound.into()),
            // Not kept: nothing is changed by way of it, and there may be more files than a process may have open.
            None => self.below.open_to_read(path),
        }
    }

    fn open_or_create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut files = self.files.lock();
        if let Some(file) = self.find(&mut files, path)? {
            return Ok(file);
        }
        let file = self.changed(None)?;
        files.insert(path.to_owned(), Some(Arc::clone(&file)));
        Ok(file)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut files = self.files.lock();
        // Whoever has it open has the same file.
        if let Some(file) = self.find(&mut files, path)? {
            file.set_len(0)?;
            return Ok(file);
        }
        let file = self.changed(None)?;
        files.insert(path.to_owned(), Some(Arc::clone(&file)));
        Ok(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.files.lock();
        let Some(file) = self.find(&mut files, from)? else {
            return Err(io::ErrorKind::NotFound.into());
        };
        files.insert(to.to_owned(), Some(file));
        files.insert(from.to_owned(), None);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut files = self.files.lock();
        if self.find(&mut files, path)?.is_none() {
            return Err(io::ErrorKind::NotFound.into());
        }
        files.insert(path.to_owned(), None);
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let files = self.files.lock();
        let mut names = self.below.list(path)?;
        names.retain(|name| !files.contains_key(&path.join(name)));
        let ours = files
            .iter()
            .filter(|(file, there)| there.is_some() && file.parent() == Some(path));
        names.extend(ours.filter_map(|(file, _)| Some(file.file_name()?.to_str()?.to_owned())));
        Ok(names)
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(self.room.left() as u64)
    }

    fn lock(&self, _: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        // Nobody can change what is below, and nobody else sees what is above.
        Ok(Some(Box::new(NoLock)))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::changed::BLOCK_BYTES;
    use super::*;
    use crate::simulation::Dice;
    use crate::{RealDisk, read_file, replace_file};

    const BYTES_MAX: u64 = 40_000;

    /// A file of the disk below, and what it is expected to be after changes.
    struct Pair {
        file: Arc<dyn File>,
        expected: Vec<u8>,
    }

    impl Pair {
        fn check(&self) {
            assert_eq!(self.file.size().unwrap(), self.expected.len() as u64);
            let mut found = vec![1; self.expected.len()];
            self.file.read_at(0, &mut found).unwrap();
            assert!(found == self.expected);
        }

        fn change(&mut self, dice: &mut Dice) {
            let offset = dice.below(BYTES_MAX);
            let length = dice.below(9_000);
            let (start, end) = (
                usize::try_from(offset).unwrap(),
                usize::try_from(offset + length).unwrap(),
            );
            match dice.below(4) {
                0 | 1 => {
                    let byte = dice.below(256) as u8;
                    self.file.write_at(offset, &vec![byte; end - start]).unwrap();
                    self.expected.resize(self.expected.len().max(end), 0);
                    self.expected.get_mut(start..end).unwrap().fill(byte);
                }
                2 => {
                    self.file.set_len(offset).unwrap();
                    self.expected.resize(start, 0);
                }
                _ if end <= self.expected.len() => {
                    self.file.erase(offset, length).unwrap();
                    self.expected.get_mut(start..end).unwrap().fill(0);
                }
                _ => {
                    let mut beyond = vec![0; self.expected.len() + 1];
                    let error = self.file.read_at(0, &mut beyond).unwrap_err();
                    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
                    let from = start.min(self.expected.len());
                    let mut part = vec![1; self.expected.len() - from];
                    self.file.read_at(from as u64, &mut part).unwrap();
                    assert!(part == self.expected.get(from..).unwrap());
                }
            }
        }
    }

    #[test]
    fn changes_are_seen_and_nothing_below_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut dice = Dice::new(7);
        let below: Vec<u8> = (0..30_001).map(|_| dice.below(256) as u8).collect();
        replace_file(&RealDisk, &path, &below).unwrap();
        for round in 0..60 {
            let overlay = Overlay::new(RealDisk::shared(), 1 << 20);
            let mut pair = Pair {
                file: overlay.open(&path).unwrap(),
                expected: below.clone(),
            };
            for _ in 0..round {
                pair.change(&mut dice);
                pair.check();
            }
            // Whoever opens it again sees the same.
            pair.file = overlay.open(&path).unwrap();
            pair.check();
            assert!(read_file(&RealDisk, &path, 1 << 20).unwrap() == below);
            let before = overlay.room.left();
            pair.file.set_len(0).unwrap();
            assert!(before <= 1 << 20);
            assert_eq!(overlay.room.left(), 1 << 20, "all of it is given back");
        }
    }

    #[test]
    fn names_come_and_go_above_alone() {
        let folder = tempfile::tempdir().unwrap();
        let name = |name: &str| folder.path().join(name);
        replace_file(&RealDisk, &name("old"), b"old").unwrap();
        replace_file(&RealDisk, &name("gone"), b"gone").unwrap();
        let overlay = Overlay::new(RealDisk::shared(), 1 << 20);
        replace_file(&overlay, &name("new"), b"new").unwrap();
        overlay.remove(&name("gone")).unwrap();
        overlay.rename(&name("old"), &name("renamed")).unwrap();
        assert!(overlay.lock(&name("lock")).unwrap().is_some());
        let mut listed = overlay.list(folder.path()).unwrap();
        listed.sort();
        assert_eq!(listed, ["new", "renamed"]);
        assert_eq!(read_file(&overlay, &name("renamed"), 9).unwrap(), b"old");
        let read = overlay.open_to_read(&name("renamed")).unwrap();
        assert_eq!(read.size().unwrap(), 3);
        assert!(overlay.open_to_read(&name("old")).is_err());
        assert_eq!(overlay.create(&name("renamed")).unwrap().size().unwrap(), 0);
        for missing in ["old", "gone", "never"] {
            let error = overlay.open(&name(missing)).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{missing}");
            assert!(overlay.remove(&name(missing)).is_err(), "{missing}");
        }
        let mut below = RealDisk.list(folder.path()).unwrap();
        below.sort();
        assert_eq!(below, ["gone", "old"]);
    }

    #[test]
    fn files_that_are_only_read_are_not_kept_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        replace_file(&RealDisk, &path, b"below").unwrap();
        let overlay = Overlay::new(RealDisk::shared(), 1 << 20);
        assert_eq!(overlay.open_to_read(&path).unwrap().size().unwrap(), 5);
        assert!(overlay.files.lock().is_empty());
        overlay.open(&path).unwrap().set_len(2).unwrap();
        assert_eq!(overlay.open_to_read(&path).unwrap().size().unwrap(), 2);
    }

    #[test]
    fn memory_has_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let overlay = Overlay::new(RealDisk::shared(), 3 * BLOCK_BYTES);
        let file = overlay.create(&folder.path().join("file")).unwrap();
        file.write_at(0, &[1; 3 * BLOCK_BYTES]).unwrap();
        let error = file.write_at(3 * BLOCK_BYTES as u64, b"x").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(file.size().unwrap(), 3 * BLOCK_BYTES as u64);
        file.set_len(1).unwrap();
        file.write_at(BLOCK_BYTES as u64, b"x").unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
