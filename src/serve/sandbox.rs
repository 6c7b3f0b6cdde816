//! What the exchange gives up on the bootable image, where no service manager does it: files but its own, and all system
//! calls but those that a server needs. It binds the calling thread and what it starts later.

use super::{StartError, refused};
use lamchat_config::Config;
use lamchat_sandbox::{Calls, Files, Keep, MEMORY_AND_TIME, OPEN_FILES, Place, SandboxError, close_files};
use nix::libc;
use std::path::Path;

/// What may be called with any arguments, beside what every process needs.
const ALLOWED: &[libc::c_long] = &[
    // Files and streams.
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_openat,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_ioctl,
    libc::SYS_flock,
    libc::SYS_statfs,
    libc::SYS_fstatfs,
    libc::SYS_access,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlink,
    libc::SYS_readlinkat,
    libc::SYS_getcwd,
    libc::SYS_getdents64,
    libc::SYS_fallocate,
    libc::SYS_fadvise64,
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
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_ppoll,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_pipe2,
    // Memory.
    libc::SYS_mlock,
    libc::SYS_mlock2,
    libc::SYS_munlock,
    libc::SYS_membarrier,
    // Threads, time, signals.
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_tgkill,
    // What it is and may use.
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_uname,
    libc::SYS_sysinfo,
    libc::SYS_getrusage,
    libc::SYS_prlimit64,
    libc::SYS_prctl,
];

/// Families of sockets: as `RestrictAddressFamilies=` of the unit.
const FAMILIES: [libc::c_int; 3] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6];

/// Gives everything else up. Before there are other threads.
pub fn close(config: &Config, config_file: Option<&Path>) -> Result<(), StartError> {
    std::fs::create_dir_all(&config.data_dir).map_err(StartError::io(config.data_dir.display().to_string()))?;
    let files = close_files(&places(config, config_file)).map_err(refused)?;
    if files != Files::Enforced {
        return Err(StartError::Refused(format!(
            "the kernel's Landlock does not close all files ({files:?})"
        )));
    }
    close_calls().map_err(refused)
}

/// Its own folder for writing, and for reading its configuration and what the kernel tells.
fn places<'p>(config: &'p Config, config_file: Option<&'p Path>) -> Vec<Place<'p>> {
    // A new configuration is a new file: the folder stays the same.
    let folder = config_file.and_then(Path::parent).map(|folder| {
        if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            folder
        }
    });
    let read = ["/proc", "/sys", "/etc/lamchat"].map(Path::new);
    let read = read
        .into_iter()
        .chain(folder)
        .map(|path| Place::optional(path, Keep::Read));
    let own = [config.data_dir.as_path(), Path::new("/tmp")].map(|path| Place::optional(path, Keep::Own));
    let device = Place::optional(Path::new("/dev/null"), Keep::Device);
    own.into_iter().chain(read).chain([device]).collect()
}

fn close_calls() -> Result<(), SandboxError> {
    let calls = Calls::of(&[MEMORY_AND_TIME, OPEN_FILES, ALLOWED]).and_threads()?;
    calls.and_memory_without_code()?.and_sockets(&FAMILIES)?.close_others()
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
