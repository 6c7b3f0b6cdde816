//! System calls: all of them are refused but a list.

use crate::SandboxError;
use nix::libc::{self, c_int, c_long};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// Memory, locks, the clock, signals and the end: what every process needs.
pub const MEMORY_AND_TIME: &[c_long] = &[
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_sched_yield,
    libc::SYS_getcpu,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_exit,
    libc::SYS_exit_group,
];

/// Reading, writing and syncing what is open already, files and streams. Nothing is opened by a name.
pub const OPEN_FILES: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_recvfrom,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    libc::SYS_poll,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_newfstatat,
    libc::SYS_lseek,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_fcntl,
];

/// The system calls that a process keeps. Whatever is not named fails with `EPERM`.
#[derive(Debug, Default)]
pub struct Calls {
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    threads: bool,
}

impl Calls {
    /// Those of these lists, with any arguments.
    pub fn of(lists: &[&[c_long]]) -> Self {
        let rules = lists.iter().flat_map(|list| list.iter());
        Self {
            rules: rules.map(|call| (*call, Vec::new())).collect(),
            threads: false,
        }
    }

    /// Threads may be started, processes not.
    pub fn and_threads(mut self) -> Result<Self, SandboxError> {
        self.rules
            .insert(libc::SYS_clone, vec![only(0, libc::CLONE_THREAD, libc::CLONE_THREAD)?]);
        self.rules.insert(libc::SYS_clone3, Vec::new());
        self.threads = true;
        Ok(self)
    }

    /// Memory may be mapped, but nothing in it is ever run that was not there at the start.
    pub fn and_memory_without_code(mut self) -> Result<Self, SandboxError> {
        for call in [libc::SYS_mmap, libc::SYS_mprotect] {
            self.rules.insert(call, vec![only(2, libc::PROT_EXEC, 0)?]);
        }
        Ok(self)
    }

    /// Sockets of these address families may be made.
    pub fn and_sockets(mut self, families: &[c_int]) -> Result<Self, SandboxError> {
        for call in [libc::SYS_socket, libc::SYS_socketpair] {
            let families = families.iter().map(|family| only(0, c_int::MAX, *family));
            self.rules.insert(call, families.collect::<Result<_, _>>()?);
        }
        Ok(self)
    }

    /// Sockets may be told not to block (`FIONBIO`), which a time limit for connecting needs; no other ioctl(2).
    pub fn and_unblocking(mut self) -> Result<Self, SandboxError> {
        let request = c_int::try_from(libc::FIONBIO).unwrap_or_default();
        self.rules.insert(libc::SYS_ioctl, vec![only(1, c_int::MAX, request)?]);
        Ok(self)
    }

    /// Gives up all others (seccomp(2)).
    pub fn close_others(self) -> Result<(), SandboxError> {
        nix::sys::prctl::set_no_new_privs()?;
        if self.threads {
            // clone3 hides its flags behind a pointer. Told that the kernel has none, glibc starts its threads by clone.
            let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
            apply(clone3, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32))?;
        }
        let refuse = SeccompAction::Errno(libc::EPERM as u32);
        apply(self.rules, refuse, SeccompAction::Allow)
    }
}

/// A call whose argument, as far as the mask goes, has this value.
fn only(argument: u8, mask: c_int, value: c_int) -> Result<SeccompRule, SandboxError> {
    let (mask, value) = (u64::from(mask.unsigned_abs()), u64::from(value.unsigned_abs()));
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(mask), value)?;
    Ok(SeccompRule::new(vec![condition])?)
}

fn apply(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    listed: SeccompAction,
) -> Result<(), SandboxError> {
    let program: BpfProgram = SeccompFilter::new(rules, otherwise, listed, TargetArch::x86_64)?.try_into()?;
    Ok(seccompiler::apply_filter(&program)?)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{Calls, MEMORY_AND_TIME, OPEN_FILES};
    use nix::errno::Errno;
    use nix::libc;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

    /// What a thread in Rust needs to begin and to end, in a thread that stays confined.
    const THREADS: &[libc::c_long] = &[
        libc::SYS_rseq,
        libc::SYS_set_robust_list,
        libc::SYS_sched_getaffinity,
        libc::SYS_prctl,
    ];

    fn confined<T: Send + 'static>(test: impl FnOnce() -> T + Send + 'static) -> T {
        std::thread::spawn(test).join().unwrap()
    }

    fn made(family: AddressFamily) -> Result<(), Errno> {
        socket(family, SockType::Stream, SockFlag::empty(), None).map(drop)
    }

    #[test]
    fn what_is_not_listed_is_refused() {
        confined(|| {
            let calls = Calls::of(&[MEMORY_AND_TIME, OPEN_FILES]);
            calls.and_memory_without_code().unwrap().close_others().unwrap();
            assert_eq!(made(AddressFamily::Unix), Err(Errno::EPERM));
            let opened = std::fs::read("/proc/self/status").unwrap_err();
            assert_eq!(opened.raw_os_error(), Some(libc::EPERM));
            drop(vec![0_u8; 1 << 22]);
        });
    }

    #[test]
    fn only_the_named_families_have_sockets() {
        confined(|| {
            let calls = Calls::of(&[MEMORY_AND_TIME, OPEN_FILES]).and_sockets(&[libc::AF_UNIX]);
            let calls = calls.unwrap().and_memory_without_code().unwrap();
            calls.close_others().unwrap();
            assert_eq!(made(AddressFamily::Unix), Ok(()));
            assert_eq!(made(AddressFamily::Inet), Err(Errno::EPERM));
        });
    }

    #[test]
    fn threads_are_started_and_processes_are_not() {
        confined(|| {
            let calls = Calls::of(&[MEMORY_AND_TIME, OPEN_FILES, THREADS]).and_threads();
            let calls = calls.unwrap().and_memory_without_code().unwrap();
            calls.close_others().unwrap();
            assert_eq!(std::thread::spawn(|| 7).join().unwrap(), 7);
            assert!(std::process::Command::new("/bin/true").status().is_err());
        });
    }
}
