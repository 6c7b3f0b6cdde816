//! The ioctls that have no safe function anywhere. The only `unsafe` code of the project: each call says why it is right.
#![expect(unsafe_code, reason = "ioctl(2) takes a pointer whose meaning depends on a number")]

mod commands;
mod reports;

pub use commands::{ata_smart_status, ipmi_receive, ipmi_send, nvme_log};
pub use reports::{Report, hid_report};

use nix::errno::Errno;
use rustix::ioctl::{NoArg, Opcode, Setter, Updater, ioctl};
use std::fs::File;

/// Bytes of a request to the device mapper, with its table.
pub const DM_BYTES: usize = 16384;

/// include/uapi/linux/dm-ioctl.h: `_IOWR(0xfd, N, struct dm_ioctl)`, of 312 bytes.
const fn dm(number: u32) -> Opcode {
    3 << 30 | 312 << 16 | 0xfd << 8 | number
}

/// What is asked of the device mapper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceMapper {
    /// `DM_DEV_CREATE`
    Create,
    /// `DM_DEV_REMOVE`
    Remove,
    /// `DM_DEV_SUSPEND`, which also resumes
    Suspend,
    /// `DM_TABLE_STATUS`
    Status,
    /// `DM_TABLE_LOAD`
    Load,
}

/// Asks /dev/mapper/control. The buffer begins with a `struct dm_ioctl` whose `data_size` is at most [`DM_BYTES`].
pub fn device_mapper(control: &File, what: DeviceMapper, buffer: &mut [u8; DM_BYTES]) -> Result<(), Errno> {
    // The kernel reads and writes as many bytes as `data_size` says, so no more than the buffer has.
    let limit = u32::try_from(DM_BYTES).unwrap_or(0).to_ne_bytes();
    if buffer.get(12..16) != Some(&limit[..]) {
        return Err(Errno::EINVAL);
    }
    // SAFETY: the number belongs to a request that takes a `struct dm_ioctl` and what follows it, `data_size` bytes in
    // all; the buffer has exactly these, lives through the call, and any bytes in it are valid.
    let result = unsafe {
        match what {
            DeviceMapper::Create => ioctl(control, Updater::<{ dm(3) }, _>::new(buffer)),
            DeviceMapper::Remove => ioctl(control, Updater::<{ dm(4) }, _>::new(buffer)),
            DeviceMapper::Suspend => ioctl(control, Updater::<{ dm(6) }, _>::new(buffer)),
            DeviceMapper::Load => ioctl(control, Updater::<{ dm(9) }, _>::new(buffer)),
            DeviceMapper::Status => ioctl(control, Updater::<{ dm(12) }, _>::new(buffer)),
        }
    };
    result.map_err(|error| Errno::from_raw(error.raw_os_error()))
}

/// Grows a mounted ext4 file system to a number of its blocks: Linux, fs/ext4/ext4.h, `_IOW('f', 16, __u64)`.
pub fn resize_ext4(folder: &File, blocks: u64) -> Result<(), Errno> {
    const EXT4_IOC_RESIZE_FS: Opcode = 1 << 30 | 8 << 16 | (b'f' as Opcode) << 8 | 16;
    // SAFETY: the request reads one `__u64` behind the pointer, which the setter gives it.
    let result = unsafe { ioctl(folder, Setter::<EXT4_IOC_RESIZE_FS, u64>::new(blocks)) };
    result.map_err(|error| Errno::from_raw(error.raw_os_error()))
}

/// Has the kernel read a disk's partition table again: include/uapi/linux/fs.h, `_IO(0x12, 95)`. Refused while a partition
/// is in use.
pub fn reread_partitions(disk: &File) -> Result<(), Errno> {
    const BLKRRPART: Opcode = 0x12 << 8 | 95;
    // SAFETY: the request takes no argument.
    let result = unsafe { ioctl(disk, NoArg::<BLKRRPART>::new()) };
    result.map_err(|error| Errno::from_raw(error.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        assert_eq!([dm(3), dm(9)], [0xc138_fd03, 0xc138_fd09]);
    }

    #[test]
    fn a_wrong_size_never_reaches_the_kernel() {
        let file = tempfile::tempfile();
        let result = file.map(|file| device_mapper(&file, DeviceMapper::Create, &mut [0; DM_BYTES]));
        assert!(matches!(result, Ok(Err(Errno::EINVAL))));
    }
}
