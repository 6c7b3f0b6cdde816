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

/// Whether a file system takes no writes, as it is after an error of its own. Linux up to 6.1.112 says so in the flags of
/// the mount; later ones refuse the writes without (commit d3476f3dad4a), and have the errors of ext4 in sysfs alone.
pub fn is_read_only(folder: &Path) -> bool {
    let known = nix::sys::statvfs::statvfs(folder);
    known.is_ok_and(|known| known.flags().contains(nix::sys::statvfs::FsFlags::ST_RDONLY))
        || has_errors(folder, Path::new("/sys"))
}

/// Whether ext4 has counted errors in the file system of a folder: Linux, fs/ext4/sysfs.c, `errors_count`. False for other
/// file systems.
fn has_errors(folder: &Path, sys: &Path) -> bool {
    let Ok(known) = nix::sys::stat::stat(folder) else {
        return false;
    };
    let (major, minor) = (nix::sys::stat::major(known.st_dev), nix::sys::stat::minor(known.st_dev));
    // The link to the device ends with the name that ext4 goes by.
    let device = std::fs::read_link(sys.join(format!("dev/block/{major}:{minor}")));
    let device = device.ok().and_then(|device| Some(device.file_name()?.to_owned()));
    let count =
        device.and_then(|device| std::fs::read_to_string(sys.join("fs/ext4").join(device).join("errors_count")).ok());
    count.is_some_and(|count| count.trim() != "0")
}

/// Takes a file system away; what is still written goes to the device first.
pub fn unmount(target: &Path) -> Result<(), Errno> {
    umount2(target, nix::mount::MntFlags::UMOUNT_NOFOLLOW)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn errors_that_ext4_counts_are_found() {
        let (folder, sys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        assert!(!has_errors(folder.path(), sys.path()));
        let device = nix::sys::stat::stat(folder.path()).unwrap().st_dev;
        let number = format!("{}:{}", nix::sys::stat::major(device), nix::sys::stat::minor(device));
        std::fs::create_dir_all(sys.path().join("dev/block")).unwrap();
        std::fs::create_dir_all(sys.path().join("fs/ext4/dm-0")).unwrap();
        std::os::unix::fs::symlink(
            "../../devices/virtual/block/dm-0",
            sys.path().join("dev/block").join(number),
        )
        .unwrap();
        let count = sys.path().join("fs/ext4/dm-0/errors_count");
        for (content, wanted) in [("0\n", false), ("1\n", true), ("12\n", true)] {
            std::fs::write(&count, content).unwrap();
            assert_eq!(has_errors(folder.path(), sys.path()), wanted, "{content}");
        }
    }
}
