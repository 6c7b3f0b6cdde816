//! A small HTTP/1.1 client on one connection, which trusts one authority and nobody else.

use super::{PATIENCE, text};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// An HTTP/1.1 client on one connection, reopened when the server closed it.
pub struct Client {
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    connection: Option<BufReader<Box<dyn Stream>>>,
    /// Sent as `Authorization: Bearer`.
    pub token: Option<String>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// Headers, names in small letters.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The JSON of a success.
    #[track_caller]
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", text(&self.body));
        self.json()
    }

    /// Status and errcode of a refusal.
    pub fn refusal(&self) -> (u16, String) {
        (
            self.status,
            self.json()["errcode"].as_str().unwrap_or_default().to_owned(),
        )
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

impl Client {
    /// To a server's URL; with an authority over TLS.
    pub fn new(url: &str, authority_pem: Option<&str>) -> Self {
        let (host, port) = url.split_once("://").unwrap().1.rsplit_once(':').unwrap();
        let tls = authority_pem.map(|pem| Arc::new(trusting(pem)));
        Self {
            host: host.to_owned(),
            port: port.parse().unwrap(),
            tls,
            connection: None,
            token: None,
        }
    }

    /// The same server, another connection.
    pub fn another(&self) -> Self {
        Self {
            host: self.host.clone(),
            port: self.port,
            tls: self.tls.clone(),
            connection: None,
            token: self.token.clone(),
        }
    }

    fn connect(&self) -> std::io::Result<BufReader<Box<dyn Stream>>> {
        let tcp = TcpStream::connect(("127.0.0.1", self.port))?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(PATIENCE))?;
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(tcp),
            Some(config) => {
                let name = ServerName::try_from(self.host.clone()).map_err(std::io::Error::other)?;
                let connection = ClientConnection::new(Arc::clone(config), name).map_err(std::io::Error::other)?;
                let mut stream = StreamOwned::new(connection, tcp);
                // A certificate that is not trusted shows here.
                stream.conn.complete_io(&mut stream.sock)?;
                Box::new(stream)
            }
        };
        Ok(BufReader::new(stream))
    }

    /// The certificate that the server shows.
    pub fn server_certificate(&self) -> Vec<u8> {
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let name = ServerName::try_from(self.host.clone()).unwrap();
        let connection = ClientConnection::new(Arc::clone(self.tls.as_ref().unwrap()), name).unwrap();
        let mut stream = StreamOwned::new(connection, tcp);
        stream.conn.complete_io(&mut stream.sock).unwrap();
        stream.conn.peer_certificates().unwrap()[0].to_vec()
    }

    /// Sends a request as it is; an error when the connection broke. Retries once on a connection that had been idle.
    pub fn send(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Reply> {
        let idle = self.connection.is_some();
        match self.send_once(method, target, headers, body) {
            Err(_) if idle => {
                self.connection = None;
                self.send_once(method, target, headers, body)
            }
            result => result,
        }
    }

    fn send_once(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> std::io::Result<Reply> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect()?,
        };
        let mut head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}:{}\r\nContent-Length: {}\r\n",
            self.host,
            self.port,
            body.len()
        );
        if let Some(token) = &self.token {
            head.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        let mut request = head.into_bytes();
        request.extend_from_slice(body);
        // A server may answer, and close, before it has read a body that it refuses.
        let sent = connection
            .get_mut()
            .write_all(&request)
            .and_then(|()| connection.get_mut().flush());
        let reply = receive(&mut connection, method == "HEAD");
        let reply = match (sent, reply) {
            (_, Ok(reply)) => reply,
            (Err(error), _) | (Ok(()), Err(error)) => return Err(error),
        };
        if reply
            .header("connection")
            .is_none_or(|value| !value.eq_ignore_ascii_case("close"))
        {
            self.connection = Some(connection);
        }
        Ok(reply)
    }

    /// A request with a body of JSON.
    #[track_caller]
    pub fn request(&mut self, method: &str, target: &str, body: Option<&Value>) -> Reply {
        let body = body.map(Value::to_string).unwrap_or_default();
        self.send(method, target, &[("Content-Type", "application/json")], body.as_bytes())
            .unwrap_or_else(|error| panic!("{method} {target}: {error}"))
    }

    /// GET.
    #[track_caller]
    pub fn get(&mut self, target: &str) -> Reply {
        self.request("GET", target, None)
    }

    /// POST.
    #[track_caller]
    pub fn post(&mut self, target: &str, body: &Value) -> Reply {
        self.request("POST", target, Some(body))
    }

    /// PUT.
    #[track_caller]
    pub fn put(&mut self, target: &str, body: &Value) -> Reply {
        self.request("PUT", target, Some(body))
    }

    /// Registers with a registration token, through user-interactive authentication.
    pub fn register(&mut self, name: &str, password: &str, token: &str) -> Reply {
        let body = json!({"username": name, "password": password});
        let first = self.post("/_matrix/client/v3/register", &body);
        assert_eq!(first.status, 401, "{}", text(&first.body));
        let session = first.json()["session"].clone();
        let auth = json!({"type": "m.login.registration_token", "token": token, "session": session});
        let mut body = json!({"username": name, "password": password, "auth": auth});
        let second = self.post("/_matrix/client/v3/register", &body);
        let rest = second.json();
        let completed = rest["completed"].as_array().cloned().unwrap_or_default();
        if second.status == 401 && completed.contains(&json!("m.login.registration_token")) {
            body["auth"] = json!({"type": "m.login.dummy", "session": rest["session"]});
            return self.post("/_matrix/client/v3/register", &body);
        }
        second
    }

    /// Logs in with a password.
    pub fn log_in(&mut self, name: &str, password: &str) -> Reply {
        let identifier = json!({"type": "m.id.user", "user": name});
        self.post(
            "/_matrix/client/v3/login",
            &json!({"type": "m.login.password", "identifier": identifier, "password": password}),
        )
    }
}

/// TLS that trusts one authority.
pub fn trusting(authority_pem: &str) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authority_pem.as_bytes()) {
        roots.add(certificate.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}

fn line(reader: &mut impl BufRead) -> std::io::Result<String> {
    let mut line = String::new();
    match reader.read_line(&mut line)? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(line.trim_end().to_owned()),
    }
}

fn receive(reader: &mut impl BufRead, no_body: bool) -> std::io::Result<Reply> {
    let malformed = || std::io::Error::other("malformed answer");
    let status = line(reader)?
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(malformed)?;
    let mut headers = Vec::new();
    loop {
        let line = line(reader)?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut reply = Reply {
        status,
        headers,
        body: Vec::new(),
    };
    if no_body {
        return Ok(reply);
    }
    if reply.header("transfer-encoding").is_some() {
        loop {
            let size = usize::from_str_radix(&line(reader)?, 16).map_err(|_| malformed())?;
            let mut chunk = vec![0; size];
            reader.read_exact(&mut chunk)?;
            line(reader)?;
            if size == 0 {
                return Ok(reply);
            }
            reply.body.extend(chunk);
        }
    }
    let length = reply
        .header("content-length")
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    reply.body = vec![0; length];
    reader.read_exact(&mut reply.body)?;
    Ok(reply)
}
