//! How bytes reach a TPM: one command goes, one answer comes. The seam that tests and other transports use.
//!
//! A transport knows the ten bytes of a response header (TPM 2.0 Part 1, 18) and nothing else: it never looks into a
//! command, never retries and never logs, because commands and answers may carry (encrypted) secrets.

mod device;
mod socket;

pub use device::Device;
pub use socket::Socket;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Largest command and answer. Every TPM of the PC Client profile takes 4,096 bytes; none sends more.
pub const FRAME_BYTES_MAX: usize = 4096;
/// Bytes of a command's and of an answer's header: tag (2), size (4), code (4).
pub const HEADER_BYTES: usize = 10;

/// Sends one command and receives its answer.
pub trait Transport: Send {
    /// Sends `command` (whole, with header) and answers the whole response, within `timeout`.
    ///
    /// After an error the state of the connection is unknown; the transport connects anew on the next call if it can.
    fn exchange(&mut self, command: &[u8], timeout: Duration) -> Result<Vec<u8>, TransportError>;
}

/// Why no answer came.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// There is no such device or socket: no TPM, or the path is wrong.
    #[error("there is no TPM at {place}: {source}")]
    Absent {
        /// The address as configured.
        place: String,
        /// What the system said.
        source: io::Error,
    },
    /// The TPM is there and did not answer in time.
    #[error("the TPM did not answer within {0:?}")]
    TimedOut(Duration),
    /// The connection broke.
    #[error("the connection to the TPM broke: {0}")]
    Io(#[from] io::Error),
    /// The answer is shorter than a header, longer than allowed, or its size field lies.
    #[error("the TPM's answer has {0} bytes, which its header contradicts")]
    Frame(usize),
    /// The command is larger than any TPM takes.
    #[error("a command of {0} bytes is larger than a TPM takes")]
    CommandTooLarge(usize),
}

/// Where a TPM is, as in the configuration's `[seal] tpm`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `device:/dev/tpmrm0`: the kernel's resource manager.
    Device(PathBuf),
    /// `tcp:127.0.0.1:2321`: swtpm's command socket. Unencrypted: for the loopback interface.
    Tcp(SocketAddr),
    /// `unix:/run/swtpm.sock`: swtpm's command socket as a Unix socket.
    Unix(PathBuf),
}

/// The text is none of `device:PATH`, `tcp:ADDRESS:PORT`, `unix:PATH`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address of a TPM: device:/dev/tpmrm0, tcp:127.0.0.1:2321 or unix:/path")]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError(text.chars().take(100).collect());
        let (kind, place) = text.split_once(':').ok_or_else(wrong)?;
        match kind {
            "device" if place.starts_with('/') => Ok(Self::Device(place.into())),
            "unix" if place.starts_with('/') => Ok(Self::Unix(place.into())),
            "tcp" => place.parse().map(Self::Tcp).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Device(path) => write!(f, "device:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Address {
    /// Opens the transport; nothing is sent yet.
    pub fn open(&self) -> Result<Box<dyn Transport>, TransportError> {
        Ok(match self {
            Self::Device(path) => Box::new(Device::open(path)?),
            Self::Tcp(_) | Self::Unix(_) => Box::new(Socket::connect(self.clone())?),
        })
    }
}

/// The size field of an answer's header, if it is one that can be true.
fn declared_bytes(header: &[u8]) -> Result<usize, TransportError> {
    let size = header
        .get(2..6)
        .and_then(|bytes| <[u8; 4]>::try_from(bytes).ok())
        .map(u32::from_be_bytes)
        .and_then(|size| usize::try_from(size).ok())
        .ok_or(TransportError::Frame(header.len()))?;
    if (HEADER_BYTES..=FRAME_BYTES_MAX).contains(&size) {
        Ok(size)
    } else {
        Err(TransportError::Frame(size))
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, declared_bytes};

    #[test]
    fn addresses_parse_and_print() {
        for text in [
            "device:/dev/tpmrm0",
            "tcp:127.0.0.1:2321",
            "unix:/run/swtpm.sock",
            "tcp:[::1]:1",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "auto",
            "device:tpm",
            "tcp:localhost",
            "tcp:1.2.3.4",
            "serial:/dev/x",
            "unix:",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_header_that_lies_is_refused() {
        assert!(declared_bytes(&[0x80, 1, 0, 0, 0, 10, 0, 0, 0, 0]).is_ok());
        assert!(declared_bytes(&[0x80, 1, 0, 0, 0, 9, 0, 0, 0, 0]).is_err());
        assert!(declared_bytes(&[0x80, 1, 0, 0, 0x10, 1, 0, 0, 0, 0]).is_err());
        assert!(declared_bytes(&[0x80, 1, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]).is_err());
        assert!(declared_bytes(&[0x80]).is_err());
    }
}
