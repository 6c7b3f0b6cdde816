//! DHCP for IPv4, the client's side: RFC 2131 and RFC 2132. Four messages and a lease that is renewed.

mod packet;

pub use packet::{Kind, Packet};

use nix::sys::socket::{setsockopt, sockopt};
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
/// Larger datagrams are cut: RFC 2131, section 2: options "of up to 312 octets"; servers send up to a frame.
const DATAGRAM_BYTES_MAX: usize = 1500;
/// How long the answer to one message is waited for; it doubles: RFC 2131, section 4.1.
const WAIT_FIRST: Duration = Duration::from_secs(2);
/// How often a message is sent.
const TRIES: u32 = 4;
/// Leases are renewed after half of their time, but not more often than this.
const RENEW_MIN: Duration = Duration::from_secs(60);
/// And at least once a day, whatever the server says.
const RENEW_MAX: Duration = Duration::from_secs(86_400);

/// Why there is no address.
#[derive(Debug, thiserror::Error)]
pub enum DhcpError {
    /// The socket.
    #[error("DHCP: {0}")]
    Socket(#[from] std::io::Error),
    /// Its options.
    #[error("DHCP: {0}")]
    Option(#[from] nix::errno::Errno),
    /// Nobody answers.
    #[error("no DHCP server answers")]
    Silence,
    /// The server takes the address back.
    #[error("the DHCP server refuses the address")]
    Refused,
}

/// What was leased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// Bits of its network.
    pub length: u8,
    /// The router, if there is one.
    pub router: Option<Ipv4Addr>,
    /// Who gave it.
    pub server: Ipv4Addr,
    /// When to ask again.
    pub renew_after: Duration,
    /// How long it is ours.
    pub lasts: Duration,
}

/// Asks on an interface, which must be switched on; `transaction` is random. With the address of a lease that runs, it is
/// kept if the server agrees.
pub fn lease(
    interface: &str,
    hardware: [u8; 6],
    transaction: u32,
    current: Option<&Lease>,
) -> Result<Lease, DhcpError> {
    let client = Client {
        socket: open(interface)?,
        hardware,
        transaction,
    };
    let (address, server) = match current {
        Some(lease) => (lease.address, Some(lease.server)),
        None => {
            let offer = client.converse(&Packet::discover(hardware, transaction), Kind::Offer)?;
            (offer.your_address, offer.server)
        }
    };
    let request = match current {
        // RFC 2131, section 4.3.2, RENEWING: 'server identifier' MUST NOT be filled in, 'ciaddr' MUST be.
        Some(_) => Packet::renew(hardware, transaction, address),
        None => Packet::request(hardware, transaction, address, server),
    };
    let answer = client.converse(&request, Kind::Ack)?;
    let lasts = Duration::from_secs(u64::from(answer.lease_s.unwrap_or(u32::MAX)));
    Ok(Lease {
        address: answer.your_address,
        length: answer.network_length(),
        router: answer.router,
        server: answer.server.or(server).unwrap_or(Ipv4Addr::BROADCAST),
        renew_after: (lasts / 2).clamp(RENEW_MIN, RENEW_MAX),
        lasts,
    })
}

fn open(interface: &str) -> Result<UdpSocket, DhcpError> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, CLIENT_PORT))?;
    setsockopt(&socket, sockopt::BindToDevice, &OsString::from(interface))?;
    socket.set_broadcast(true)?;
    Ok(socket)
}

struct Client {
    socket: UdpSocket,
    hardware: [u8; 6],
    transaction: u32,
}

impl Client {
    /// Sends until the wanted answer comes.
    fn converse(&self, packet: &Packet, wanted: Kind) -> Result<Packet, DhcpError> {
        let bytes = packet.write();
        for attempt in 0..TRIES {
            let everybody = SocketAddrV4::new(Ipv4Addr::BROADCAST, SERVER_PORT);
            self.socket.send_to(&bytes, everybody)?;
            let deadline = Instant::now() + WAIT_FIRST * 2u32.pow(attempt);
            while let Some(answer) = self.receive(deadline)? {
                match answer.kind {
                    kind if kind == wanted => return Ok(answer),
                    Kind::Nak if wanted == Kind::Ack => return Err(DhcpError::Refused),
                    _ => {}
                }
            }
        }
        Err(DhcpError::Silence)
    }

    /// The next packet that is meant for us.
    fn receive(&self, deadline: Instant) -> Result<Option<Packet>, DhcpError> {
        let mut buffer = [0; DATAGRAM_BYTES_MAX];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            match self.socket.recv(&mut buffer) {
                Ok(length) => {
                    let packet = Packet::parse(buffer.get(..length).unwrap_or_default());
                    let ours =
                        |packet: &Packet| packet.transaction == self.transaction && packet.hardware == self.hardware;
                    if let Some(packet) = packet.filter(ours) {
                        return Ok(Some(packet));
                    }
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) =>
                {
                    return Ok(None);
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
