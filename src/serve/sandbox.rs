//! What the exchange gives up on the bootable image, where no service manager does it: files but its own, and all system
//! calls but those that a server needs. It binds the calling thread and what it starts later.

use super::{StartError, refused};
use lamchat_config::Config;
use landlock::{
    ABI, Access, AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus,
};
use nix::libc;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::BTreeMap;
use std::path::Path;

/// The box's kernel is 6.1; a newer ABI would be half enforced there.
const LANDLOCK_ABI: ABI = ABI::V2;

/// What may be called with any arguments.
const ALLOWED: &[libc::c_long] = &[
    // Files and streams.
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_lseek,
    libc::SYS_openat,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_fcntl,
    libc::SYS_ioctl,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_access,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
    libc::SYS_ftruncate,
    libc::SYS_copy_file_range,
    libc::SYS_sendfile,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_linkat,
    libc::SYS_unlink,
    libc::SYS_unlinkat,
    libc::SYS_mkdir,
    libc::SYS_mkdirat,
    libc::SYS_rmdir,
    libc::SYS_chmod,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_utimensat,
    libc::SYS_umask,
    // The network.
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_pipe2,
    // Memory.
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_munlock,
    libc::SYS_brk,
    libc::SYS_membarrier,
    // Threads, time, signals.
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_getcpu,
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // What it is and may use.
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrusage,
    libc::SYS_prlimit64,
    libc::SYS_prctl,
    libc::SYS_getrandom,
];

/// Families of sockets: as `RestrictAddressFamilies=` of the unit.
const FAMILIES: [libc::c_int; 3] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6];

/// Gives everything else up. Before there are other threads.
pub fn close(config: &Config, config_file: Option<&Path>) -> Result<(), StartError> {
    nix::sys::prctl::set_no_new_privs().map_err(refused)?;
    std::fs::create_dir_all(&config.data_dir).map_err(StartError::io(config.data_dir.display().to_string()))?;
    let files = files(config, config_file).map_err(|error| StartError::Refused(format!("Landlock: {error}")))?;
    if files != RulesetStatus::FullyEnforced {
        return Err(StartError::Refused(format!(
            "the kernel's Landlock does not close all files ({files:?})"
        )));
    }
    calls().map_err(|error| StartError::Refused(format!("seccomp: {error}")))
}

/// Its own folder for writing, and for reading its configuration and what the kernel tells.
fn files(config: &Config, config_file: Option<&Path>) -> Result<RulesetStatus, RulesetError> {
    let all = AccessFs::from_all(LANDLOCK_ABI);
    let (own, read) = (all & !AccessFs::Execute, AccessFs::ReadFile | AccessFs::ReadDir);
    let device = AccessFs::ReadFile | AccessFs::WriteFile;
    let mut rules = Ruleset::default().handle_access(all)?.create()?;
    let mut places = vec![
        (config.data_dir.as_path(), own),
        (Path::new("/tmp"), own),
        (Path::new("/proc"), read),
        (Path::new("/sys"), read),
        (Path::new("/etc/lamchat"), read),
        (Path::new("/dev/null"), device),
    ];
    // A new configuration is a new file: the folder stays the same.
    places.extend(config_file.and_then(Path::parent).map(|folder| (folder, read)));
    for (place, access) in places {
        // What is not there cannot be opened later either.
        if let Ok(place) = PathFd::new(place) {
            rules = rules.add_rule(PathBeneath::new(place, access))?;
        }
    }
    Ok(rules.restrict_self()?.ruleset)
}

fn calls() -> Result<(), seccompiler::Error> {
    // clone3 hides its flags behind a pointer. Told that the kernel has none, glibc starts its threads by clone.
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    let unknown = SeccompAction::Errno(libc::ENOSYS as u32);
    apply(SeccompFilter::new(
        clone3,
        SeccompAction::Allow,
        unknown,
        TargetArch::x86_64,
    )?)?;
    let calls = ALLOWED.iter().chain(&[libc::SYS_clone3]);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = calls.map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_clone, vec![only(0, libc::CLONE_THREAD, libc::CLONE_THREAD)?]);
    // Nothing that was written is ever run.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![only(2, libc::PROT_EXEC, 0)?]);
    }
    for call in [libc::SYS_socket, libc::SYS_socketpair] {
        let families = FAMILIES.map(|family| only(0, libc::c_int::MAX, family));
        rules.insert(call, families.into_iter().collect::<Result<_, _>>()?);
    }
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    apply(SeccompFilter::new(
        rules,
        refuse,
        SeccompAction::Allow,
        TargetArch::x86_64,
    )?)
}

/// A call whose argument, as far as the mask goes, has this value.
fn only(argument: u8, mask: libc::c_int, value: libc::c_int) -> Result<SeccompRule, BackendError> {
    let (mask, value) = (u64::from(mask.unsigned_abs()), u64::from(value.unsigned_abs()));
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(mask), value)?;
    SeccompRule::new(vec![condition])
}

fn apply(filter: SeccompFilter) -> Result<(), seccompiler::Error> {
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&program)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use nix::errno::Errno;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    use std::path::Path;

    /// In a thread of its own, which stays confined.
    #[test]
    fn own_files_and_servers_work_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        // Not in /tmp, which on the box nobody else writes to.
        let elsewhere = tempfile::tempdir_in("/var/tmp").unwrap();
        let secret = elsewhere.path().join("secret");
        std::fs::write(&secret, "x").unwrap();
        let mut config = lamchat_config::parse("server_name = \"example.org\"", Path::new("")).unwrap();
        config.data_dir.clone_from(&data);
        let confined = std::thread::spawn(move || {
            super::close(&config, None).unwrap();
            std::fs::write(data.join("file"), "x").unwrap();
            assert!(std::fs::read(&secret).is_err(), "a file of somebody else's");
            assert!(std::fs::read_to_string("/proc/self/status").is_ok());
            assert!(std::process::Command::new("/bin/true").status().is_err(), "a process");
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            std::thread::spawn(move || std::net::TcpStream::connect(address).unwrap());
            listener.accept().unwrap();
            let raw = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::empty(), None);
            assert_eq!(raw.map(drop), Err(Errno::EPERM));
            let mount = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS);
            assert_eq!(mount, Err(Errno::EPERM));
        });
        confined.join().unwrap();
    }
}
