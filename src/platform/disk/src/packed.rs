//! A folder of small files that is kept as one piece: for a raw partition without a file system.
//!
//! Everything is in memory; whenever the seam promises that something is durable, all files are packed and handed to a
//! [`Piece`], which keeps the old contents or the new whatever happens.
//!
//! The piece: `LAMFILES` (8 bytes), number of files (2, big-endian), then each file in the order of the names: length of
//! the name (2), the name below the folder, length (4), contents. A file whose name ends in `.new` is just being written
//! and is left out; so is everything that is empty.

use crate::{Disk, File, Lock};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"LAMFILES";
/// Most files.
const FILES_MAX: usize = 64;
/// What a file is called while it is written: see `replace_file`.
const UNFINISHED: &str = ".new";

/// Where the piece is kept.
pub trait Piece: Debug + Send + Sync + 'static {
    /// Keeps new contents in place of the old ones; durable when it returns.
    fn keep(&self, contents: &[u8]) -> io::Result<()>;
    /// Most bytes that it keeps.
    fn bytes_max(&self) -> usize;
}

/// The folder.
#[derive(Debug, Clone)]
pub struct PackedDisk(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    piece: Box<dyn Piece>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// By their names below the folder.
    files: BTreeMap<String, Arc<Mutex<Vec<u8>>>>,
    /// What the piece has.
    kept: Vec<u8>,
}

impl PackedDisk {
    /// The folder `root`, with what was kept last; nothing for a new one.
    pub fn new(root: &Path, kept: &[u8], piece: Box<dyn Piece>) -> io::Result<Self> {
        let malformed = || io::Error::new(ErrorKind::InvalidData, "the files on the partition are malformed");
        let files = if kept.is_empty() {
            BTreeMap::new()
        } else {
            unpack(kept).ok_or_else(malformed)?
        };
        let state = State {
            files,
            kept: kept.to_vec(),
        };
        Ok(Self(Arc::new(Inner {
            root: root.to_owned(),
            piece,
            state: Mutex::new(state),
        })))
    }
}

fn unpack(kept: &[u8]) -> Option<BTreeMap<String, Arc<Mutex<Vec<u8>>>>> {
    let mut rest = kept.strip_prefix(MAGIC)?;
    let mut take = |length: usize| {
        let (head, tail) = rest.split_at_checked(length)?;
        rest = tail;
        Some(head)
    };
    let count = usize::from(u16::from_be_bytes(*take(2)?.first_chunk()?));
    let mut files = BTreeMap::new();
    for _ in 0..count.min(FILES_MAX) {
        let length = usize::from(u16::from_be_bytes(*take(2)?.first_chunk()?));
        let name = std::str::from_utf8(take(length)?).ok()?.to_owned();
        let length = usize::try_from(u32::from_be_bytes(*take(4)?.first_chunk()?)).ok()?;
        files.insert(name, Arc::new(Mutex::new(take(length)?.to_vec())));
    }
    (rest.is_empty() && files.len() == count).then_some(files)
}

impl Inner {
    /// The name below the folder.
    fn name(&self, path: &Path) -> io::Result<String> {
        let below = path.strip_prefix(&self.root).ok().and_then(Path::to_str);
        let name = below.filter(|name| !name.is_empty() && name.len() <= usize::from(u8::MAX));
        name.map(str::to_owned)
            .ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, format!("{} is not kept here", path.display())))
    }

    fn pack(state: &State) -> io::Result<Vec<u8>> {
        let whole = |name: &&String| !name.ends_with(UNFINISHED);
        let mut packed = MAGIC.to_vec();
        let mut body = Vec::new();
        let mut count = 0u16;
        for name in state.files.keys().filter(whole) {
            let Some(contents) = state.files.get(name).map(|file| file.lock()) else {
                continue;
            };
            if contents.is_empty() {
                continue;
            }
            let too_large = |_| io::Error::from(ErrorKind::FileTooLarge);
            body.extend(u16::try_from(name.len()).map_err(too_large)?.to_be_bytes());
            body.extend(name.as_bytes());
            body.extend(u32::try_from(contents.len()).map_err(too_large)?.to_be_bytes());
            body.extend(&*contents);
            count += 1;
        }
        packed.extend(count.to_be_bytes());
        packed.extend(body);
        Ok(packed)
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        let packed = Self::pack(&state)?;
        if packed == state.kept {
            return Ok(());
        }
        if packed.len() > self.piece.bytes_max() {
            return Err(ErrorKind::StorageFull.into());
        }
        self.piece.keep(&packed)?;
        state.kept = packed;
        Ok(())
    }

    fn add(self: &Arc<Self>, path: &Path, empty: bool) -> io::Result<Arc<dyn File>> {
        let name = self.name(path)?;
        let mut state = self.state.lock();
        if !state.files.contains_key(&name) && state.files.len() >= FILES_MAX {
            return Err(ErrorKind::StorageFull.into());
        }
        let contents = Arc::clone(state.files.entry(name).or_default());
        drop(state);
        if empty {
            contents.lock().clear();
        }
        let disk = Arc::clone(self);
        Ok(Arc::new(PackedFile { contents, disk }))
    }
}

impl Disk for PackedDisk {
    fn create_dir(&self, _path: &Path) -> io::Result<()> {
        // Folders are parts of names.
        Ok(())
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let name = self.0.name(path)?;
        let found = self.0.state.lock().files.get(&name).map(Arc::clone);
        let contents = found.ok_or_else(|| io::Error::from(ErrorKind::NotFound))?;
        let disk = Arc::clone(&self.0);
        Ok(Arc::new(PackedFile { contents, disk }))
    }

    fn open_or_create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.0.add(path, false)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.0.add(path, true)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (self.0.name(from)?, self.0.name(to)?);
        let mut state = self.0.state.lock();
        let contents = state
            .files
            .remove(&from)
            .ok_or_else(|| io::Error::from(ErrorKind::NotFound))?;
        state.files.insert(to, contents);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let name = self.0.name(path)?;
        let removed = self.0.state.lock().files.remove(&name);
        removed.map(drop).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        self.0.sync()
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let prefix = if path == self.0.root {
            String::new()
        } else {
            format!("{}/", self.0.name(path)?)
        };
        let state = self.0.state.lock();
        let below = state.files.keys().filter_map(|name| name.strip_prefix(prefix.as_str()));
        Ok(below.filter(|name| !name.contains('/')).map(str::to_owned).collect())
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        let used = self.0.state.lock().kept.len();
        let free = self.0.piece.bytes_max().saturating_sub(used);
        Ok(u64::try_from(free).unwrap_or(u64::MAX))
    }

    fn lock(&self, _path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        // Whoever shares the piece with other processes keeps them away by other means.
        Err(ErrorKind::Unsupported.into())
    }
}

#[derive(Debug)]
struct PackedFile {
    contents: Arc<Mutex<Vec<u8>>>,
    disk: Arc<Inner>,
}

impl PackedFile {
    /// The places `offset` to `offset + length`, unless they are beyond what can be kept.
    fn range(&self, offset: u64, length: usize) -> io::Result<std::ops::Range<usize>> {
        let start = usize::try_from(offset).ok();
        let end = start.and_then(|start| start.checked_add(length));
        match (start, end) {
            (Some(start), Some(end)) if end <= self.disk.piece.bytes_max() => Ok(start..end),
            _ => Err(ErrorKind::FileTooLarge.into()),
        }
    }
}

impl File for PackedFile {
    fn size(&self) -> io::Result<u64> {
        Ok(u64::try_from(self.contents.lock().len()).unwrap_or(u64::MAX))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let contents = self.contents.lock();
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let found = contents.get(start..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(found.ok_or_else(|| io::Error::from(ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let range = self.range(offset, data.len())?;
        let mut contents = self.contents.lock();
        if contents.len() < range.end {
            contents.resize(range.end, 0);
        }
        if let Some(place) = contents.get_mut(range) {
            place.copy_from_slice(data);
        }
        Ok(())
    }

    fn erase(&self, offset: u64, length: u64) -> io::Result<()> {
        let range = self.range(offset, usize::try_from(length).unwrap_or(usize::MAX))?;
        let mut contents = self.contents.lock();
        let place = contents.get_mut(range);
        place.ok_or_else(|| io::Error::from(ErrorKind::InvalidInput))?.fill(0);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let range = self.range(length, 0)?;
        self.contents.lock().resize(range.start, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.sync()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::{read_file, replace_file};
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Keeps everything that it was given; refuses when told so.
    #[derive(Debug, Clone, Default)]
    struct Memory(Arc<Mutex<Vec<Vec<u8>>>>, Arc<AtomicBool>);

    impl Piece for Memory {
        fn keep(&self, contents: &[u8]) -> io::Result<()> {
            if self.1.load(Ordering::Relaxed) {
                return Err(ErrorKind::Other.into());
            }
            self.0.lock().push(contents.to_vec());
            Ok(())
        }

        fn bytes_max(&self) -> usize {
            4096
        }
    }

    fn after_power_cut(memory: &Memory) -> PackedDisk {
        let kept = memory.0.lock().last().cloned().unwrap_or_default();
        PackedDisk::new(Path::new("/keys"), &kept, Box::new(memory.clone())).unwrap()
    }

    #[test]
    fn replaced_files_are_there_after_a_power_cut() {
        let memory = Memory::default();
        let disk = after_power_cut(&memory);
        let (ring, secret) = (Path::new("/keys/keyring"), Path::new("/keys/secrets/heads.sealed"));
        replace_file(&disk, ring, b"one").unwrap();
        replace_file(&disk, secret, b"two").unwrap();
        replace_file(&disk, ring, b"three").unwrap();
        let writes = memory.0.lock().len();
        // Nothing new: nothing is written.
        disk.sync_dir(Path::new("/keys")).unwrap();
        assert_eq!(memory.0.lock().len(), writes);
        let disk = after_power_cut(&memory);
        assert_eq!(read_file(&disk, ring, 100).unwrap(), b"three");
        assert_eq!(read_file(&disk, secret, 100).unwrap(), b"two");
        assert_eq!(disk.list(Path::new("/keys")).unwrap(), ["keyring"]);
        assert_eq!(disk.list(Path::new("/keys/secrets")).unwrap(), ["heads.sealed"]);
        disk.remove(secret).unwrap();
        assert!(disk.remove(secret).is_err());
        assert!(
            read_file(&after_power_cut(&memory), secret, 100).is_ok(),
            "not synced yet"
        );
        disk.sync_dir(Path::new("/keys/secrets")).unwrap();
        let gone = read_file(&after_power_cut(&memory), secret, 100).unwrap_err();
        assert_eq!(gone.kind(), ErrorKind::NotFound);
    }

    #[test]
    fn a_piece_that_refuses_is_no_success() {
        let memory = Memory::default();
        let disk = after_power_cut(&memory);
        let ring = Path::new("/keys/keyring");
        replace_file(&disk, ring, b"old").unwrap();
        memory.1.store(true, Ordering::Relaxed);
        replace_file(&disk, ring, b"new").unwrap_err();
        assert_eq!(read_file(&after_power_cut(&memory), ring, 100).unwrap(), b"old");
        memory.1.store(false, Ordering::Relaxed);
        replace_file(&disk, ring, &[1; 5000]).unwrap_err();
        replace_file(&disk, ring, b"newest").unwrap();
        assert_eq!(read_file(&after_power_cut(&memory), ring, 100).unwrap(), b"newest");
        replace_file(&disk, Path::new("/elsewhere/x"), b"x").unwrap_err();
    }

    #[test]
    fn files_are_read_and_written_at_any_place() {
        let disk = after_power_cut(&Memory::default());
        let file = disk.create(Path::new("/keys/x")).unwrap();
        file.write_at(4, b"abcd").unwrap();
        file.erase(5, 2).unwrap();
        let mut all = [9; 8];
        file.read_at(0, &mut all).unwrap();
        assert_eq!(&all, b"\0\0\0\0a\0\0d");
        assert!(file.read_at(1, &mut all).is_err());
        assert!(file.erase(5, 9).is_err());
        assert!(file.write_at(u64::MAX, b"a").is_err());
        file.set_len(2).unwrap();
        assert_eq!(file.size().unwrap(), 2);
        assert!(disk.open(Path::new("/keys/y")).is_err());
    }

    #[test]
    fn what_is_no_piece_is_refused() {
        let memory = Memory::default();
        replace_file(&after_power_cut(&memory), Path::new("/keys/keyring"), b"one").unwrap();
        let whole = memory.0.lock().last().cloned().unwrap();
        for length in 1..whole.len() {
            let cut = whole.get(..length).unwrap();
            assert!(PackedDisk::new(Path::new("/keys"), cut, Box::new(memory.clone())).is_err());
        }
        let mut longer = whole.clone();
        longer.push(0);
        assert!(PackedDisk::new(Path::new("/keys"), &longer, Box::new(memory.clone())).is_err());
    }
}
