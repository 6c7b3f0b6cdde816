//! Fetching one file from a server elsewhere: a GET on a connection that is open already. Redirects are not followed,
//! nothing is decoded, and a body without a length is refused.

use http::Uri;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};

/// Longest status or header line.
const LINE_BYTES_MAX: u64 = 8 << 10;
/// Most header lines.
const LINES_MAX: usize = 100;
/// Longest tag of a file's version.
const TAG_BYTES_MAX: usize = 256;

/// What is wanted.
#[derive(Debug, Clone, Copy)]
pub enum Wanted<'a> {
    /// All of it.
    Whole,
    /// All of it, unless it is still this version: RFC 9110, section 13.1.2.
    Unless(&'a str),
    /// What comes behind so many bytes of this version, or all of another one: RFC 9110, sections 13.1.5 and 14.2.
    Behind(u64, &'a str),
}

/// An answer.
pub enum Fetched {
    /// All of it.
    Whole(Content),
    /// What comes behind the bytes that are there.
    Rest(Content),
    /// It is still the same.
    Same,
}

/// Bytes that are still to be read.
pub struct Content {
    /// How many.
    pub bytes: u64,
    /// The version, if the server tells it so that it can be compared byte for byte (RFC 9110, section 8.8.3: a strong
    /// tag).
    pub tag: Option<String>,
    /// The bytes; ending early is an error, not an end.
    pub body: Box<dyn Read>,
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The connection.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The server answers something else.
    #[error("the server answers with status {0}")]
    Status(u16),
    /// Its answer is malformed.
    #[error("the server's answer is malformed: {0}")]
    Malformed(&'static str),
}

/// Asks for the file of an address.
///
/// # Errors
/// The connection fails, or the server gives no such file.
pub fn fetch(
    mut stream: impl Read + Write + 'static,
    address: &Uri,
    wanted: Wanted<'_>,
) -> Result<Fetched, FetchError> {
    let host = address.authority().ok_or(FetchError::Malformed("no host"))?;
    let target = address.path_and_query().map_or("/", |path| path.as_str());
    let condition = match wanted {
        Wanted::Whole => String::new(),
        Wanted::Unless(tag) => format!("If-None-Match: {tag}\r\n"),
        Wanted::Behind(bytes, tag) => format!("Range: bytes={bytes}-\r\nIf-Range: {tag}\r\n"),
    };
    let head = format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: identity\r\nConnection: close\r\n{condition}\r\n"
    );
    stream.write_all(head.as_bytes())?;
    stream.flush()?;
    let mut reader = BufReader::with_capacity(64 << 10, stream);
    let status = line(&mut reader)?;
    let status = status
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split(' ').nth(1)?.parse().ok());
    let status: u16 = status.ok_or(FetchError::Malformed("no status"))?;
    let (mut length, mut tag, mut range) = (None, None, None);
    for _ in 0..LINES_MAX {
        let line = line(&mut reader)?;
        let Some((name, value)) = line.split_once(':') else {
            return answer(status, wanted, length, tag, range.as_deref(), reader);
        };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok(),
            "transfer-encoding" => return Err(FetchError::Malformed("a body without a length")),
            "content-encoding" if value != "identity" => return Err(FetchError::Malformed("it is encoded")),
            "etag" if is_tag(value) => tag = Some(value.to_owned()),
            "content-range" => range = Some(value.to_owned()),
            _ => {}
        }
    }
    Err(FetchError::Malformed("too many headers"))
}

/// RFC 9110, section 8.8.3: `etagc = %x21 / %x23-7E`; weak tags (`W/…`) say nothing about bytes.
fn is_tag(value: &str) -> bool {
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    value.len() <= TAG_BYTES_MAX
        && inner.is_some_and(|inner| inner.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"'))
}

fn answer(
    status: u16,
    wanted: Wanted<'_>,
    length: Option<u64>,
    tag: Option<String>,
    range: Option<&str>,
    reader: BufReader<impl Read + 'static>,
) -> Result<Fetched, FetchError> {
    let content = |tag| {
        let bytes = length.ok_or(FetchError::Malformed("a body without a length"))?;
        let body = Box::new(Sized { reader, left: bytes });
        Ok(Content { bytes, tag, body })
    };
    match (status, wanted) {
        (200, _) => content(tag).map(Fetched::Whole),
        (304, Wanted::Unless(_)) => Ok(Fetched::Same),
        (206, Wanted::Behind(bytes, expected)) => {
            // RFC 9110, section 14.4: "bytes" SP first "-" last "/" complete.
            let begins = range.is_some_and(|range| range.starts_with(&format!("bytes {bytes}-")));
            if !begins || tag.as_deref().is_some_and(|tag| tag != expected) {
                return Err(FetchError::Malformed("another part than the one that was asked for"));
            }
            content(Some(expected.to_owned())).map(Fetched::Rest)
        }
        (status, _) => Err(FetchError::Status(status)),
    }
}

fn line(reader: &mut impl BufRead) -> Result<String, FetchError> {
    let mut line = Vec::new();
    reader.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(FetchError::Malformed("a line is too long or cut off"));
    }
    let line = String::from_utf8(line).map_err(|_| FetchError::Malformed("a header is not text"))?;
    Ok(line.trim_end().to_owned())
}

/// A body of known length; ending early is an error, not an end.
#[derive(Debug)]
pub struct Sized<R> {
    /// From where it is read.
    pub reader: R,
    /// Bytes that are still to come.
    pub left: u64,
}

impl<R: BufRead> Read for Sized<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let read = (&mut self.reader).take(self.left).read(buffer)?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;
    use std::io::Cursor;

    /// Answers what it was made with, whatever is asked.
    struct Canned(Cursor<Vec<u8>>);

    impl Read for Canned {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(buffer)
        }
    }

    impl Write for Canned {
        fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
            Ok(buffer.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn asked(answer: &[u8], wanted: Wanted<'_>) -> Result<Fetched, FetchError> {
        let address = Uri::from_static("https://a.example/b");
        fetch(Canned(Cursor::new(answer.to_vec())), &address, wanted)
    }

    #[test]
    fn answers_are_told_apart() {
        let whole = b"HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nContent-Length: 5\r\n\r\nhello";
        let Fetched::Whole(mut content) = asked(whole, Wanted::Behind(3, "\"v0\"")).unwrap() else {
            unreachable!("another version comes as a whole")
        };
        let mut text = String::new();
        content.body.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), content.tag.as_deref()), ("hello", Some("\"v1\"")));
        let short = asked(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", Wanted::Whole).unwrap();
        let Fetched::Whole(mut short) = short else {
            unreachable!()
        };
        assert!(short.body.read_to_string(&mut text).is_err(), "cut off");
        let same = asked(b"HTTP/1.1 304 Not Modified\r\n\r\n", Wanted::Unless("\"v1\""));
        assert!(matches!(same, Ok(Fetched::Same)));
        let rest = b"HTTP/1.1 206 Partial\r\nContent-Range: bytes 3-4/5\r\nContent-Length: 2\r\n\r\nlo";
        assert!(matches!(asked(rest, Wanted::Behind(3, "\"v1\"")), Ok(Fetched::Rest(_))));
        assert!(asked(rest, Wanted::Behind(2, "\"v1\"")).is_err(), "another part");
        assert!(asked(rest, Wanted::Whole).is_err(), "a part that nobody asked for");
        for wrong in [
            &b"HTTP/1.1 302 Found\r\nLocation: https://b/\r\n\r\n"[..],
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
            b"HTTP/1.1 200 OK\r\n\r\nx",
            b"",
        ] {
            assert!(
                asked(wrong, Wanted::Whole).is_err(),
                "{}",
                String::from_utf8_lossy(wrong)
            );
        }
        let weak = b"HTTP/1.1 200 OK\r\nETag: W/\"v1\"\r\nContent-Length: 0\r\n\r\n";
        assert!(matches!(asked(weak, Wanted::Whole), Ok(Fetched::Whole(content)) if content.tag.is_none()));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = asked(&bytes, Wanted::Whole).map(drop);
            let mut answer = b"HTTP/1.1 206 x\r\n".to_vec();
            answer.extend(bytes);
            let _ = asked(&answer, Wanted::Behind(1, "\"a\"")).map(drop);
        }
    }
}
