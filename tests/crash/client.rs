//! A blocking HTTP/1.1 client over one kept-alive connection. It tells a lost connection from an error answer.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Why there was no good answer.
#[derive(Debug)]
pub enum Failure {
    /// The connection broke: whether the request took effect is unknown.
    Gone,
    /// The server answered with an error.
    Status(u16, String),
}

impl From<std::io::Error> for Failure {
    fn from(_: std::io::Error) -> Self {
        Self::Gone
    }
}

pub struct Client {
    stream: BufReader<TcpStream>,
}

/// Percent-encodes what a path segment or a query value may not carry as it is.
pub fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

impl Client {
    pub fn connect(address: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    fn raw(&mut self, method: &str, path: &str, token: &str, kind: &str, body: &[u8]) -> Result<Vec<u8>, Failure> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.stream.get_mut().write_all(head.as_bytes())?;
        self.stream.get_mut().write_all(body)?;
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(Failure::Gone);
        }
        let status: u16 = line
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .ok_or(Failure::Gone)?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(Failure::Gone);
            }
            match line.trim_end().split_once(':') {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.trim().parse().unwrap()
                }
                Some((name, _)) if name.eq_ignore_ascii_case("transfer-encoding") => {
                    panic!("an answer without a length")
                }
                Some(_) => {}
                None => break,
            }
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer)?;
        if status == 200 {
            Ok(answer)
        } else {
            Err(Failure::Status(status, String::from_utf8_lossy(&answer).into_owned()))
        }
    }

    pub fn json(&mut self, method: &str, path: &str, token: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let answer = self.raw(method, path, token, "application/json", body.as_bytes())?;
        Ok(serde_json::from_slice(&answer).unwrap())
    }

    /// Makes an account (registration is open) and gives its access token.
    pub fn register(&mut self, name: &str) -> String {
        let body = json!({"username": name, "password": "correct horse battery", "auth": {"type": "m.login.dummy"}});
        let answer = self
            .json("POST", "/_matrix/client/v3/register", "", Some(&body))
            .unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    pub fn upload(&mut self, token: &str, content: &[u8]) -> Result<String, Failure> {
        let answer = self.raw(
            "POST",
            "/_matrix/media/v3/upload",
            token,
            "application/octet-stream",
            content,
        )?;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        Ok(answer["content_uri"].as_str().unwrap().to_owned())
    }

    pub fn download(&mut self, token: &str, url: &str) -> Result<Vec<u8>, Failure> {
        let path = format!(
            "/_matrix/client/v1/media/download/{}",
            url.strip_prefix("mxc://").unwrap()
        );
        self.raw("GET", &path, token, "application/octet-stream", b"")
    }
}
