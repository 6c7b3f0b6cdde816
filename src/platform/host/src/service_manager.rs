//! systemd's notify protocol (sd_notify(3)): a datagram to the socket that `NOTIFY_SOCKET` names.

use nix::time::{ClockId, clock_gettime};
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// What to tell the service manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Everything is up, or a reload is done.
    Ready,
    /// A reload begins.
    Reloading,
    /// The end begins.
    Stopping,
}

/// Tells the service manager, if there is one. `Ok(false)`: there is none.
pub fn notify(state: State) -> io::Result<bool> {
    match std::env::var_os("NOTIFY_SOCKET") {
        Some(socket) => send(&socket, &message(state)?).map(|()| true),
        None => Ok(false),
    }
}

fn message(state: State) -> io::Result<String> {
    Ok(match state {
        State::Ready => "READY=1".to_owned(),
        State::Stopping => "STOPPING=1".to_owned(),
        State::Reloading => {
            // "RELOADING=1 … must be combined with MONOTONIC_USEC=" (sd_notify(3))
            let now = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
            let usec = i128::from(now.tv_sec()) * 1_000_000 + i128::from(now.tv_nsec()) / 1000;
            format!("RELOADING=1\nMONOTONIC_USEC={usec}")
        }
    })
}

/// "If the first character of $NOTIFY_SOCKET is "@", the string is understood as Linux abstract namespace socket."
fn send(socket: &OsStr, message: &str) -> io::Result<()> {
    let address = match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(socket)?,
    };
    UnixDatagram::unbound()?.send_to_addr(message.as_bytes(), &address).map(|_| ())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::{State, message, send};
    use std::ffi::OsStr;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram};

    #[test]
    fn a_manager_hears_it() {
        let name = format!("lamchat-notify-test-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        send(OsStr::new(&format!("@{name}")), &message(State::Ready).unwrap()).unwrap();
        let mut buffer = [0u8; 64];
        let length = manager.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"READY=1");
    }

    #[test]
    fn a_reload_carries_its_time() {
        let text = message(State::Reloading).unwrap();
        let usec: u64 = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse().unwrap();
        assert!(usec > 0);
    }
}
