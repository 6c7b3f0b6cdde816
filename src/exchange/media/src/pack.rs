//! Packs: files that hold many small blobs, so that one sync makes all that arrived meanwhile durable.

use crate::group_sync::GroupSync;
use crate::row::Place;
use lamchat_disk::{Disk, File};
use parking_lot::Mutex;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Blobs up to this many clear bytes go into packs.
pub(crate) const PACKED_BYTES_MAX: usize = 256 * 1024;
/// A pack of this size is followed by a new one.
const PACK_BYTES_MAX: u64 = 64 << 20;
/// Blobs start at multiples of this, a page, so that a hole can be punched for each.
const ALIGNMENT: u64 = 4096;

/// The packs of a media folder. Only packs of this process are written to.
#[derive(Debug)]
pub(crate) struct Packs {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    first_own: u32,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    next_number: u32,
    pack: Option<Arc<Pack>>,
    offset: u64,
}

#[derive(Debug)]
struct Pack {
    number: u32,
    file: Arc<dyn File>,
    sync: GroupSync,
    /// After a failed sync nothing more is known about the file's pages: no further blob goes in.
    broken: AtomicBool,
}

/// The path of a pack.
pub(crate) fn pack_name(number: u32) -> String {
    format!("{number:08x}")
}

/// The number of a pack, from its file's name.
pub(crate) fn pack_number(name: &str) -> Option<u32> {
    u32::from_str_radix(name, 16)
        .ok()
        .filter(|number| pack_name(*number) == name)
}

impl Packs {
    /// New packs get numbers above `used` and above all that are there.
    pub fn open(disk: Arc<dyn Disk>, folder: &Path, used: u32) -> io::Result<Self> {
        disk.create_dir(folder)?;
        let newest = disk
            .list(folder)?
            .iter()
            .filter_map(|name| pack_number(name))
            .max()
            .unwrap_or(0)
            .max(used);
        let first_own = newest + 1;
        let current = Current {
            next_number: first_own,
            pack: None,
            offset: 0,
        };
        Ok(Self {
            disk,
            folder: folder.to_owned(),
            first_own,
            current: Mutex::new(current),
        })
    }

    /// The first number that this process gives to a pack.
    pub fn first_own(&self) -> u32 {
        self.first_own
    }

    /// Stores an encrypted blob. Blocks until it is durable.
    pub fn append(&self, bytes: &[u8]) -> io::Result<Place> {
        let (pack, offset) = self.reserve(bytes.len() as u64)?;
        pack.file.write_at(offset, bytes)?;
        let synced = pack.sync.run(|| {
            if pack.broken.load(Ordering::SeqCst) {
                return Err(io::Error::other("an earlier sync of this pack failed"));
            }
            pack.file
                .sync_data()
                .inspect_err(|_| pack.broken.store(true, Ordering::SeqCst))
        });
        synced.map(|()| Place::Pack {
            number: pack.number,
            offset,
        })
    }

    fn reserve(&self, length: u64) -> io::Result<(Arc<Pack>, u64)> {
        let mut current = self.current.lock();
        let usable = current
            .pack
            .clone()
            .filter(|pack| current.offset < PACK_BYTES_MAX && !pack.broken.load(Ordering::SeqCst));
        let pack = match usable {
            Some(pack) => pack,
            None => {
                let number = current.next_number;
                let file = self.disk.create(&self.folder.join(pack_name(number)))?;
                self.disk.sync_dir(&self.folder)?;
                let pack = Arc::new(Pack {
                    number,
                    file,
                    sync: GroupSync::default(),
                    broken: AtomicBool::new(false),
                });
                current.next_number = number + 1;
                current.offset = 0;
                current.pack = Some(Arc::clone(&pack));
                pack
            }
        };
        let offset = current.offset;
        current.offset = (offset + length).next_multiple_of(ALIGNMENT);
        Ok((pack, offset))
    }
}
