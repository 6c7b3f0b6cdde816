//! Block devices that the kernel makes of others: the device mapper's ioctls. Kernel documentation,
//! admin-guide/device-mapper.
//!
//! No kernel of Debian's can do this from its command line, and the image has no other program: so the structures are
//! written here, byte by byte, as include/uapi/linux/dm-ioctl.h has them.

use super::ioctl::{self, DM_BYTES, DeviceMapper};
use nix::errno::Errno;
use std::fs::File;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const CONTROL: &str = "/dev/mapper/control";
const HEADER_BYTES: usize = 312;
const SPEC_BYTES: usize = 40;
const NAME_BYTES_MAX: usize = 127;
/// The buffer is cleared by the kernel after it was copied: it may hold a key.
const DM_SECURE_DATA_FLAG: u32 = 1 << 15;
/// What the target tells is told without writing out what waits first: that could hang with a disk that does.
const DM_NOFLUSH_FLAG: u32 = 1 << 11;
/// What /sys and the device mapper count blocks in, whatever a disk's sectors are.
pub const SECTOR: u64 = 512;

/// Why there is no device.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// A file in /dev or /sys.
    #[error("{}: {source}", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The device mapper.
    #[error("the device mapper, {0}: {1}")]
    Refused(&'static str, Errno),
    /// A name, device or table that cannot be.
    #[error("{0} cannot be opened")]
    Unfit(String),
}

/// A block device that is there: its numbers (`8:2`) and how much it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// As a table names it.
    pub numbers: String,
    /// Sectors of 512 bytes.
    pub sectors: u64,
}

impl Block {
    /// Looks a device (`/dev/NAME`) up.
    pub fn of(device: &Path) -> Result<Self, MapError> {
        let name = device.file_name().unwrap_or_default();
        let folder = Path::new("/sys/class/block").join(name);
        let read = |file: &str| {
            let path = folder.join(file);
            std::fs::read_to_string(&path)
                .map(|text| text.trim().to_owned())
                .map_err(io(&path))
        };
        let sectors = read("size")?
            .parse()
            .map_err(|_| MapError::Unfit(device.display().to_string()))?;
        Ok(Self {
            numbers: read("dev")?,
            sectors,
        })
    }
}

/// Makes the device `name` of one target; answers its node.
pub fn create(name: &str, sectors: u64, target: &str, table: &str) -> Result<PathBuf, MapError> {
    let control = control()?;
    let mut create = header(name, 0, 0)?;
    call(&control, DeviceMapper::Create, &mut create, "create")?;
    let device = create
        .get(40..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |eight| u64::from_ne_bytes(*eight));
    if let Err(error) = load(&control, name, sectors, target, table) {
        // What was only begun does not stay.
        remove(name)?;
        return Err(error);
    }
    // makedev(3) for small numbers: the minor one is the lowest byte and what is above the major one.
    let minor = device & 0xff | device >> 12 & 0xfff_ff00;
    Ok(PathBuf::from(format!("/dev/dm-{minor}")))
}

/// Gives a device another table while it is in use: what is asked of it waits for a moment.
pub fn replace(name: &str, sectors: u64, target: &str, table: &str) -> Result<(), MapError> {
    load(&control()?, name, sectors, target, table)
}

/// Takes a device away; nothing may use it any more.
pub fn remove(name: &str) -> Result<(), MapError> {
    let mut remove = header(name, 0, 0)?;
    call(&control()?, DeviceMapper::Remove, &mut remove, "remove")
}

/// What the one target of a device says of itself; its form is the target's.
pub fn status(name: &str) -> Result<String, MapError> {
    let mut request = header(name, 0, DM_NOFLUSH_FLAG)?;
    call(&control()?, DeviceMapper::Status, &mut request, "status")?;
    let begin = four(request.as_slice(), 16);
    // struct dm_target_spec, then the text with a zero at its end.
    let text = request.get(begin.saturating_add(SPEC_BYTES)..).unwrap_or_default();
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    if four(request.as_slice(), 20) == 0 {
        return Err(MapError::Unfit(name.to_owned()));
    }
    Ok(String::from_utf8_lossy(text).into_owned())
}

fn four(bytes: &[u8], at: usize) -> usize {
    let four = bytes.get(at..).and_then(|rest| rest.first_chunk());
    four.map_or(0, |four| usize::try_from(u32::from_ne_bytes(*four)).unwrap_or(0))
}

fn load(control: &File, name: &str, sectors: u64, target: &str, table: &str) -> Result<(), MapError> {
    let unfit = || MapError::Unfit(name.to_owned());
    let mut request = header(name, 1, 0)?;
    let mut spec = Zeroizing::new(Vec::with_capacity(DM_BYTES));
    spec.extend(0u64.to_ne_bytes());
    spec.extend(sectors.to_ne_bytes());
    spec.extend([0; 8]);
    spec.extend(target.as_bytes());
    // char target_type[16], with a zero at its end.
    if sectors == 0 || spec.len() >= SPEC_BYTES {
        return Err(unfit());
    }
    spec.resize(SPEC_BYTES, 0);
    spec.extend(table.as_bytes());
    spec.push(0);
    let place = request.get_mut(HEADER_BYTES..HEADER_BYTES + spec.len());
    place.ok_or_else(unfit)?.copy_from_slice(&spec);
    call(control, DeviceMapper::Load, &mut request, "load")?;
    // "Suspend" without its flag resumes: the table comes into force.
    let mut resume = header(name, 0, 0)?;
    call(control, DeviceMapper::Suspend, &mut resume, "resume")
}

/// struct dm_ioctl: version, size, begin of the data, number of targets, …, flags at 28, device at 40, name at 48.
fn header(name: &str, targets: u32, flags: u32) -> Result<Zeroizing<[u8; DM_BYTES]>, MapError> {
    let mut bytes = Zeroizing::new([0; DM_BYTES]);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains('/') {
        return Err(MapError::Unfit(name.to_owned()));
    }
    let mut put = |at: usize, value: &[u8]| {
        if let Some(place) = bytes.get_mut(at..at + value.len()) {
            place.copy_from_slice(value);
        }
    };
    let size = u32::try_from(DM_BYTES).unwrap_or(u32::MAX);
    let data = u32::try_from(HEADER_BYTES).unwrap_or(u32::MAX);
    let flags = DM_SECURE_DATA_FLAG | flags;
    for (at, value) in [(0, 4), (12, size), (16, data), (20, targets), (28, flags)] {
        put(at, &value.to_ne_bytes());
    }
    put(48, name.as_bytes());
    Ok(bytes)
}

fn control() -> Result<File, MapError> {
    let path = Path::new(CONTROL);
    File::options().read(true).write(true).open(path).map_err(io(path))
}

fn call(control: &File, what: DeviceMapper, buffer: &mut [u8; DM_BYTES], word: &'static str) -> Result<(), MapError> {
    ioctl::device_mapper(control, what, buffer).map_err(|error| MapError::Refused(word, error))
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> MapError {
    let path = path.to_owned();
    move |source| MapError::Io { path, source }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn headers_say_how_long_they_are() {
        let bytes = header("data", 1, 0).unwrap();
        assert_eq!(bytes.get(12..16).unwrap(), 16384u32.to_ne_bytes());
        assert_eq!(bytes.get(48..53).unwrap(), b"data\0");
        assert!(header("a/b", 0, 0).is_err());
        assert!(header(&"x".repeat(128), 0, 0).is_err());
    }
}
