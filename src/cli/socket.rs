//! Talks to the running server: one HTTP/1.1 request a connection, through its Unix socket or, with `--server`, over TLS.
//!
//! Written by hand on a plain stream, so that a command starts no runtime. It reads only what our own server
//! sends: a status, headers, and a body with Content-Length or in chunks.

use super::{Failure, Place, Server};
use lamchat_http::fetch::Sized;
use serde_json::Value;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;
use zeroize::Zeroizing;

/// Longest answer that is held in memory.
const ANSWER_BYTES_MAX: u64 = 256 << 20;
/// Longest status or header line.
const LINE_BYTES_MAX: u64 = 16 << 10;
/// How long the server may be silent. Hashing a password or leaving a thousand rooms takes a while.
pub const SILENCE_MAX: Duration = Duration::from_secs(120);

/// Where the server of this command line listens.
pub fn path(place: &Place, server: &Server) -> Result<PathBuf, Failure> {
    if let Some(socket) = &server.socket {
        return Ok(socket.clone());
    }
    Ok(place.load()?.admin_socket())
}

/// An answer whose body is still to be read.
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    body: Box<dyn Read>,
}

impl Answer {
    /// The body as a stream; fails if the server refused.
    pub fn stream(self) -> Result<Box<dyn Read>, Failure> {
        if self.status == 200 {
            Ok(self.body)
        } else {
            self.json().map(|_| Box::new(std::io::empty()) as Box<dyn Read>)
        }
    }

    /// The body as JSON; a refusal becomes a failure with the server's own sentence.
    pub fn json(self) -> Result<Value, Failure> {
        let mut bytes = Vec::new();
        self.body.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes)?;
        let value: Value = if bytes.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&bytes).map_err(|error| format!("the server's answer is not JSON: {error}"))?
        };
        if self.status == 200 {
            return Ok(value);
        }
        let sentence = value
            .get("error")
            .and_then(Value::as_str)
            .unwrap_or("the server gave no reason");
        Err(Failure(match self.status {
            404 if value.get("errcode").and_then(Value::as_str) == Some("M_UNRECOGNIZED") => {
                format!(
                    "the server does not know this command ({sentence}): is it an older version, or are its keys locked (`lamchat health`)?"
                )
            }
            status if status >= 500 => format!("the server failed ({status}): {sentence}; its log says more"),
            _ => sentence.to_owned(),
        }))
    }
}

/// Sends a request and answers its JSON.
pub fn call(
    place: &Place,
    server: &Server,
    method: &str,
    target: &str,
    body: Option<&Value>,
) -> Result<Value, Failure> {
    send(place, server, method, target, body)?.json()
}

/// Everything that a paged route lists under `key`, page after page.
pub fn pages(place: &Place, server: &Server, route: &str, key: &str) -> Result<Vec<Value>, Failure> {
    let mut all = Vec::new();
    let mut from = 0;
    loop {
        let mut answer = call(place, server, "GET", &format!("{route}?from={from}"), None)?;
        if let Some(page) = answer.get_mut(key).and_then(Value::as_array_mut) {
            all.append(page);
        }
        match answer.get("next").and_then(Value::as_u64) {
            // A server that goes backwards would never end.
            Some(next) if next > from => from = next,
            _ => return Ok(all),
        }
    }
}

/// What a request carries.
pub enum Body<'a> {
    /// JSON, or nothing.
    Json(Option<&'a Value>),
    /// So many bytes from here.
    Bytes(&'a mut dyn Read, u64),
}

/// Sends a request.
pub fn send(
    place: &Place,
    server: &Server,
    method: &str,
    target: &str,
    body: Option<&Value>,
) -> Result<Answer, Failure> {
    transmit(place, server, method, target, Body::Json(body))
}

/// Sends a request with any body.
pub fn transmit(place: &Place, server: &Server, method: &str, target: &str, body: Body<'_>) -> Result<Answer, Failure> {
    if let Some(way) = place.distance.way()? {
        return way.send(method, target, body);
    }
    let path = path(place, server)?;
    let stream = UnixStream::connect(&path).map_err(|error| unreachable(&path, &error))?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    match request(stream, method, target, None, body) {
        Ok(answer) => Ok(answer),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe | ErrorKind::ConnectionReset
            ) =>
        {
            Err(format!(
                "the server closed the connection: it answers only the user that it runs as, and root ({error})"
            )
            .into())
        }
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Err(format!(
            "the server did not answer within {} s: see its log",
            SILENCE_MAX.as_secs()
        )
        .into()),
        Err(error) => Err(error.into()),
    }
}

/// Sends a request on any stream that leads to our own server, and answers what comes back.
pub fn request<S: Read + Write + 'static>(
    mut stream: S,
    method: &str,
    target: &str,
    access_token: Option<&str>,
    body: Body<'_>,
) -> std::io::Result<Answer> {
    let (json, length, kind) = match &body {
        Body::Json(json) => {
            let json = json.map(Value::to_string).unwrap_or_default();
            let length = json.len() as u64;
            (json, length, "application/json")
        }
        Body::Bytes(_, length) => (String::new(), *length, "application/octet-stream"),
    };
    let token = access_token.map(|token| Zeroizing::new(format!("Authorization: Bearer {token}\r\n")));
    let head = Zeroizing::new(format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {kind}\r\n{}Content-Length: {length}\r\n\r\n",
        token.as_ref().map_or("", |token| token.as_str()),
    ));
    stream.write_all(head.as_bytes())?;
    let sent = match body {
        Body::Json(_) => stream.write_all(json.as_bytes()),
        Body::Bytes(from, length) => match std::io::copy(&mut from.take(length), &mut stream) {
            Ok(sent) if sent < length => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        },
    };
    // A server may refuse, and close, before it has read everything: its answer says more than the broken pipe.
    match (sent.and_then(|()| stream.flush()), receive(stream)) {
        (_, Ok(answer)) => Ok(answer),
        (Err(error), _) | (Ok(()), Err(error)) => Err(error),
    }
}

fn unreachable(path: &std::path::Path, error: &std::io::Error) -> Failure {
    let path = path.display();
    Failure(match error.kind() {
        ErrorKind::NotFound => format!(
            "there is no server at {path}. Is it running? Start it with `lamchat serve`, or say where it is with --config FILE, --data-dir DIR or --socket FILE"
        ),
        ErrorKind::ConnectionRefused => {
            format!("the server of {path} is not running (it left its socket behind): start it with `lamchat serve`")
        }
        ErrorKind::PermissionDenied => {
            format!(
                "{path}: permission denied. Run this as the user that the server runs as, or as root: sudo -u lamchat lamchat …"
            )
        }
        _ => format!("{path}: {error}"),
    })
}

fn malformed(what: &str) -> std::io::Error {
    std::io::Error::new(
        ErrorKind::InvalidData,
        format!("the server's answer is malformed: {what}"),
    )
}

fn read_line(reader: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = String::new();
    reader.take(LINE_BYTES_MAX).read_line(&mut line)?;
    if !line.ends_with('\n') {
        return Err(if line.is_empty() {
            ErrorKind::UnexpectedEof.into()
        } else {
            malformed("a line is too long")
        });
    }
    Ok(line.trim_end().to_owned())
}

fn receive(stream: impl Read + 'static) -> std::io::Result<Answer> {
    let mut reader = BufReader::with_capacity(64 << 10, stream);
    let status = read_line(&mut reader)?;
    let status = status
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| malformed("no status"))?;
    let (mut length, mut chunked) = (None, false);
    loop {
        let line = read_line(&mut reader)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse::<u64>().ok(),
            "transfer-encoding" => chunked = value.trim().eq_ignore_ascii_case("chunked"),
            _ => {}
        }
    }
    let body: Box<dyn Read> = match length {
        _ if chunked => Box::new(Chunks {
            reader,
            left: 0,
            started: false,
            ended: false,
        }),
        Some(length) => Box::new(Sized { reader, left: length }),
        None => Box::new(reader),
    };
    Ok(Answer { status, body })
}

/// RFC 9112, section 7.1: "chunk = chunk-size [ chunk-ext ] CRLF chunk-data CRLF", ended by a chunk of size 0.
struct Chunks<R> {
    reader: R,
    left: u64,
    started: bool,
    ended: bool,
}

impl<R: BufRead> Read for Chunks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.ended || buffer.is_empty() {
            return Ok(0);
        }
        if self.left == 0 {
            if self.started && !read_line(&mut self.reader)?.is_empty() {
                return Err(malformed("a chunk is longer than its size"));
            }
            self.started = true;
            let line = read_line(&mut self.reader)?;
            let size = line.split(';').next().unwrap_or_default().trim();
            self.left = u64::from_str_radix(size, 16).map_err(|_| malformed("a chunk has no size"))?;
            if self.left == 0 {
                // Trailers, if any, up to the empty line.
                while !read_line(&mut self.reader)?.is_empty() {}
                self.ended = true;
                return Ok(0);
            }
        }
        let read = (&mut self.reader).take(self.left).read(buffer)?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        Ok(read)
    }
}

/// `text` as one segment or value of a request's target.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{Chunks, Sized, escape};
    use std::io::Read;

    fn chunks(text: &str) -> std::io::Result<String> {
        let mut out = String::new();
        Chunks {
            reader: text.as_bytes(),
            left: 0,
            started: false,
            ended: false,
        }
        .read_to_string(&mut out)?;
        Ok(out)
    }

    #[test]
    fn chunks_are_joined() {
        assert_eq!(
            chunks("3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n").unwrap(),
            "abc0123456789"
        );
        assert!(chunks("3\r\nabc\r\n").is_err(), "an answer that is cut off is an error");
        assert!(chunks("3\r\nab").is_err());
        assert!(chunks("x\r\n").is_err());
    }

    #[test]
    fn a_short_body_is_an_error() {
        let mut out = Vec::new();
        assert!(
            Sized {
                reader: &b"ab"[..],
                left: 3
            }
            .read_to_end(&mut out)
            .is_err()
        );
        assert_eq!(
            Sized {
                reader: &b"abc"[..],
                left: 2
            }
            .read_to_end(&mut Vec::new())
            .unwrap(),
            2
        );
    }

    #[test]
    fn targets_are_escaped() {
        assert_eq!(escape("@a/b c:ä"), "%40a%2Fb%20c%3A%C3%A4");
    }
}
