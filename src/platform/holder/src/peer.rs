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

/// The user who may administer: this process's own, or root. Answers its number.
///
/// In a namespace of users of one's own nobody else has a number. There the socket's mode decides, which the kernel has
/// checked before: who passed it without being the owner has the powers of root.
///
/// The exchange itself is refused. That keeps nobody out who has taken it over and may start processes of its user; a
/// user of the holder's own does (`--exchange-user`).
pub(crate) fn administrator(stream: &UnixStream, network: Network, exchange: Pid) -> Result<u32, PeerError> {
    let peer = getsockopt(stream, PeerCredentials)?;
    if peer.pid() == exchange.as_raw() {
        return Err(PeerError::Exchange);
    }
    match peer.uid() {
        uid if uid == ROOT || uid == geteuid().as_raw() => Ok(uid),
        OVERFLOW_UID
            if network
                == (Network::Empty {
                    in_user_namespace: true,
                }) =>
        {
            Ok(ROOT)
        }
        uid => Err(PeerError::Foreign(uid)),
    }
}
