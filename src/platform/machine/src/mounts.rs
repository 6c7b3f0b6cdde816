//! The file systems that the kernel itself offers, mounted where every program expects them.

use nix::errno::Errno;
use nix::mount::{MsFlags, mount, umount2};
use std::path::{Path, PathBuf};

/// Why a file system is not there.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The folder to mount on cannot be made.
    #[error("{}: {source}", .target.display())]
    Folder {
        /// The folder.
        target: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The kernel refused; mount(2).
    #[error("{kind} on {}: {source}", .target.display())]
    Mount {
        /// The file system's type.
        kind: &'static str,
        /// The folder.
        target: PathBuf,
        /// What the system said.
        source: Errno,
    },
}

/// A file system of the kernel's.
struct Kernel {
    kind: &'static str,
    target: &'static str,
    flags: MsFlags,
    data: Option<&'static str>,
    /// Whether the box can do without: no UEFI firmware, no pstore.
    optional: bool,
}

const NOTHING: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV).union(MsFlags::MS_NOEXEC);

/// In the order of mounting. Sizes: pages of memory that nobody else can take back.
const KERNEL: [Kernel; 8] = [
    Kernel {
        kind: "proc",
        target: "/proc",
        flags: NOTHING,
        // Nobody but root sees other users' processes: proc(5), hidepid.
        data: Some("hidepid=invisible"),
        optional: false,
    },
    Kernel {
        kind: "sysfs",
        target: "/sys",
        flags: NOTHING,
        data: None,
        optional: false,
    },
    Kernel {
        kind: "devtmpfs",
        target: "/dev",
        flags: MsFlags::MS_NOSUID.union(MsFlags::MS_NOEXEC),
        data: Some("mode=0755,size=4m"),
        optional: false,
    },
    Kernel {
        kind: "tmpfs",
        target: "/run",
        flags: NOTHING,
        data: Some("mode=0755,size=16m"),
        optional: false,
    },
    Kernel {
        kind: "tmpfs",
        target: "/tmp",
        flags: NOTHING,
        data: Some("mode=1777,size=64m"),
        optional: false,
    },
    Kernel {
        kind: "securityfs",
        target: "/sys/kernel/security",
        flags: NOTHING,
        data: None,
        optional: true,
    },
    Kernel {
        kind: "pstore",
        target: "/sys/fs/pstore",
        flags: NOTHING,
        data: None,
        optional: true,
    },
    Kernel {
        kind: "efivarfs",
        target: "/sys/firmware/efi/efivars",
        flags: NOTHING,
        data: None,
        optional: true,
    },
];

/// Mounts all of them. Those that are there already stay; what is only missing on some machines is told, not an error.
pub fn mount_kernel() -> Result<Vec<MountError>, MountError> {
    let mut absent = Vec::new();
    for one in &KERNEL {
        match mount_one(one) {
            Ok(()) => {}
            Err(error) if one.optional => absent.push(error),
            Err(error) => return Err(error),
        }
    }
    Ok(absent)
}

/// Mounts a file system of the kernel's that only works after its module has been loaded.
pub fn mount_again(target: &str) -> Result<(), MountError> {
    KERNEL.iter().find(|one| one.target == target).map_or(Ok(()), mount_one)
}

fn mount_one(one: &Kernel) -> Result<(), MountError> {
    let target = Path::new(one.target);
    // Folders below /sys exist or not as the kernel likes; nobody can make them.
    if !one.optional {
        make_folder(target)?;
    }
    let mounted = mount(Some(one.kind), target, Some(one.kind), one.flags, one.data);
    match mounted {
        Ok(()) | Err(Errno::EBUSY) => Ok(()),
        Err(source) => Err(MountError::Mount {
            kind: one.kind,
            target: target.to_owned(),
            source,
        }),
    }
}

fn make_folder(target: &Path) -> Result<(), MountError> {
    std::fs::create_dir_all(target).map_err(|source| MountError::Folder {
        target: target.to_owned(),
        source,
    })
}

/// A file system in memory of at most `bytes`, for the root user and `mode`.
pub fn mount_memory(target: &Path, bytes: u64, mode: u32) -> Result<(), MountError> {
    make_folder(target)?;
    let data = format!("mode={mode:04o},size={bytes}");
    let mounted = mount(Some("tmpfs"), target, Some("tmpfs"), NOTHING, Some(data.as_str()));
    mounted.map_err(|source| MountError::Mount {
        kind: "tmpfs",
        target: target.to_owned(),
        source,
    })
}

/// An ext4 file system on a block device. Errors of its own turn it read-only: ext4(5), `errors=remount-ro`.
pub fn mount_ext4(device: &Path, target: &Path, read_only: bool) -> Result<(), MountError> {
    make_folder(target)?;
    let data = Some("errors=remount-ro");
    let flags = if read_only {
        NOTHING.union(MsFlags::MS_RDONLY)
    } else {
        NOTHING
    };
    mount(Some(device), target, Some("ext4"), flags, data).map_err(|source| MountError::Mount {
        kind: "ext4",
        target: target.to_owned(),
        source,
    })
}

/// Whether a file system takes no writes, as it is after an error of its own.
pub fn is_read_only(folder: &Path) -> bool {
    let known = nix::sys::statvfs::statvfs(folder);
    known.is_ok_and(|known| known.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY))
}

/// Takes a file system away; what is still written goes to the device first.
pub fn unmount(target: &Path) -> Result<(), Errno> {
    umount2(target, nix::mount::MntFlags::UMOUNT_NOFOLLOW)
}
