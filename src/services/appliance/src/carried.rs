//! A backup that another process has: what reads it gets no files, only what it asks for, and whoever has them knows
//! nothing of what is in them. On a box the one is confined, and the other is process 1, which has a stick's.
//!
//! A frame is a byte that tells its kind, its length as four bytes (big-endian), and so many bytes:
//!
//! | from | kind | bytes |
//! | --- | --- | --- |
//! | reader | 1 length | a file's name, at most 64 bytes |
//! | reader | 2 begin | a file's name |
//! | reader | 3 more | none |
//! | reader | 4 outcome | JSON: [`Outcome`]; the last frame |
//! | carrier | 1 length | eight bytes |
//! | carrier | 2 begun | none |
//! | carrier | 3 content | at most 256 KiB; none: the file's end |
//! | carrier | 4 absent | none: there is no such file |
//! | carrier | 5 refused | why, in UTF-8 |
//!
//! Each frame of the reader's but the last is answered before the next one.

use crate::rack::Rack;
use crate::restore::{Beginning, Restored};
use serde::{Deserialize, Serialize};
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::unix::net::UnixStream;

/// Content of a frame, in bytes.
const CHUNK: usize = 256 << 10;
/// Longest name of a file, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Longest outcome: a keyring with all of its slots and keys, in decimal digits.
const OUTCOME_BYTES_MAX: usize = 4 << 20;

/// How the reading ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Outcome {
    /// [`crate::beginning`].
    Beginning {
        /// The keyring, which nothing has authenticated.
        keyring: Vec<u8>,
        /// Bytes of all parts.
        bytes: u64,
    },
    /// [`crate::restore_under`].
    Restored {
        /// Whose backup it is.
        server_name: String,
        /// When it was made, in milliseconds since 1970.
        created_ms: u64,
        /// Rows of the database.
        rows: u64,
        /// Bytes of media.
        media_bytes: u64,
        /// Media that were not in it.
        media_missing: u64,
    },
    /// Neither: a sentence for the operator.
    Failed {
        /// Why.
        reason: String,
    },
}

impl From<Beginning> for Outcome {
    fn from(Beginning { keyring, bytes }: Beginning) -> Self {
        Self::Beginning { keyring, bytes }
    }
}

impl From<Restored> for Outcome {
    fn from(restored: Restored) -> Self {
        Self::Restored {
            server_name: restored.server_name,
            created_ms: restored.created_ms,
            rows: restored.counts.rows,
            media_bytes: restored.counts.media_bytes,
            media_missing: restored.counts.media_missing,
        }
    }
}

const LENGTH: u8 = 1;
const BEGIN: u8 = 2;
const MORE: u8 = 3;
const OUTCOME: u8 = 4;
const BEGUN: u8 = 2;
const CONTENT: u8 = 3;
const ABSENT: u8 = 4;
const REFUSED: u8 = 5;

fn send(mut stream: &UnixStream, kind: u8, bytes: &[u8]) -> Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| ErrorKind::InvalidInput)?;
    let mut frame = Vec::with_capacity(5 + bytes.len());
    frame.push(kind);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(bytes);
    stream.write_all(&frame)
}

fn receive(mut stream: &UnixStream, bytes_max: usize) -> Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    stream.read_exact(&mut head)?;
    let [kind, length @ ..] = head;
    let length = u32::from_be_bytes(length) as usize;
    if length > bytes_max {
        return Err(malformed());
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok((kind, bytes))
}

fn malformed() -> Error {
    Error::new(ErrorKind::InvalidData, "what comes is not as documented")
}

/// The reader's side.
#[derive(Debug)]
pub struct Carried {
    stream: UnixStream,
    chunk: Vec<u8>,
    at: usize,
    has_ended: bool,
}

impl Carried {
    /// Over the socket whose other end the carrier has.
    pub fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            chunk: Vec::new(),
            at: 0,
            has_ended: true,
        }
    }

    fn ask(&self, kind: u8, name: &str, answer: u8) -> Result<Vec<u8>> {
        send(&self.stream, kind, name.as_bytes())?;
        match receive(&self.stream, CHUNK)? {
            (kind, bytes) if kind == answer => Ok(bytes),
            (ABSENT, _) => Err(ErrorKind::NotFound.into()),
            (REFUSED, why) => Err(Error::other(String::from_utf8_lossy(&why).into_owned())),
            _ => Err(malformed()),
        }
    }

    /// Tells how it ended.
    pub fn end(self, outcome: &Outcome) -> Result<()> {
        send(&self.stream, OUTCOME, &serde_json::to_vec(outcome)?)
    }
}

impl Rack for Carried {
    fn length(&mut self, name: &str) -> Result<u64> {
        let bytes = self.ask(LENGTH, name, LENGTH)?;
        bytes.try_into().map(u64::from_be_bytes).map_err(|_| malformed())
    }

    fn begin(&mut self, name: &str) -> Result<()> {
        self.ask(BEGIN, name, BEGUN)?;
        (self.at, self.has_ended) = (0, false);
        self.chunk.clear();
        Ok(())
    }
}

impl Read for Carried {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if self.at == self.chunk.len() && !self.has_ended && !buffer.is_empty() {
            self.chunk = self.ask(MORE, "", CONTENT)?;
            (self.at, self.has_ended) = (0, self.chunk.is_empty());
        }
        let rest = self.chunk.get(self.at..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(rest) {
            *to = *from;
        }
        self.at += length;
        Ok(length)
    }
}

/// The carrier's side: answers the reader from `rack` until its outcome. `progress` hears what it does, as often as it
/// does something. An error of the rack is told to the reader, which gives up then and says so.
pub fn carry(stream: &UnixStream, rack: &mut dyn Rack, progress: &mut dyn FnMut(Step<'_>)) -> Result<Outcome> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let (kind, bytes) = receive(stream, OUTCOME_BYTES_MAX)?;
        if kind == OUTCOME {
            return serde_json::from_slice(&bytes).map_err(Error::from);
        }
        if bytes.len() > NAME_BYTES_MAX {
            return Err(malformed());
        }
        let name = std::str::from_utf8(&bytes).map_err(|_| malformed())?;
        let answered = match kind {
            LENGTH => rack.length(name).map(|length| (LENGTH, length.to_be_bytes().to_vec())),
            BEGIN => rack.begin(name).map(|()| {
                progress(Step::Begins(name));
                (BEGUN, Vec::new())
            }),
            MORE => rack.read(&mut chunk).map(|length| {
                progress(Step::Bytes(length));
                (CONTENT, chunk.get(..length).unwrap_or_default().to_vec())
            }),
            _ => return Err(malformed()),
        };
        match answered {
            Ok((kind, answer)) => send(stream, kind, &answer)?,
            Err(error) if error.kind() == ErrorKind::NotFound => send(stream, ABSENT, &[])?,
            Err(error) => send(stream, REFUSED, error.to_string().as_bytes())?,
        }
    }
}

/// What the reader does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step<'n> {
    /// It begins this file.
    Begins(&'n str),
    /// It gets so many bytes of it.
    Bytes(usize),
}
