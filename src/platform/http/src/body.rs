//! Bodies: bounded reading of what comes in, and splicing or streaming of what goes out.

use crate::activity::InFlight;
use bytes::{Buf, Bytes, BytesMut};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// Why a request's body could not be read to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// More than the route takes: 413 `M_TOO_LARGE`.
    #[error("the body is larger than {limit} bytes")]
    TooLarge {
        /// The route's limit in bytes.
        limit: u64,
    },
    /// It did not arrive in time: 408.
    #[error("the body did not arrive in time")]
    TooSlow,
    /// The connection ended, or the framing is broken.
    #[error("the body ended early")]
    Broken,
}

/// Reads a request's body piece by piece, never more than the route's limit, never slower than the limits of time.
#[derive(Debug)]
pub struct BodyReader {
    source: Source,
    read: u64,
    limit: u64,
    /// How long one piece may take.
    pause: Duration,
    /// When all of it must be there.
    deadline: Option<Instant>,
}

#[derive(Debug)]
enum Source {
    Network(Box<Incoming>),
    Memory(Bytes),
}

impl BodyReader {
    /// A reader of bytes that are already there; for tests and for routes that take either form.
    pub fn of(bytes: Bytes) -> Self {
        let limit = bytes.len() as u64;
        Self {
            source: Source::Memory(bytes),
            read: 0,
            limit,
            pause: Duration::MAX,
            deadline: None,
        }
    }

    pub(crate) fn network(incoming: Incoming, limit: u64, pause: Duration, deadline: Instant) -> Self {
        Self {
            source: Source::Network(Box::new(incoming)),
            read: 0,
            limit,
            pause,
            deadline: Some(deadline),
        }
    }

    /// The length that the client announced, if it did.
    pub fn announced(&self) -> Option<u64> {
        match &self.source {
            Source::Network(incoming) => incoming.size_hint().exact(),
            Source::Memory(bytes) => Some(bytes.len() as u64),
        }
    }

    /// The next piece, or `None` at the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, BodyError> {
        let incoming = match &mut self.source {
            Source::Memory(bytes) if bytes.is_empty() => return Ok(None),
            Source::Memory(bytes) => return Ok(Some(std::mem::take(bytes))),
            Source::Network(incoming) => incoming,
        };
        // What was announced as too large is refused before a byte of it is read.
        if incoming.size_hint().lower().saturating_add(self.read) > self.limit {
            return Err(BodyError::TooLarge { limit: self.limit });
        }
        loop {
            if incoming.is_end_stream() {
                return Ok(None);
            }
            let frame = {
                let mut next = std::pin::pin!(next_frame(incoming));
                // A first poll without a timer: mostly the bytes are already there.
                match std::future::poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx))).await {
                    Poll::Ready(frame) => frame,
                    Poll::Pending => {
                        let mut until = Instant::now() + self.pause;
                        if let Some(deadline) = self.deadline {
                            until = until.min(deadline);
                        }
                        tokio::time::timeout_at(until, next)
                            .await
                            .map_err(|_| BodyError::TooSlow)?
                    }
                }
            };
            let Some(frame) = frame else { return Ok(None) };
            // Trailers mean nothing to us.
            let Ok(data) = frame.map_err(|_| BodyError::Broken)?.into_data() else {
                continue;
            };
            self.read = self.read.saturating_add(data.len() as u64);
            if self.read > self.limit {
                return Err(BodyError::TooLarge { limit: self.limit });
            }
            if !data.is_empty() {
                return Ok(Some(data));
            }
        }
    }

    /// All that is left, in one piece of memory: only for limits that memory can bear.
    pub async fn collect(&mut self) -> Result<Bytes, BodyError> {
        let Some(first) = self.chunk().await? else {
            return Ok(Bytes::new());
        };
        let Some(second) = self.chunk().await? else {
            return Ok(first);
        };
        let mut all = BytesMut::with_capacity((first.len() + second.len()) * 2);
        all.extend_from_slice(&first);
        all.extend_from_slice(&second);
        while let Some(next) = self.chunk().await? {
            all.extend_from_slice(&next);
        }
        Ok(all.freeze())
    }

    /// Reads up to `bytes_max` bytes within `time_max` and throws them away, so that a client that is still
    /// sending hears the refusal instead of a reset connection.
    pub async fn discard(&mut self, bytes_max: u64, time_max: Duration) {
        self.limit = self.read.saturating_add(bytes_max);
        self.deadline = Some(Instant::now() + time_max);
        while let Ok(Some(_)) = self.chunk().await {}
    }
}

async fn next_frame(incoming: &mut Incoming) -> Option<Result<Frame<Bytes>, hyper::Error>> {
    std::future::poll_fn(|cx| Pin::new(&mut *incoming).poll_frame(cx)).await
}

/// The body of an answer.
#[derive(Debug, Default)]
pub enum Body {
    /// Nothing.
    #[default]
    Empty,
    /// One piece.
    Full(Bytes),
    /// Pieces that are written one after the other without being copied together first.
    Chunks(Vec<Bytes>),
    /// Pieces that come while the answer is being sent. See [`Body::stream`].
    Stream(BodyStream),
}

/// The receiving end of a streamed answer.
#[derive(Debug)]
pub struct BodyStream {
    pieces: mpsc::Receiver<Result<Bytes, std::io::Error>>,
    length: Option<u64>,
}

/// Feeds a streamed answer. Dropping it ends the body; an `Err` piece breaks the connection off,
/// so that the client sees that something is missing.
pub type BodySender = mpsc::Sender<Result<Bytes, std::io::Error>>;

impl Body {
    /// A body that `BodySender` feeds, at most `pieces_max` pieces ahead of the network. `length` becomes Content-Length.
    pub fn stream(pieces_max: usize, length: Option<u64>) -> (BodySender, Self) {
        let (sender, pieces) = mpsc::channel(pieces_max);
        (sender, Self::Stream(BodyStream { pieces, length }))
    }

    /// How many bytes it has, if that is known.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Full(bytes) => Some(bytes.len() as u64),
            Self::Chunks(chunks) => Some(chunks.iter().map(|chunk| chunk.len() as u64).sum()),
            Self::Stream(stream) => stream.length,
        }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Full(bytes.into())
    }
}

impl From<&'static [u8]> for Body {
    fn from(bytes: &'static [u8]) -> Self {
        Self::Full(Bytes::from_static(bytes))
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::Full(bytes)
    }
}

/// Several pieces as one buffer, so that a spliced answer is one frame and one vectored write.
pub(crate) struct Splice {
    front: Bytes,
    rest: std::vec::IntoIter<Bytes>,
    remaining: usize,
}

impl Splice {
    fn one(front: Bytes) -> Self {
        let remaining = front.len();
        Self {
            front,
            rest: Vec::new().into_iter(),
            remaining,
        }
    }

    fn many(chunks: Vec<Bytes>) -> Self {
        let remaining = chunks.iter().map(Bytes::len).sum();
        let mut splice = Self {
            front: Bytes::new(),
            rest: chunks.into_iter(),
            remaining,
        };
        splice.skip_empty();
        splice
    }

    fn skip_empty(&mut self) {
        while self.front.is_empty() {
            match self.rest.next() {
                Some(next) => self.front = next,
                None => return,
            }
        }
    }
}

impl Buf for Splice {
    fn remaining(&self) -> usize {
        self.remaining
    }

    fn chunk(&self) -> &[u8] {
        &self.front
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pieces = std::iter::once(&self.front)
            .chain(self.rest.as_slice())
            .filter(|piece| !piece.is_empty());
        let mut filled = 0;
        for (slice, piece) in slices.iter_mut().zip(pieces) {
            *slice = IoSlice::new(piece);
            filled += 1;
        }
        filled
    }

    fn advance(&mut self, mut count: usize) {
        self.remaining = self.remaining.saturating_sub(count);
        while count > 0 {
            let step = count.min(self.front.len());
            if step == 0 {
                return;
            }
            self.front.advance(step);
            count -= step;
            self.skip_empty();
        }
    }
}

/// What hyper is given.
pub(crate) struct Outgoing {
    what: What,
    /// Its request is in flight until hyper has taken the last piece.
    _in_flight: Option<InFlight>,
}

enum What {
    Ready(Option<Splice>),
    Stream(BodyStream),
}

impl Outgoing {
    pub(crate) fn until_its_end(self, in_flight: InFlight) -> Self {
        Self {
            _in_flight: Some(in_flight),
            ..self
        }
    }
}

impl From<Body> for Outgoing {
    fn from(body: Body) -> Self {
        let what = match body {
            Body::Empty => What::Ready(None),
            Body::Full(bytes) if bytes.is_empty() => What::Ready(None),
            Body::Full(bytes) => What::Ready(Some(Splice::one(bytes))),
            Body::Chunks(chunks) => {
                let splice = Splice::many(chunks);
                What::Ready((splice.remaining > 0).then_some(splice))
            }
            Body::Stream(stream) => What::Stream(stream),
        };
        Self { what, _in_flight: None }
    }
}

impl HttpBody for Outgoing {
    type Data = Splice;
    type Error = std::io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Splice>, std::io::Error>>> {
        match &mut self.get_mut().what {
            What::Ready(splice) => Poll::Ready(splice.take().map(|splice| Ok(Frame::data(splice)))),
            What::Stream(stream) => stream
                .pieces
                .poll_recv(cx)
                .map(|piece| piece.map(|piece| piece.map(|bytes| Frame::data(Splice::one(bytes))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.what, What::Ready(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.what {
            What::Ready(splice) => SizeHint::with_exact(splice.as_ref().map_or(0, |splice| splice.remaining as u64)),
            What::Stream(stream) => stream.length.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BodyReader, Splice};
    use bytes::{Buf, Bytes};

    #[test]
    fn a_splice_reads_like_its_pieces_in_a_row() {
        let pieces = ["", "ab", "", "c", "defg", ""].map(|piece| Bytes::from_static(piece.as_bytes()));
        for step in 1..9 {
            let mut splice = Splice::many(pieces.to_vec());
            let mut all = Vec::new();
            assert_eq!(splice.remaining(), 7);
            while splice.has_remaining() {
                let take = step.min(splice.remaining());
                let mut part = vec![0; take];
                splice.copy_to_slice(&mut part);
                all.extend(part);
            }
            assert_eq!(all, b"abcdefg");
        }
        let mut slices = [std::io::IoSlice::new(b""); 8];
        assert_eq!(Splice::many(pieces.to_vec()).chunks_vectored(&mut slices), 3);
    }

    #[tokio::test]
    async fn bytes_in_memory_read_as_one_piece() {
        let mut reader = BodyReader::of(Bytes::from_static(b"hello"));
        assert_eq!(reader.announced(), Some(5));
        assert_eq!(reader.chunk().await, Ok(Some(Bytes::from_static(b"hello"))));
        assert_eq!(reader.chunk().await, Ok(None));
    }
}
