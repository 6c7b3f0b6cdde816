//! An encrypted block device: dm-crypt, set up by the device mapper's ioctls. Kernel documentation, admin-guide/device-mapper.
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
/// The buffer is cleared by the kernel after it was copied: it holds a key.
const DM_SECURE_DATA_FLAG: u32 = 1 << 15;
/// Bytes of a key: AES-256 twice, as XTS wants.
pub const KEY_BYTES: usize = 64;
/// Bytes that are encrypted as one: those of a page and of today's disks.
const SECTOR_BYTES: u64 = 4096;
const LINUX_SECTOR_BYTES: u64 = 512;

/// Why there is no device.
#[derive(Debug, thiserror::Error)]
pub enum CryptError {
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
    /// A name or device that fits into no table.
    #[error("{0} cannot be opened")]
    Unfit(String),
}

/// Opens `partition` under a key as the device `name`; answers its node.
pub fn open(name: &str, partition: &Path, key: &[u8; KEY_BYTES]) -> Result<PathBuf, CryptError> {
    let control = control()?;
    let (numbers, bytes) = look_up(partition)?;
    let bytes = bytes / SECTOR_BYTES * SECTOR_BYTES;
    let sectors = bytes / LINUX_SECTOR_BYTES;
    if sectors == 0 {
        return Err(CryptError::Unfit(partition.display().to_string()));
    }
    let mut create = header(name, 0)?;
    call(&control, DeviceMapper::Create, &mut create, "create")?;
    let device = create
        .get(40..)
        .and_then(|rest| rest.first_chunk())
        .map_or(0, |eight| u64::from_ne_bytes(*eight));
    let loaded = load(&control, name, sectors, &table(&numbers, key));
    if let Err(error) = loaded {
        // What was only begun does not stay.
        close(name)?;
        return Err(error);
    }
    // makedev(3) for small numbers: the minor one is the lowest byte and what is above the major one.
    let minor = device & 0xff | device >> 12 & 0xfff_ff00;
    Ok(PathBuf::from(format!("/dev/dm-{minor}")))
}

/// Takes a device away; nothing may use it any more.
pub fn close(name: &str) -> Result<(), CryptError> {
    let mut remove = header(name, 0)?;
    call(&control()?, DeviceMapper::Remove, &mut remove, "remove")
}

/// Kernel documentation, dm-crypt: `<cipher> <key> <iv_offset> <device path> <offset> [<#opt_params> <opt_params>]`.
fn table(numbers: &str, key: &[u8; KEY_BYTES]) -> Zeroizing<String> {
    let mut table = Zeroizing::new(String::with_capacity(512));
    table.push_str("aes-xts-plain64 ");
    for byte in key {
        for digit in [byte >> 4, byte & 15] {
            table.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    table.push_str(&format!(" 0 {numbers} 0 1 sector_size:{SECTOR_BYTES}"));
    table
}

fn load(control: &File, name: &str, sectors: u64, table: &str) -> Result<(), CryptError> {
    let mut request = header(name, 1)?;
    let mut target = Zeroizing::new(Vec::with_capacity(DM_BYTES));
    target.extend(0u64.to_ne_bytes());
    target.extend(sectors.to_ne_bytes());
    target.extend([0; 8]);
    target.extend(b"crypt");
    target.resize(SPEC_BYTES, 0);
    target.extend(table.as_bytes());
    target.push(0);
    let place = request.get_mut(HEADER_BYTES..HEADER_BYTES + target.len());
    let place = place.ok_or_else(|| CryptError::Unfit(name.to_owned()))?;
    place.copy_from_slice(&target);
    call(control, DeviceMapper::Load, &mut request, "load")?;
    // "Suspend" without its flag resumes: the table comes into force.
    let mut resume = header(name, 0)?;
    call(control, DeviceMapper::Suspend, &mut resume, "resume")
}

/// struct dm_ioctl: version, size, begin of the data, number of targets, …, flags at 28, device at 40, name at 48.
fn header(name: &str, targets: u32) -> Result<Zeroizing<[u8; DM_BYTES]>, CryptError> {
    let mut bytes = Zeroizing::new([0; DM_BYTES]);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains('/') {
        return Err(CryptError::Unfit(name.to_owned()));
    }
    let mut put = |at: usize, value: &[u8]| {
        if let Some(place) = bytes.get_mut(at..at + value.len()) {
            place.copy_from_slice(value);
        }
    };
    let size = u32::try_from(DM_BYTES).unwrap_or(u32::MAX);
    let data = u32::try_from(HEADER_BYTES).unwrap_or(u32::MAX);
    for (at, value) in [(0, 4), (12, size), (16, data), (20, targets), (28, DM_SECURE_DATA_FLAG)] {
        put(at, &value.to_ne_bytes());
    }
    put(48, name.as_bytes());
    Ok(bytes)
}

fn control() -> Result<File, CryptError> {
    let path = Path::new(CONTROL);
    File::options().read(true).write(true).open(path).map_err(io(path))
}

fn call(control: &File, what: DeviceMapper, buffer: &mut [u8; DM_BYTES], word: &'static str) -> Result<(), CryptError> {
    ioctl::device_mapper(control, what, buffer).map_err(|error| CryptError::Refused(word, error))
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> CryptError {
    let path = path.to_owned();
    move |source| CryptError::Io { path, source }
}

/// A block device's numbers (`8:2`) and its bytes.
fn look_up(device: &Path) -> Result<(String, u64), CryptError> {
    let name = device.file_name().unwrap_or_default();
    let folder = Path::new("/sys/class/block").join(name);
    let read = |file: &str| {
        let path = folder.join(file);
        std::fs::read_to_string(&path)
            .map(|text| text.trim().to_owned())
            .map_err(io(&path))
    };
    let sectors: u64 = read("size")?
        .parse()
        .map_err(|_| CryptError::Unfit(device.display().to_string()))?;
    Ok((read("dev")?, sectors.saturating_mul(LINUX_SECTOR_BYTES)))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn tables_are_written_as_the_kernel_reads_them() {
        let table = table("8:2", &[0xa5; KEY_BYTES]);
        let words: Vec<&str> = table.split(' ').collect();
        assert_eq!(words.first(), Some(&"aes-xts-plain64"));
        assert_eq!(*words.get(1).unwrap(), "a5".repeat(64));
        assert_eq!(words.get(2..).unwrap().join(" "), "0 8:2 0 1 sector_size:4096");
    }

    #[test]
    fn headers_say_how_long_they_are() {
        let bytes = header("data", 1).unwrap();
        assert_eq!(bytes.get(12..16).unwrap(), 16384u32.to_ne_bytes());
        assert_eq!(bytes.get(48..53).unwrap(), b"data\0");
        assert!(header("a/b", 0).is_err());
        assert!(header(&"x".repeat(128), 0).is_err());
    }
}
