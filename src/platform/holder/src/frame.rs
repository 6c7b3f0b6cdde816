//! Frames on the stream: a length, then so many bytes.

use lamchat_attestation::limits::FILE_BYTES_MAX;
use std::io::{self, Read, Write};
use zeroize::Zeroizing;

/// Most bytes of a frame behind its length: evidence with the largest event log of a firmware fits, and sentences.
pub const FRAME_BYTES_MAX: usize = FILE_BYTES_MAX + 131_072;
/// Version and kind.
const FRAME_BYTES_MIN: usize = 2;

/// Why no frame was read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The length is out of range.
    #[error("a frame of {0} bytes")]
    Length(usize),
    /// The other end is gone.
    #[error("the other end is gone")]
    Ended,
    /// The stream failed.
    #[error("the stream failed: {0}")]
    Io(#[from] io::Error),
}

/// The next frame, which may hold keys; [`FrameError::Ended`] if the stream ends before it begins.
pub(crate) fn read(stream: &mut impl Read) -> Result<Zeroizing<Vec<u8>>, FrameError> {
    let mut length = [0u8; 4];
    match stream.read_exact(&mut length) {
        Err(error) if is_end(&error) => return Err(FrameError::Ended),
        other => other?,
    }
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if !(FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&length) {
        return Err(FrameError::Length(length));
    }
    let mut frame = Zeroizing::new(vec![0u8; length]);
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

/// Sends a frame.
pub(crate) fn write(stream: &mut impl Write, frame: &[u8]) -> Result<(), FrameError> {
    if !(FRAME_BYTES_MIN..=FRAME_BYTES_MAX).contains(&frame.len()) {
        return Err(FrameError::Length(frame.len()));
    }
    let sent = stream
        .write_all(&(frame.len() as u32).to_be_bytes())
        .and_then(|()| stream.write_all(frame))
        .and_then(|()| stream.flush());
    sent.map_err(|error| {
        if is_end(&error) {
            FrameError::Ended
        } else {
            error.into()
        }
    })
}

fn is_end(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | BrokenPipe | ConnectionReset)
}
