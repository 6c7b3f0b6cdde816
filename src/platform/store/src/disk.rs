//! The seam to the disk: all that the store (and who else must survive a power cut) asks of a file system.
//!
//! Behind it stands the real file system ([`RealDisk`]) or a simulated one ([`crate::simulation::SimulatedDisk`])
//! that loses what was not synced. Nothing here is async: callers run on threads that may block.

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// A file system. After a power cut only that is certain to be there which was synced:
/// contents by [`File::sync_data`], names by [`Disk::sync_dir`] of the folder they stand in.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Makes a folder and its parents, for the owner alone; nothing happens if it is there.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Opens a file for reading and writing; `NotFound` if it is not there.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Makes an empty file, for the owner alone, in place of one that may be there.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Gives a file another name in the same folder, in place of one that may be there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// The names in a folder, in no particular order.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// How many bytes can still be written to the file system of a folder.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
    /// Locks a file against other processes (it is made if need be); `None` if another one holds it.
    /// Dropping the lock releases it.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>>;
}

/// A file that is open for reading and writing at any place, from several threads.
pub trait File: Debug + Send + Sync + 'static {
    /// Its length in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Fills `buffer` from `offset`; `UnexpectedEof` if the file ends before.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Writes all of `data` at `offset`; the file grows if need be.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Cuts the file off or lets it grow by zeros.
    fn set_len(&self, length: u64) -> io::Result<()>;
    /// Makes contents and length durable. If this fails, what was written since the last success may be lost
    /// for good, even when a later call succeeds: start over in another file.
    fn sync_data(&self) -> io::Result<()>;
}

/// A lock on a file; dropping it releases it.
pub trait Lock: Debug + Send + Sync {}

/// Reads a small file whole.
pub fn read_file(disk: &dyn Disk, path: &Path, size_max: u64) -> io::Result<Vec<u8>> {
    let file = disk.open(path)?;
    let size = file.size()?;
    if size > size_max {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("{} has {size} bytes", path.display()),
        ));
    }
    let mut contents = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
    file.read_at(0, &mut contents)?;
    Ok(contents)
}

/// Writes a small file so that after a power cut either the old or the new contents are there, and after
/// this has returned, the new ones. The new contents lie in `path` with `.new` appended until they are synced.
pub fn replace_file(disk: &dyn Disk, path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = Path::new(&fresh);
    let file = disk.create(fresh)?;
    file.write_at(0, contents)?;
    file.sync_data()?;
    disk.rename(fresh, path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// The file system of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

#[derive(Debug)]
struct RealFile(std::fs::File);

/// The descriptor holds the lock.
#[derive(Debug)]
struct RealLock(#[expect(dead_code, reason = "held, not read")] std::fs::File);

impl Lock for RealLock {}

fn private() -> std::fs::OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

impl Disk for RealDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(RealFile(private().open(path)?)))
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
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path)? {
            // Every name that we gave is ASCII; another one is not ours.
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
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
            Err(std::fs::TryLockError::WouldBlock) => Ok(None),
            Err(std::fs::TryLockError::Error(error)) => Err(error),
        }
    }
}

impl File for RealFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, buffer, offset)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, data, offset)
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
    use super::{Disk, RealDisk, read_file, replace_file};

    #[test]
    fn files_come_and_go() {
        let folder = std::env::temp_dir().join(format!("lamchat-disk-{}", std::process::id()));
        let disk = RealDisk;
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
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
