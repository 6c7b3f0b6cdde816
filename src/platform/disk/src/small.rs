//! Small files, read and replaced whole.

use crate::Disk;
use std::io;
use std::path::Path;

/// Reads a small file whole; `FileTooLarge` above `size_max` bytes.
pub fn read_file(disk: &dyn Disk, path: &Path, size_max: u64) -> io::Result<Vec<u8>> {
    let file = disk.open_to_read(path)?;
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
    drop(file);
    disk.rename(fresh, path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new(".")))
}
