//! A client's TCP connection over the cables (RFC 9293), as far as no frame is lost: nothing is sent twice, and what comes a
//! second time is known already.

use super::Wire;
use super::frame::{ACK, FIN, PSH, RST, SYN, Transport};
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::net::SocketAddr;
use std::time::Duration;

/// How long the box may be silent; it is emulated.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes of a segment: RFC 9293, section 3.7.1, has 1,220 for IPv6 by default.
const SEGMENT_BYTES: usize = 1_000;

/// An open connection. The cables are its own meanwhile, and hear all the same.
pub struct Connection<'w> {
    wire: &'w mut Wire,
    to: SocketAddr,
    from: u16,
    /// The number of the next byte that is sent.
    next: u32,
    /// The number of the next byte that the box sends.
    expected: u32,
    /// Frames that were looked at.
    seen: usize,
    received: Vec<u8>,
    has_ended: bool,
}

impl<'w> Connection<'w> {
    /// Opens one.
    pub fn open(wire: &'w mut Wire, to: SocketAddr) -> Result<Self> {
        let from = wire.fresh_port();
        wire.neighbours.connected.push(from);
        let mut connection = Self {
            seen: wire.heard.len(),
            wire,
            to,
            from,
            next: 1,
            expected: 0,
            received: Vec::new(),
            has_ended: false,
        };
        connection.send(SYN, &[]);
        connection.next += 1;
        connection.until(|connection| connection.expected != 0)?;
        Ok(connection)
    }

    fn send(&mut self, flags: u8, payload: &[u8]) {
        let numbers = (self.next, self.expected);
        let segment = self.wire.neighbours.tcp(self.to, self.from, flags, numbers, payload);
        self.wire.send(&segment.unwrap());
    }

    fn until(&mut self, is_so: impl Fn(&Self) -> bool) -> Result<()> {
        let end = std::time::Instant::now() + PATIENCE;
        loop {
            self.take()?;
            if is_so(self) {
                return Ok(());
            }
            if std::time::Instant::now() > end {
                return Err(ErrorKind::TimedOut.into());
            }
            self.wire.run(Duration::from_millis(5));
        }
    }

    /// Takes in what the box has sent since.
    fn take(&mut self) -> Result<()> {
        let frames: Vec<_> = self
            .wire
            .heard
            .iter()
            .skip(self.seen)
            .map(|(_, frame)| frame.clone())
            .collect();
        self.seen += frames.len();
        for frame in frames {
            let Some(Transport::Tcp {
                source,
                destination,
                flags,
                sequence,
                payload,
            }) = frame.transport_from(self.to.ip())
            else {
                continue;
            };
            if (source, destination) != (self.to.port(), self.from) {
                continue;
            }
            if flags & RST != 0 {
                return Err(ErrorKind::ConnectionReset.into());
            }
            if flags & SYN != 0 {
                self.expected = sequence.wrapping_add(1);
            } else if sequence == self.expected {
                self.expected = sequence.wrapping_add(u32::try_from(payload.len()).unwrap());
                self.received.extend(&payload);
                if flags & FIN != 0 {
                    self.expected = self.expected.wrapping_add(1);
                    self.has_ended = true;
                }
            }
            if flags & (SYN | FIN) != 0 || !payload.is_empty() {
                self.send(ACK, &[]);
            }
        }
        Ok(())
    }
}

impl Read for Connection<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.until(|connection| !connection.received.is_empty() || connection.has_ended)?;
        let length = buffer.len().min(self.received.len());
        let part: Vec<u8> = self.received.drain(..length).collect();
        buffer
            .get_mut(..length)
            .ok_or(ErrorKind::InvalidInput)?
            .copy_from_slice(&part);
        Ok(length)
    }
}

impl Write for Connection<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        if self.has_ended {
            return Err(Error::from(ErrorKind::BrokenPipe));
        }
        let part = bytes.get(..SEGMENT_BYTES).unwrap_or(bytes);
        self.send(PSH | ACK, part);
        self.next = self.next.wrapping_add(u32::try_from(part.len()).unwrap());
        Ok(part.len())
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Drop for Connection<'_> {
    fn drop(&mut self) {
        self.send(FIN | ACK, &[]);
        self.next = self.next.wrapping_add(1);
    }
}
