//! Sockets that the service manager opened for this process: sd_listen_fds(3).
//!
//! They belong to the process as its environment does, so they are taken once, at the start, and asked for by name.

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use parking_lot::Mutex;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::Path;

/// The most that are taken.
const SOCKETS_MAX: usize = 8;

static HANDED: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// Takes the Unix sockets that were handed over, out of the environment. Call it before any thread is started: it
/// changes the environment. Answers how many there are.
///
/// # Errors
/// When something was handed over that is no listening Unix socket, or too many.
pub fn take_handed_sockets() -> io::Result<usize> {
    let mut handed = listenfd::ListenFd::from_env();
    let count = handed.len();
    if count > SOCKETS_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{count} sockets were handed over, at most {SOCKETS_MAX} are taken"),
        ));
    }
    let mut kept = HANDED.lock();
    for place in 0..count {
        if let Some(socket) = handed.take_unix_listener(place)? {
            // No program that this one starts has any business there.
            fcntl(&socket, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
            kept.push(socket);
        }
    }
    Ok(kept.len())
}

/// Whether a socket of this name was handed over.
pub fn is_handed(path: &Path) -> bool {
    HANDED.lock().iter().any(|socket| has_name(socket, path))
}

fn has_name(socket: &UnixListener, path: &Path) -> bool {
    let address = socket.local_addr();
    address.is_ok_and(|address| address.as_pathname() == Some(path))
}

/// The socket that was handed over under this name, if one was. Connections that wait there are not lost while nobody
/// holds what this answers: the process keeps the socket for its whole life.
///
/// # Errors
/// When the system gives no further descriptor.
pub fn handed_socket(path: &Path) -> io::Result<Option<UnixListener>> {
    let kept = HANDED.lock();
    let found = kept.iter().find(|socket| has_name(socket, path));
    found.map(UnixListener::try_clone).transpose()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn sockets_are_found_by_name_and_stay() {
        let path = std::env::temp_dir().join(format!("lamchat-handed-{}", std::process::id()));
        let _gone = std::fs::remove_file(&path);
        HANDED.lock().push(UnixListener::bind(&path).unwrap());
        assert!(handed_socket(Path::new("/run/lamchat/other")).unwrap().is_none());
        assert!(is_handed(&path) && !is_handed(Path::new("/run/lamchat/other")));
        for _ in 0..2 {
            let socket = handed_socket(&path).unwrap().unwrap();
            let client = std::os::unix::net::UnixStream::connect(&path).unwrap();
            socket.accept().unwrap();
            drop((socket, client));
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn nothing_was_handed_over_here() {
        assert_eq!(listenfd::ListenFd::from_env().len(), 0);
    }
}
