//! What goes between whoever wants files of a stick and the process that has it.
//!
//! A frame is a byte that tells its kind, its length as four bytes (big-endian), and so many bytes:
//!
//! | kind | bytes |
//! | --- | --- |
//! | `0x01` | JSON: a request, or the answer to one |
//! | `0x02` | content of a file, at most 64 KiB |
//! | `0x03` | none: the content's end |
//!
//! Each request is answered before the next one. After `read` come the answer `file`, content and its end, or `failed` in
//! the place of any of these. After `write` comes `ready`, or `failed`; then whoever asked sends content and its end, and
//! gets `done` or `failed`.

use serde::{Deserialize, Serialize};
use std::io::{Error, ErrorKind, Read, Write};

/// Bytes of content in a frame.
pub(crate) const CHUNK: usize = 64 << 10;
/// Longest frame of JSON: a folder with its longest names.
const JSON_BYTES_MAX: usize = 2 << 20;
const JSON: u8 = 1;
const CONTENT: u8 = 2;
const END: u8 = 3;

/// What is wanted.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Request {
    /// What the stick is.
    About,
    /// The names in a folder.
    List { path: String },
    /// A file's content, if it has no more bytes than these.
    Read { path: String, bytes_max: u64 },
    /// A new file.
    Write { path: String },
    /// A new folder.
    MakeFolder { path: String },
    /// Everything on the stick for good; the last request.
    Close,
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Answer {
    About(About),
    Entries { entries: Vec<Entry> },
    File { bytes: u64 },
    Ready,
    Done,
    Failed { reason: String },
}

/// What a stick is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// `FAT16` or `FAT32`.
    pub kind: String,
    /// Its name, which may be empty.
    pub label: String,
    /// Bytes for files and folders.
    pub bytes: u64,
    /// How many of them are free.
    pub free: u64,
}

/// A name in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The name; anything that a stick may say.
    pub name: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// Whether it is a folder.
    pub is_folder: bool,
}

/// A frame as it was read.
#[derive(Debug)]
pub(crate) enum Frame {
    Json(Vec<u8>),
    Content(Vec<u8>),
    End,
}

fn send(stream: &mut impl Write, kind: u8, bytes: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| ErrorKind::InvalidInput)?;
    let mut frame = Vec::with_capacity(5 + bytes.len());
    frame.push(kind);
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(bytes);
    stream.write_all(&frame)
}

pub(crate) fn send_json(stream: &mut impl Write, what: &impl Serialize) -> std::io::Result<()> {
    let json = serde_json::to_vec(what)?;
    if json.len() > JSON_BYTES_MAX {
        return Err(ErrorKind::InvalidData.into());
    }
    send(stream, JSON, &json)
}

pub(crate) fn send_content(stream: &mut impl Write, bytes: &[u8]) -> std::io::Result<()> {
    bytes.chunks(CHUNK).try_for_each(|chunk| send(stream, CONTENT, chunk))
}

pub(crate) fn send_end(stream: &mut impl Write) -> std::io::Result<()> {
    send(stream, END, &[])
}

/// The next frame; `None` where the other side has ended.
pub(crate) fn receive(stream: &mut impl Read) -> std::io::Result<Option<Frame>> {
    let mut kind = [0];
    if stream.read(&mut kind)? == 0 {
        return Ok(None);
    }
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(|_| ErrorKind::InvalidData)?;
    let (most, kind) = match kind {
        [JSON] => (JSON_BYTES_MAX, JSON),
        [CONTENT] => (CHUNK, CONTENT),
        [END] => (0, END),
        _ => return Err(malformed()),
    };
    if length > most {
        return Err(malformed());
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes)?;
    Ok(Some(match kind {
        JSON => Frame::Json(bytes),
        CONTENT => Frame::Content(bytes),
        _ => Frame::End,
    }))
}

pub(crate) fn malformed() -> Error {
    Error::new(ErrorKind::InvalidData, "what came is not of this protocol")
}
