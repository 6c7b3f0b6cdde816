//! Where connections come from: TCP, with TLS or without, and Unix sockets.

use crate::{Identity, Resource};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// A place to listen.
#[derive(Debug, Clone)]
pub enum Bind {
    /// A TCP address; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// A Unix socket with the permissions `mode` (such as 0o600). Whoever may open it and is root or the user that this
    /// process runs as may use it; others are turned away, whatever the permissions became meanwhile. Where the service
    /// manager handed over a socket of this name, that one is used, with the permissions it has.
    Unix {
        /// Its file. One that a dead process left behind is replaced.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

/// A listener.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Where.
    pub bind: Bind,
    /// Its certificate; `None` is plain HTTP/1.1, for a proxy, a test, or a Unix socket.
    pub tls: Option<Arc<Identity>>,
    /// What it offers.
    pub resources: Vec<Resource>,
}

/// Why a listener cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {place}: {source}")]
pub struct ListenError {
    /// The address or the file.
    pub place: String,
    /// What the system said.
    pub source: std::io::Error,
}

pub(crate) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

pub(crate) enum Stream {
    Tcp(TcpStream, IpAddr),
    Unix(UnixStream, u32),
}

/// Who is at the other end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Somebody on the network.
    Address(IpAddr),
    /// A process on this machine, with this effective uid.
    Process(u32),
}

/// How a request came here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    /// Who is at the other end.
    pub(crate) peer: Peer,
    /// Whether nobody in between can read it.
    pub(crate) is_encrypted: bool,
}

impl Origin {
    /// This process, when it asks itself.
    pub(crate) fn ourselves() -> Self {
        Self {
            peer: Peer::Process(nix::unistd::geteuid().as_raw()),
            is_encrypted: false,
        }
    }
}

impl Peer {
    /// The address, for limits.
    pub(crate) fn address(self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(address),
            Self::Process(_) => None,
        }
    }

    /// The uid that the kernel vouches for.
    pub(crate) fn uid(self) -> Option<u32> {
        match self {
            Self::Address(_) => None,
            Self::Process(uid) => Some(uid),
        }
    }
}

impl Stream {
    pub(crate) fn peer(&self) -> Peer {
        match self {
            Self::Tcp(_, address) => Peer::Address(*address),
            Self::Unix(_, uid) => Peer::Process(*uid),
        }
    }
}

impl Socket {
    pub(crate) async fn open(bind: &Bind) -> Result<Self, ListenError> {
        match bind {
            Bind::Tcp(address) => {
                let socket = TcpListener::bind(address).await;
                socket.map(Self::Tcp).map_err(|source| ListenError {
                    place: address.to_string(),
                    source,
                })
            }
            Bind::Unix { path, mode } => {
                let socket = match lamchat_host::handed_socket(path) {
                    Ok(Some(handed)) => from_handed(handed),
                    Ok(None) => open_unix(path, *mode).await,
                    Err(error) => Err(error),
                };
                socket.map(Self::Unix).map_err(|source| ListenError {
                    place: path.display().to_string(),
                    source,
                })
            }
        }
    }

    pub(crate) fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    pub(crate) async fn accept(&self) -> std::io::Result<Stream> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Answers are written in one piece; waiting for more would only delay them.
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream, peer.ip().to_canonical()))
            }
            Self::Unix(listener) => loop {
                let (stream, _) = listener.accept().await?;
                // SO_PEERCRED: who the peer was when it connected (unix(7)).
                let uid = stream.peer_cred()?.uid();
                if may_use(uid, nix::unistd::geteuid().as_raw()) {
                    return Ok(Stream::Unix(stream, uid));
                }
                tracing::warn!(uid, "a process of another user was turned away from the Unix socket");
            },
        }
    }
}

/// Root, and the user that this process runs as.
fn may_use(peer_uid: u32, own_uid: u32) -> bool {
    peer_uid == 0 || peer_uid == own_uid
}

fn from_handed(handed: std::os::unix::net::UnixListener) -> std::io::Result<UnixListener> {
    handed.set_nonblocking(true)?;
    UnixListener::from_std(handed)
}

async fn open_unix(path: &Path, mode: u32) -> std::io::Result<UnixListener> {
    if UnixStream::connect(path).await.is_ok() {
        return Err(std::io::Error::new(
            std::io::ErrorKind::AddrInUse,
            "another process answers there",
        ));
    }
    // The permissions are set under another name, so that the socket never stands open to others under its own.
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    match std::fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&unfinished)?;
    std::fs::set_permissions(&unfinished, std::fs::Permissions::from_mode(mode))?;
    std::fs::rename(&unfinished, path)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::may_use;

    #[test]
    fn only_root_and_the_owner_use_a_unix_socket() {
        assert!(may_use(0, 1000) && may_use(1000, 1000) && may_use(0, 0));
        assert!(!may_use(1001, 1000) && !may_use(1000, 0) && !may_use(u32::MAX, 1000));
    }
}
