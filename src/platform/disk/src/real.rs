//! The machine's own file system.

use crate::{Disk, File, Lock};
use std::fs::{DirBuilder, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

/// The file system of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

impl RealDisk {
    /// The real disk as the trait object that constructors take.
    pub fn shared() -> Arc<dyn Disk> {
        Arc::new(Self)
    }
}

#[derive(Debug)]
struct RealFile(std::fs::File);

/// The descriptor holds the lock.
#[derive(Debug)]
struct RealLock(#[expect(dead_code, reason = "held, not read")] std::fs::File);

impl Lock for RealLock {}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

impl Disk for RealDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        let parent = match path.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        self.create_dir(parent)?;
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        self.sync_dir(parent)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(RealFile(private().open(path)?)))
    }

    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(RealFile(std::fs::File::open(path)?)))
    }

    fn open_or_create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(RealFile(private().create(true).truncate(false).open(path)?)))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(RealFile(private().create(true).truncate(true).open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::File::open(path)?.sync_all()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                // Every name that we gave is ASCII; another one is not ours.
                names.extend(entry.file_name().into_string());
            }
        }
        Ok(names)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let system = nix::sys::statvfs::statvfs(path)?;
        Ok(system.blocks_available().saturating_mul(system.fragment_size()))
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let file = private().create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(RealLock(file)))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl File for RealFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        FileExt::read_exact_at(&self.0, buffer, offset)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        FileExt::write_all_at(&self.0, data, offset)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use crate::{Disk, RealDisk, read_file, replace_file};

    #[test]
    fn files_come_and_go() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = temporary.path().join("made/below");
        let disk = RealDisk;
        assert!(disk.list(&folder).unwrap().is_empty());
        disk.create_dir(&folder).unwrap();
        let path = folder.join("a");
        replace_file(&disk, &path, b"one").unwrap();
        replace_file(&disk, &path, b"two!").unwrap();
        assert_eq!(read_file(&disk, &path, 100).unwrap(), b"two!");
        assert!(read_file(&disk, &path, 3).is_err());
        let held = disk.lock(&folder.join("lock")).unwrap();
        assert!(held.is_some());
        assert!(disk.lock(&folder.join("lock")).unwrap().is_none());
        drop(held);
        assert!(disk.lock(&folder.join("lock")).unwrap().is_some());
        disk.rename(&path, &folder.join("b")).unwrap();
        assert!(disk.list(&folder).unwrap().contains(&"b".to_owned()));
        disk.remove(&folder.join("b")).unwrap();
        assert_eq!(
            disk.open(&folder.join("b")).unwrap_err().kind(),
            std::io::ErrorKind::NotFound
        );
        disk.open_or_create(&folder.join("c"))
            .unwrap()
            .write_at(2, b"x")
            .unwrap();
        disk.open_or_create(&folder.join("c")).unwrap();
        assert_eq!(read_file(&disk, &folder.join("c"), 3).unwrap(), [0, 0, b'x']);
    }
}
