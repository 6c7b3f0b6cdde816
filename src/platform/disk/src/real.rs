//! The machine's own file system.

use crate::{Disk, File, Lock};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
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

/// Writes zeros.
fn overwrite(file: &std::fs::File, mut offset: u64, mut length: u64) -> io::Result<()> {
    let zeros = [0u8; 64 << 10];
    while length > 0 {
        let part = usize::try_from(length).unwrap_or(usize::MAX).min(zeros.len());
        let (zeros, _) = zeros.split_at(part);
        FileExt::write_all_at(file, zeros, offset)?;
        offset += part as u64;
        length -= part as u64;
    }
    Ok(())
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

    fn erase(&self, offset: u64, length: u64) -> io::Result<()> {
        let (Ok(start), Ok(count)) = (i64::try_from(offset), i64::try_from(length)) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if count == 0 {
            return Ok(());
        }
        let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        match fallocate(&self.0, hole, start, count) {
            // A file system without holes: the zeros are written.
            Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => overwrite(&self.0, offset, length),
            result => Ok(result?),
        }
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
        let big = disk.create(&folder.join("d")).unwrap();
        let bytes: Vec<u8> = (0..200_000u32).map(|number| 1 + (number % 250) as u8).collect();
        big.write_at(0, &bytes).unwrap();
        let mut expected = bytes.clone();
        // Neither start nor end is at a page.
        big.erase(5_000, 100_001).unwrap();
        expected.iter_mut().skip(5_000).take(100_001).for_each(|byte| *byte = 0);
        assert_eq!(read_file(&disk, &folder.join("d"), 200_000).unwrap(), expected);
        let plain = std::fs::OpenOptions::new().write(true).open(folder.join("d")).unwrap();
        super::overwrite(&plain, 110_000, 80_000).unwrap();
        expected
            .iter_mut()
            .skip(110_000)
            .take(80_000)
            .for_each(|byte| *byte = 0);
        assert_eq!(read_file(&disk, &folder.join("d"), 200_000).unwrap(), expected);
        big.erase(0, 0).unwrap();
    }
}
