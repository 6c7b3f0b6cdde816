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
    /// A Unix socket with the permissions `mode` (such as 0o600). Who may open it is who may use it.
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
    Unix(UnixStream),
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
                let socket = open_unix(path, *mode).await;
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
            Self::Unix(listener) => Ok(Stream::Unix(listener.accept().await?.0)),
        }
    }
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
