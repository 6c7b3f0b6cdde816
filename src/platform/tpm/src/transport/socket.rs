//! swtpm's command socket, over TCP or a Unix socket: raw commands and answers, one after the other.

use super::{Address, FRAME_BYTES_MAX, HEADER_BYTES, Transport, TransportError, declared_bytes};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// How long a connection may take to come up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    fn set_timeout(&self, timeout: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => {
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))
            }
            Self::Unix(stream) => {
                stream.set_read_timeout(Some(timeout))?;
                stream.set_write_timeout(Some(timeout))
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Unix(stream) => stream.write_all(bytes),
        }
    }
}

/// A connection to swtpm, made anew after an error.
#[derive(Debug)]
pub struct Socket {
    address: Address,
    stream: Option<Stream>,
}

impl Socket {
    /// Connects to `address`, a [`Address::Tcp`] or [`Address::Unix`].
    pub fn connect(address: Address) -> Result<Self, TransportError> {
        let stream = Some(open(&address)?);
        Ok(Self { address, stream })
    }
}

fn open(address: &Address) -> Result<Stream, TransportError> {
    let opened = match address {
        Address::Tcp(address) => TcpStream::connect_timeout(address, CONNECT_TIMEOUT).and_then(|stream| {
            // A command is one small packet that the other side waits for.
            stream.set_nodelay(true)?;
            Ok(Stream::Tcp(stream))
        }),
        Address::Unix(path) => UnixStream::connect(path).map(Stream::Unix),
        Address::Device(_) => Err(io::Error::new(ErrorKind::InvalidInput, "a device is no socket")),
    };
    opened.map_err(|source| TransportError::Absent {
        place: address.to_string(),
        source,
    })
}

impl Transport for Socket {
    fn exchange(&mut self, command: &[u8], timeout: Duration) -> Result<Vec<u8>, TransportError> {
        if command.len() > FRAME_BYTES_MAX {
            return Err(TransportError::CommandTooLarge(command.len()));
        }
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => open(&self.address)?,
        };
        let answer = talk(&mut stream, command, timeout)?;
        // Kept only after a whole answer: a late answer to an old command must not meet a new one.
        self.stream = Some(stream);
        Ok(answer)
    }
}

fn talk(stream: &mut Stream, command: &[u8], timeout: Duration) -> Result<Vec<u8>, TransportError> {
    let until = Instant::now() + timeout;
    stream.set_timeout(timeout)?;
    stream.write_all(command).map_err(|error| late(error, timeout))?;
    let mut answer = vec![0u8; HEADER_BYTES];
    fill(stream, &mut answer, until, timeout)?;
    let size = declared_bytes(&answer)?;
    let mut rest = vec![0u8; size - HEADER_BYTES];
    fill(stream, &mut rest, until, timeout)?;
    answer.append(&mut rest);
    Ok(answer)
}

/// Fills `buffer` before `until`: however slowly the bytes drip, the command's time is one.
fn fill(stream: &mut Stream, buffer: &mut [u8], until: Instant, timeout: Duration) -> Result<(), TransportError> {
    let mut rest = buffer;
    while !rest.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(TransportError::TimedOut(timeout));
        }
        stream.set_timeout(left)?;
        match stream.read(rest) {
            Ok(0) => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
            Ok(count) => rest = rest.get_mut(count..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(late(error, timeout)),
        }
    }
    Ok(())
}

fn late(error: io::Error, timeout: Duration) -> TransportError {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => TransportError::TimedOut(timeout),
        _ => error.into(),
    }
}
