//! What the holder gives up before it has a key: network, files, and all system calls but a few.
//!
//! Everything here binds the calling thread and what it starts later: call it before there are other threads.

pub use lamchat_sandbox::{Files, SandboxError};

use lamchat_sandbox::{Calls, Keep, MEMORY_AND_TIME, OPEN_FILES, Place, close_files};
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};
use std::path::Path;

/// System calls that reading a keyring, answering and waiting need beside what every process does. Nothing here makes a socket or a process.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_accept4,
    libc::SYS_getsockopt,
    libc::SYS_ppoll,
    libc::SYS_openat,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_mkdir,
    libc::SYS_mkdirat,
    libc::SYS_getdents64,
    libc::SYS_ioctl,
    libc::SYS_mlock,
    libc::SYS_munlock,
    libc::SYS_clock_nanosleep,
    libc::SYS_sched_getaffinity,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_getuid,
    libc::SYS_geteuid,
];
/// What a connection to a TPM in software needs beside them.
const ALLOWED_FOR_NETWORK: &[libc::c_long] = &[libc::SYS_socket, libc::SYS_connect, libc::SYS_getpeername];

/// How the holder reaches its TPM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TpmPlace<'p> {
    /// It has none.
    Nowhere,
    /// At a device.
    Device(&'p Path),
    /// Through a network, which therefore stays open.
    Network,
}

/// What became of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// A namespace of its own with nothing in it; `in_user_namespace`: and one of users, without which the system allowed
    /// none.
    Empty {
        /// Whether other users cannot be told apart any more.
        in_user_namespace: bool,
    },
    /// The system allows no namespace: only the list of system calls keeps the network away.
    CallsOnly,
    /// It stays open, for the TPM.
    Open,
}

/// Leaves the network for an empty one of the holder's own: as root directly, otherwise with a namespace of users, where
/// the system allows those. Before the process is made unreadable, because it writes who it is there.
pub fn leave_network() -> Network {
    if unshare(CloneFlags::CLONE_NEWNET).is_ok() {
        return Network::Empty {
            in_user_namespace: false,
        };
    }
    let (uid, gid) = (geteuid(), getegid());
    if unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET).is_err() {
        // A service manager that allows no namespaces may have made this one (systemd's PrivateNetwork=).
        return match std::fs::read_to_string("/proc/self/net/dev") {
            Ok(devices) if only_loopback(&devices) => Network::Empty {
                in_user_namespace: false,
            },
            _ => Network::CallsOnly,
        };
    }
    // user_namespaces(7): without these the files of this user would be a stranger's. What cannot be written shows when
    // the first file is opened.
    for (file, line) in [
        ("/proc/self/uid_map", format!("{uid} {uid} 1")),
        ("/proc/self/setgroups", "deny".to_owned()),
        ("/proc/self/gid_map", format!("{gid} {gid} 1")),
    ] {
        if let Err(error) = std::fs::write(file, line) {
            tracing::warn!(file, %error, "the key holder's user could not be noted");
        }
    }
    Network::Empty {
        in_user_namespace: true,
    }
}

/// Whether a namespace with these devices (proc_pid_net(5), dev) leads nowhere.
fn only_loopback(devices: &str) -> bool {
    let names = devices.lines().filter_map(|line| line.split_once(':'));
    names.map(|(name, _)| name.trim()).eq(["lo"])
}

/// Gives up all files but the folder of the keyring and the TPM's device, and all system calls but those of the list.
pub fn confine(keyring_dir: &Path, tpm: TpmPlace<'_>) -> Result<Files, SandboxError> {
    let mut places = vec![Place::required(keyring_dir, Keep::Own)];
    // A device that is not there now is not used before the next start.
    if let TpmPlace::Device(device) = tpm {
        places.push(Place::optional(device, Keep::Device));
    }
    let files = close_files(&places)?;
    let network = if tpm == TpmPlace::Network {
        ALLOWED_FOR_NETWORK
    } else {
        &[]
    };
    let calls = Calls::of(&[MEMORY_AND_TIME, OPEN_FILES, ALLOWED, network]).and_threads()?;
    calls.and_memory_without_code()?.close_others()?;
    Ok(files)
}

/// What was given up, for the start and `seal status`: a sentence without its full stop.
pub fn sentence(network: Network, files: Files) -> String {
    let network = match network {
        Network::Empty { .. } => "with an empty network of its own",
        Network::CallsOnly => {
            "without a network by its list of system calls alone (the system allows it no network namespace)"
        }
        Network::Open => "with the network, because the TPM is reached through it",
    };
    let files = match files {
        Files::Enforced => "and no files but the keyring's",
        Files::Partly => "and hardly any files but the keyring's (the kernel's Landlock is old)",
        Files::Open => "and with all files of its user (the kernel has no Landlock)",
    };
    format!("a process of its own {network}, {files}")
}

#[cfg(test)]
mod tests {
    use super::only_loopback;

    #[test]
    fn a_namespace_with_a_card_is_not_empty() {
        let head = "Inter-|   Receive  |  Transmit\n face |bytes packets|bytes packets\n";
        assert!(only_loopback(&format!(
            "{head}    lo:       0       0       0       0\n"
        )));
        assert!(!only_loopback(&format!("{head}    lo: 0 0 0 0\n  eth0: 0 0 0 0\n")));
        assert!(!only_loopback(&format!("{head}  eth0: 0 0 0 0\n")));
        assert!(!only_loopback(head));
        assert!(!only_loopback(""));
    }
}
