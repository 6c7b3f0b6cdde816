//! Keys and cookies that were agreed on, and the questions that they are good for.

use crate::certificate::Shown;
use crate::packet::{self, ANSWER_BYTES_MAX, IDENTIFIER_BYTES, Mark, NONCE_BYTES, PacketError};
use crate::record::COOKIES_MAX;
use lamchat_base::Entropy;
use lamchat_machine::time::ROUND_TRIP_MAX;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

const PATIENCE: Duration = Duration::from_secs(3);
/// Datagrams of others that are passed over while an answer is waited for.
const STRANGERS_MAX: usize = 16;

/// Why a server's time is not taken.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The socket, or silence.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The answer is wrong.
    #[error("{0}")]
    Packet(#[from] PacketError),
    /// The answer took too long.
    #[error("the answer took longer than {} s", ROUND_TRIP_MAX.as_secs())]
    Late,
    /// All cookies are used up: keys have to be agreed on again.
    #[error("no cookie is left")]
    NoCookie,
    /// The certificate is not valid at the time that is told.
    #[error("the server's certificate is not valid at the time that it tells")]
    Outside,
}

impl AskError {
    /// Whether keys have to be agreed on again.
    pub fn needs_keys(&self) -> bool {
        matches!(self, Self::NoCookie | Self::Outside | Self::Packet(PacketError::Nak))
    }
}

#[derive(Clone)]
pub(crate) struct Keys {
    pub to_server: Zeroizing<[u8; 32]>,
    pub to_client: Zeroizing<[u8; 32]>,
}

/// What was agreed on with a server.
pub struct Session {
    address: SocketAddr,
    keys: Keys,
    cookies: VecDeque<Vec<u8>>,
    shown: Shown,
}

impl Session {
    pub(crate) fn new(address: SocketAddr, keys: Keys, cookies: VecDeque<Vec<u8>>, shown: Shown) -> Self {
        Self {
            address,
            keys,
            cookies,
            shown,
        }
    }

    /// Where the time is asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cookies that are left: as many questions can be asked.
    pub fn cookies(&self) -> usize {
        self.cookies.len()
    }

    /// The time that the server tells, in milliseconds since 1970, as of now.
    pub fn ask(&mut self, entropy: &dyn Entropy) -> Result<u64, AskError> {
        // RFC 8915, section 5.7: a cookie is used once, also where no answer comes.
        let cookie = self.cookies.pop_front().ok_or(AskError::NoCookie)?;
        let (mut nonce, mut identifier, mut seal) = ([0; 8], [0; IDENTIFIER_BYTES], [0; NONCE_BYTES]);
        entropy.fill(&mut nonce);
        entropy.fill(&mut identifier);
        entropy.fill(&mut seal);
        let mark = Mark {
            nonce: u64::from_ne_bytes(nonce),
            identifier,
        };
        // One comes back for the one that is used.
        let wanted = COOKIES_MAX.saturating_sub(self.cookies.len() + 1);
        let question = packet::question(&self.keys.to_server, &mark, &cookie, wanted, &seal);
        let question = question.ok_or(AskError::NoCookie)?;
        let any: IpAddr = if self.address.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(self.address)?;
        let asked = Instant::now();
        socket.send(&question)?;
        let (told, cookies) = self.receive(&socket, &mark, asked)?;
        let round_trip = asked.elapsed();
        if round_trip > ROUND_TRIP_MAX {
            return Err(AskError::Late);
        }
        self.cookies.extend(cookies);
        self.cookies.truncate(COOKIES_MAX);
        let told = told.saturating_add(u64::try_from(round_trip.as_millis() / 2).unwrap_or_default());
        if self.shown.is_valid_at(told) {
            Ok(told)
        } else {
            Err(AskError::Outside)
        }
    }

    /// RFC 8915, section 5.7: what is not authentic is passed over, so that a forger who is faster keeps nobody from the
    /// right answer.
    fn receive(&self, socket: &UdpSocket, mark: &Mark, asked: Instant) -> Result<(u64, Vec<Vec<u8>>), AskError> {
        let mut buffer = vec![0; ANSWER_BYTES_MAX];
        let mut last = None;
        for _ in 0..STRANGERS_MAX {
            let left = PATIENCE.saturating_sub(asked.elapsed()).max(Duration::from_millis(1));
            socket.set_read_timeout(Some(left))?;
            let length = match socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(error) => return Err(last.unwrap_or_else(|| error.into())),
            };
            match packet::answer(buffer.get(..length).unwrap_or_default(), &self.keys.to_client, mark) {
                Ok(answer) => return Ok(answer),
                Err(error) => last = Some(error.into()),
            }
        }
        Err(last.unwrap_or(AskError::Late))
    }
}
