//! What the timekeeper gives up before it asks anybody: all files by name, and all system calls but those for sockets of
//! the internet and for what is open.

use crate::cli::Failure;
use landlock::{ABI, Access, AccessFs, Ruleset, RulesetAttr};
use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// Reading and writing what is open; memory; time; connections, once there is a socket.
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_close,
    libc::SYS_poll,
    libc::SYS_ppoll,
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_shutdown,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_ioctl,
    libc::SYS_fcntl,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_futex,
    libc::SYS_getrandom,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
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

/// Gives it up. A kernel without Landlock has the list of system calls alone, which opens no file either.
pub fn close() -> Result<(), Failure> {
    nix::sys::prctl::set_no_new_privs()?;
    nix::sys::prctl::set_dumpable(false)?;
    let all = AccessFs::from_all(ABI::V2);
    Ruleset::default().handle_access(all)?.create()?.restrict_self()?;
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED.iter().map(|call| (*call, Vec::new())).collect();
    // Nothing that was written is ever run.
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        rules.insert(call, vec![only(2, libc::PROT_EXEC, 0)?]);
    }
    let families = [libc::AF_INET, libc::AF_INET6].map(|family| only(0, libc::c_int::MAX, family));
    rules.insert(libc::SYS_socket, families.into_iter().collect::<Result<_, _>>()?);
    // FIONBIO: what a connection with a time limit needs.
    rules.insert(
        libc::SYS_ioctl,
        vec![only(1, libc::c_int::MAX, i32::try_from(libc::FIONBIO)?)?],
    );
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(rules, refuse, SeccompAction::Allow, TargetArch::x86_64)?;
    let program: BpfProgram = filter.try_into()?;
    Ok(seccompiler::apply_filter(&program)?)
}

/// A call whose argument, as far as the mask goes, has this value.
fn only(argument: u8, mask: libc::c_int, value: libc::c_int) -> Result<SeccompRule, Failure> {
    let (mask, value) = (u64::from(mask.unsigned_abs()), u64::from(value.unsigned_abs()));
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(mask), value)?;
    Ok(SeccompRule::new(vec![condition])?)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    /// In a thread of its own, which stays confined.
    #[test]
    fn the_internet_works_and_nothing_else() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let confined = std::thread::spawn(move || {
            super::close().unwrap();
            TcpStream::connect_timeout(&address, Duration::from_secs(5)).unwrap();
            assert!(std::net::UdpSocket::bind("127.0.0.1:0").is_ok());
            assert!(std::fs::read("/etc/hostname").is_err());
            assert!(std::os::unix::net::UnixDatagram::unbound().is_err());
            assert!(std::process::Command::new("/bin/true").status().is_err());
        });
        confined.join().unwrap();
    }
}
