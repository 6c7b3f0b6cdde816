//! Whose process the other end of a stream is.

use crate::sandbox::Network;
use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use nix::unistd::{Pid, geteuid};
use std::os::unix::net::UnixStream;

/// Why a peer gets no answer.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The other end is another user's.
    #[error("the other end runs as user {0}, not as this one")]
    Foreign(u32),
    /// It is the exchange, which has streams of its own.
    #[error("the exchange does not type")]
    Exchange,
    /// The kernel does not tell whose the other end is.
    #[error("the other end's user is not known: {0}")]
    Unknown(#[from] Errno),
}

/// What a user is called who has no number in this namespace of users (user_namespaces(7), overflowuid).
const OVERFLOW_UID: u32 = 65_534;
const ROOT: u32 = 0;
/// Process 1.
const FIRST: i32 = 1;

/// The exchange runs as the user `uid`, or as this process's own; answers its process. Before this process is in a
/// namespace of users of its own.
pub(crate) fn exchange(stream: &UnixStream, uid: Option<u32>) -> Result<Pid, PeerError> {
    let peer = getsockopt(stream, PeerCredentials)?;
    if peer.uid() == uid.unwrap_or_else(|| geteuid().as_raw()) {
        Ok(Pid::from_raw(peer.pid()))
    } else {
        Err(PeerError::Foreign(peer.uid()))
    }
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
