//! Whose process the other end of a stream is.

use crate::sandbox::Network;
use nix::errno::Errno;
use nix::sys::socket::{UnixAddr, getsockname, getsockopt, sockopt::PeerCredentials};
use nix::sys::stat::stat;
use nix::unistd::{Pid, geteuid};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

/// Why a peer gets no answer.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The other end is another user's.
    #[error("the other end runs as user {0}, not as this one")]
    Foreign(u32),
    /// It is the exchange, which has streams of its own.
    #[error("the exchange does not type")]
    Exchange,
    /// The other end's user has no number here, and others pass its socket as well.
    #[error("the other end came in at {}, whose mode lets in more than one user", .0.display())]
    Shared(PathBuf),
    /// The kernel does not tell whose the other end is.
    #[error("the other end's user is not known: {0}")]
    Unknown(#[from] Errno),
}

/// What a user is called who has no number in this namespace of users (user_namespaces(7), overflowuid).
const OVERFLOW_UID: u32 = 65_534;
const ROOT: u32 = 0;
/// Which users have a number here.
const OWN_USERS: &str = "/proc/self/uid_map";
/// Every permission of the group and of others.
const OTHERS: u32 = 0o077;
/// Process 1.
const FIRST: i32 = 1;

/// The exchange runs as the user `uid`, or as this process's own; answers its process. Before this process is in a
/// namespace of users that it made itself.
///
/// A service manager may have started it in one (systemd's PrivateUsers=), where the exchange's user has no number. There
/// the other end must have none either, so it is neither root nor this process's user; and its socket must let in nobody
/// but its owner, so it is that one.
pub(crate) fn exchange(stream: &UnixStream, uid: Option<u32>) -> Result<Pid, PeerError> {
    let peer = getsockopt(stream, PeerCredentials)?;
    match uid {
        Some(uid) if peer.uid() == OVERFLOW_UID && uid != OVERFLOW_UID && has_no_number(uid) => one_owner(stream)?,
        uid if peer.uid() == uid.unwrap_or_else(|| geteuid().as_raw()) => {}
        _ => return Err(PeerError::Foreign(peer.uid())),
    }
    Ok(Pid::from_raw(peer.pid()))
}

/// Whether a user of the namespace above has no number in this process's own. Where that cannot be read: no.
fn has_no_number(uid: u32) -> bool {
    std::fs::read_to_string(OWN_USERS).is_ok_and(|map| !is_mapped(&map, uid))
}

/// user_namespaces(7): "the start of the range of user IDs in the user namespace of the process pid", the same in the
/// namespace above, and "the length of the range". Whatever is not understood counts as mapped.
fn is_mapped(map: &str, uid: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u64>);
        match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(_)), Some(Ok(above)), Some(Ok(length))) => {
                (above..above.saturating_add(length)).contains(&u64::from(uid))
            }
            _ => true,
        }
    })
}

/// Whether the socket that the other end connected to lets in its owner alone, who is neither root nor this user.
fn one_owner(stream: &UnixStream) -> Result<(), PeerError> {
    let address: UnixAddr = getsockname(stream.as_fd().as_raw_fd())?;
    let path = address.path().ok_or(Errno::ENOENT)?;
    let socket = stat(path)?;
    let is_own = [ROOT, geteuid().as_raw()].contains(&socket.st_uid);
    if is_own || socket.st_mode & OTHERS != 0 {
        return Err(PeerError::Shared(path.to_owned()));
    }
    Ok(())
}

/// [`exchange`] once this process is sandboxed. In a namespace of users of its own no other user has a number; there the
/// mode of the socket decides, which lets in process 1 and the exchange's group alone.
pub(crate) fn exchange_on_box(stream: &UnixStream, uid: Option<u32>, network: Network) -> Result<(), PeerError> {
    let in_user_namespace = Network::Empty {
        in_user_namespace: true,
    };
    match exchange(stream, uid) {
        Err(PeerError::Foreign(OVERFLOW_UID)) if uid.is_some() && network == in_user_namespace => Ok(()),
        other => other.map(drop),
    }
}

/// Who asks at the holder's own socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Administrator {
    /// The user.
    pub uid: u32,
    /// Whether it is process 1: the one that started everything on the box.
    pub is_first: bool,
}

/// The user who may administer: this process's own, or root.
///
/// In a namespace of users of one's own nobody else has a number. There the socket's mode decides, which the kernel has
/// checked before: who passed it without being the owner has the powers of root.
///
/// The exchange itself is refused. That keeps nobody out who has taken it over and may start processes of its user; a
/// user of the holder's own does (`--exchange-user`).
pub(crate) fn administrator(
    stream: &UnixStream,
    network: Network,
    exchange: Option<Pid>,
) -> Result<Administrator, PeerError> {
    let peer = getsockopt(stream, PeerCredentials)?;
    if Some(peer.pid()) == exchange.map(Pid::as_raw) {
        return Err(PeerError::Exchange);
    }
    let is_first = peer.pid() == FIRST;
    match peer.uid() {
        uid if uid == ROOT || uid == geteuid().as_raw() => Ok(Administrator { uid, is_first }),
        OVERFLOW_UID
            if network
                == (Network::Empty {
                    in_user_namespace: true,
                }) =>
        {
            Ok(Administrator { uid: ROOT, is_first })
        }
        uid => Err(PeerError::Foreign(uid)),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{PeerError, exchange, is_mapped, one_owner};
    use nix::unistd::geteuid;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn a_map_of_users_is_read_as_the_kernel_writes_it() {
        let all = "         0          0 4294967295\n";
        let private = "         0          0          1\n       998        998          1\n";
        for (map, uid, mapped) in [
            (all, 0, true),
            (all, 998, true),
            (private, 0, true),
            (private, 998, true),
            (private, 997, false),
            (private, 999, false),
            ("", 0, false),
            ("0 0", 5, true),
            ("0 x 1", 5, true),
        ] {
            assert_eq!(is_mapped(map, uid), mapped, "{map:?} {uid}");
        }
    }

    #[test]
    fn outside_of_such_a_namespace_the_number_decides() {
        let (one, _other) = UnixStream::pair().unwrap();
        let own = geteuid().as_raw();
        exchange(&one, None).unwrap();
        exchange(&one, Some(own)).unwrap();
        let refused = exchange(&one, Some(own + 1)).unwrap_err();
        assert!(matches!(refused, PeerError::Foreign(uid) if uid == own), "{refused}");
    }

    #[test]
    fn a_socket_of_this_user_tells_nothing_of_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let _client = UnixStream::connect(&path).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let refused = one_owner(&stream).unwrap_err();
        assert!(matches!(refused, PeerError::Shared(of) if of == path));
        // One end of a pair has no socket that anybody could pass.
        let (one, _other) = UnixStream::pair().unwrap();
        assert!(matches!(one_owner(&one).unwrap_err(), PeerError::Unknown(_)));
    }
}
