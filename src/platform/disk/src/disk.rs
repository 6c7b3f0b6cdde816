//! What a file system must be able to do.

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// A file system. After a power cut only that is certain to be there which was synced:
/// contents by [`File::sync_data`], names by [`Disk::sync_dir`] of the folder they stand in.
/// Files are private to the owner (0600), folders too (0700).
pub trait Disk: Debug + Send + Sync + 'static {
    /// Makes a folder and what is missing above it; nothing happens if it is there. Durable when this returns.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Opens a file for reading and writing; `NotFound` if it is not there.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Opens a file of which nothing is changed, which a process without the right to write may do; `NotFound` if it is
    /// not there.
    fn open_to_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.open(path)
    }
    /// Opens a file for reading and writing, keeping what is in it; makes an empty one if it is not there.
    fn open_or_create(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Makes an empty file; one that is there is emptied.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;
    /// Gives a file another name in the same folder, in place of one that may be there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// The names of the files in a folder, in no particular order; none if there is no such folder.
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
    /// Writes all of `data` at `offset`; the file grows if need be, a gap before it reads as zeros.
    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()>;
    /// Makes `length` bytes from `offset` read as zeros, and gives their space back where the file system can. They must
    /// lie within the file. Durable after [`File::sync_data`].
    fn erase(&self, offset: u64, length: u64) -> io::Result<()>;
    /// Cuts the file off or lets it grow by zeros.
    fn set_len(&self, length: u64) -> io::Result<()>;
    /// Makes contents and length durable. If this fails, what was written since the last success may be lost
    /// for good, even when a later call succeeds: start over in another file.
    fn sync_data(&self) -> io::Result<()>;
}

/// A lock on a file; dropping it releases it.
pub trait Lock: Debug + Send + Sync {}
