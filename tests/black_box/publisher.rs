//! An HTTPS server of the tests' own that offers an update, under an authority of its own, on the loopback interface. It can
//! cut connections off.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What is published, and what was asked.
#[derive(Default)]
pub struct Published {
    bytes: Vec<u8>,
    tag: String,
    /// The next answer ends after so many bytes of its body.
    pub cut_after: Option<usize>,
    /// Each request's conditions, and the status and bytes of its answer.
    asked: Vec<(String, u16, usize)>,
}

pub struct Publisher {
    pub port: u16,
    /// Who vouches for `updates.example.org`, PEM.
    pub authority: String,
    pub published: Arc<Mutex<Published>>,
}

impl Publisher {
    /// Starts it; nothing is published yet.
    pub fn start() -> Self {
        let mut authority = CertificateParams::default();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(vec!["updates.example.org".to_owned()]).unwrap();
        let own = own.signed_by(&key, &authority).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![own.der().clone()], key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let publisher = Self {
            port: listener.local_addr().unwrap().port(),
            authority: authority.pem(),
            published: Arc::default(),
        };
        let published = Arc::clone(&publisher.published);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
                // A client that goes away in the middle is one of the cases.
                let _ = answer(StreamOwned::new(connection, stream.unwrap()), &published);
            }
        });
        publisher
    }

    /// Offers these bytes from now on, as another file than before.
    pub fn publish(&self, bytes: &[u8], tag: &str) {
        let mut published = self.published.lock().unwrap();
        published.bytes = bytes.to_vec();
        published.tag = format!("\"{tag}\"");
        published.asked.clear();
    }

    /// What was asked since: conditions, the status and bytes of the answer.
    pub fn asked(&self) -> Vec<(String, u16, usize)> {
        self.published.lock().unwrap().asked.clone()
    }
}

fn answer(stream: StreamOwned<ServerConnection, TcpStream>, published: &Mutex<Published>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut range, mut tag, mut conditions) = (None, None, Vec::new());
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end();
        let Some((name, value)) = line.split_once(": ") else {
            if line.is_empty() {
                break;
            }
            assert_eq!(line, "GET /lamchat.bundle HTTP/1.1");
            continue;
        };
        match name {
            "Range" => {
                range = value
                    .strip_prefix("bytes=")
                    .and_then(|range| range.strip_suffix('-')?.parse().ok())
            }
            "If-Range" | "If-None-Match" => tag = Some(value.to_owned()),
            _ => continue,
        }
        conditions.push(name.to_owned());
    }
    let mut published = published.lock().unwrap();
    let (whole, is_same) = (published.bytes.len(), tag.as_ref() == Some(&published.tag));
    let from: usize = range.filter(|_| is_same).unwrap_or(0);
    let status = match (is_same, range) {
        (true, Some(_)) => 206,
        (true, None) => 304,
        (false, _) => 200,
    };
    let body = if status == 304 {
        &[][..]
    } else {
        published.bytes.get(from..).unwrap()
    }
    .to_vec();
    let sent = published.cut_after.take().unwrap_or(usize::MAX).min(body.len());
    let head = format!(
        "HTTP/1.1 {status} x\r\nETag: {}\r\nContent-Length: {}\r\nContent-Range: bytes {from}-{}/{whole}\r\n\r\n",
        published.tag,
        body.len(),
        whole - 1
    );
    published.asked.push((conditions.join(" "), status, sent));
    drop(published);
    let stream = reader.get_mut();
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.get(..sent).unwrap())?;
    if sent == body.len() {
        stream.conn.send_close_notify();
    }
    stream.flush()
}
