//! What the holder gives up before it has a key: network, files, and all system calls but a few.
//!
//! Everything here binds the calling thread and what it starts later: call it before there are other threads.

use landlock::{
    ABI, Access, AccessFs, PathBeneath, PathFd, PathFdError, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus,
};
use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;
use std::path::Path;

/// The box's kernel is 6.1; a newer ABI would be half enforced there.
const LANDLOCK_ABI: ABI = ABI::V2;

/// System calls that reading a keyring, answering and waiting need. Nothing here makes a socket or a process.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_accept4,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_lseek,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_mkdir,
    libc::SYS_mkdirat,
    libc::SYS_getdents64,
    libc::SYS_fcntl,
    libc::SYS_ioctl,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_mlock,
    libc::SYS_munlock,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_exit,
    libc::SYS_exit_group,
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

/// How far the kernel enforces the file rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// All.
    Enforced,
    /// Some.
    Partly,
    /// None: the kernel is too old.
    Open,
}

/// Why nothing can be given up; the holder must not go on.
#[derive(Debug, thiserror::Error)]
pub enum ConfineError {
    /// The file rules.
    #[error("the files could not be closed: {0}")]
    Files(#[from] RulesetError),
    /// The folder that stays open is not there.
    #[error("the folder of the keyring cannot be opened: {0}")]
    Folder(#[from] PathFdError),
    /// The system calls.
    #[error("the system calls could not be closed: {0}")]
    Calls(#[from] seccompiler::Error),
    /// The list of system calls.
    #[error("the list of system calls cannot be used: {0}")]
    List(#[from] seccompiler::BackendError),
    /// No way back to privileges.
    #[error("privileges could not be given up: {0}")]
    Privileges(#[from] Errno),
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
pub fn confine(keyring_dir: &Path, tpm: TpmPlace<'_>) -> Result<Files, ConfineError> {
    nix::sys::prctl::set_no_new_privs()?;
    let all = AccessFs::from_all(LANDLOCK_ABI);
    let mut rules = Ruleset::default()
        .handle_access(all)?
        .create()?
        .add_rule(PathBeneath::new(PathFd::new(keyring_dir)?, all & !AccessFs::Execute))?;
    // A device that is not there now is not used before the next start.
    if let TpmPlace::Device(device) = tpm
        && let Ok(device) = PathFd::new(device)
    {
        rules = rules.add_rule(PathBeneath::new(device, AccessFs::ReadFile | AccessFs::WriteFile))?;
    }
    let files = match rules.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Files::Enforced,
        RulesetStatus::PartiallyEnforced => Files::Partly,
        RulesetStatus::NotEnforced => Files::Open,
    };
    close_calls(tpm == TpmPlace::Network)?;
    Ok(files)
}

fn close_calls(network: bool) -> Result<(), ConfineError> {
    // clone3 hides its flags behind a pointer. Told that the kernel has none, glibc starts its threads by clone.
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let unknown = SeccompAction::Errno(libc::ENOSYS as u32);
    apply(SeccompFilter::new(
        clone3,
        SeccompAction::Allow,
        unknown,
        TargetArch::x86_64,
    )?)?;
    let extra = if network { ALLOWED_FOR_NETWORK } else { &[] };
    let calls = ALLOWED.iter().chain(extra).chain(&[libc::SYS_clone3]);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = calls.map(|call| (*call, Vec::new())).collect();
    // Threads, but no processes.
    let thread = libc::CLONE_THREAD as u64;
    let thread = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(thread), thread)?;
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![thread])?]);
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    apply(SeccompFilter::new(
        rules,
        refuse,
        SeccompAction::Allow,
        TargetArch::x86_64,
    )?)
}

fn apply(filter: SeccompFilter) -> Result<(), ConfineError> {
    let program: BpfProgram = filter.try_into()?;
    Ok(seccompiler::apply_filter(&program)?)
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
