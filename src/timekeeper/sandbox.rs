//! What the timekeeper gives up before it asks anybody: all files by name, and all system calls but those for sockets of
//! the internet and for what is open.

use crate::cli::Failure;
use lamchat_sandbox::{Calls, MEMORY_AND_TIME, OPEN_FILES, close_files};
use nix::libc;

/// Connections, once there is a socket.
const NETWORK: &[libc::c_long] = &[
    libc::SYS_bind,
    libc::SYS_connect,
    libc::SYS_getsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_ppoll,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
];

/// Gives it up. A kernel without Landlock has the list of system calls alone, which opens no file either.
pub fn close() -> Result<(), Failure> {
    nix::sys::prctl::set_dumpable(false)?;
    close_files(&[])?;
    let calls = Calls::of(&[MEMORY_AND_TIME, OPEN_FILES, NETWORK]).and_memory_without_code()?;
    let calls = calls.and_sockets(&[libc::AF_INET, libc::AF_INET6])?;
    Ok(calls.and_unblocking()?.close_others()?)
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
