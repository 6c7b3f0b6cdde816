//! Just enough HTTP/1.1 for a load: one connection, one request at a time, answers with a length.
//! A full client would take half of the machine that is being measured.

use crate::Outcome;
use serde_json::Value;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection that stays open.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    token: String,
}

impl Client {
    pub async fn connect(address: SocketAddr) -> Outcome<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(4096),
            token: String::new(),
        })
    }

    /// Sends this access token with every request from now on.
    pub fn authenticate(&mut self, token: &str) {
        self.token = format!("Authorization: Bearer {token}\r\n");
    }

    pub async fn get(&mut self, path: &str) -> Outcome<Value> {
        self.request("GET", path, "").await
    }

    pub async fn post(&mut self, path: &str, body: &Value) -> Outcome<Value> {
        self.request("POST", path, &body.to_string()).await
    }

    /// The body of the answer; any status but 200 is an error.
    pub async fn request(&mut self, method: &str, path: &str, body: &str) -> Outcome<Value> {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: bench.test\r\n{}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.token,
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await?;
        self.buffer.clear();
        let (status, start, end) = loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err("the connection was closed".into());
            }
            if let Some(head) = head(&self.buffer)? {
                break head;
            }
        };
        while self.buffer.len() < end {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err("the answer was cut off".into());
            }
        }
        let body = self.buffer.get(start..end).unwrap_or_default();
        if status != 200 {
            return Err(format!("{method} {path}: {status} {}", String::from_utf8_lossy(body)).into());
        }
        Ok(serde_json::from_slice(body)?)
    }
}

/// Status, and where the body begins and ends; `None` while the head is not whole.
fn head(bytes: &[u8]) -> Outcome<Option<(u16, usize, usize)>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let text = std::str::from_utf8(bytes.get(..end).unwrap_or_default())?;
    let status = text.split(' ').nth(1).ok_or("no status")?.parse()?;
    let length = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length: usize = length.ok_or("an answer without a length")?.1.trim().parse()?;
    Ok(Some((status, end + 4, end + 4 + length)))
}
