//! Ethernet frames: read as far as the tests look at them, and written.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IEEE 802 numbers: EtherTypes.
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const VLAN: u16 = 0x8100;
const IPV6: u16 = 0x86DD;
/// IEEE 802.1AX, slow protocols: LACP is their first.
pub const SLOW: u16 = 0x8809;
/// RFC 9293, section 3.1.
pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const PSH: u8 = 8;
pub const ACK: u8 = 16;

/// A frame that the box sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub destination: [u8; 6],
    pub source: [u8; 6],
    /// The tagged network, if it has a tag.
    pub vlan: Option<u16>,
    pub network: Network,
}

/// What is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// Operation, sender's address, target's address.
    Arp(u16, Ipv4Addr, Ipv4Addr),
    Ip {
        from: IpAddr,
        to: IpAddr,
        transport: Transport,
    },
    /// IEEE 802.1AX, and the message itself.
    Slow(Vec<u8>),
    Other(u16),
}

/// What is in a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transport {
    Tcp {
        source: u16,
        destination: u16,
        flags: u8,
        sequence: u32,
        payload: Vec<u8>,
    },
    Udp {
        source: u16,
        destination: u16,
        payload: Vec<u8>,
    },
    /// ICMP of either family: the type, and what follows the checksum.
    Icmp(u8, Vec<u8>),
    Other(u8),
}

fn two(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn v4(bytes: &[u8], at: usize) -> Option<Ipv4Addr> {
    Some(Ipv4Addr::from(*bytes.get(at..)?.first_chunk::<4>()?))
}

fn v6(bytes: &[u8], at: usize) -> Option<Ipv6Addr> {
    Some(Ipv6Addr::from(*bytes.get(at..)?.first_chunk::<16>()?))
}

impl Frame {
    /// Reads one; `None`: it is cut off.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let destination = *bytes.first_chunk()?;
        let source = *bytes.get(6..)?.first_chunk()?;
        let (mut kind, mut at, mut vlan) = (two(bytes, 12)?, 14, None);
        if kind == VLAN {
            vlan = Some(two(bytes, 14)? & 0xFFF);
            (kind, at) = (two(bytes, 16)?, 18);
        }
        let rest = bytes.get(at..)?;
        let network = match kind {
            ARP => Network::Arp(two(rest, 6)?, v4(rest, 14)?, v4(rest, 24)?),
            IPV4 => {
                let header = usize::from(*rest.first()? & 15) * 4;
                let length = usize::from(two(rest, 2)?);
                Network::Ip {
                    from: v4(rest, 12)?.into(),
                    to: v4(rest, 16)?.into(),
                    transport: Transport::parse(*rest.get(9)?, rest.get(header..length)?)?,
                }
            }
            IPV6 => {
                let length = usize::from(two(rest, 4)?);
                let (mut next, mut payload) = (*rest.get(6)?, rest.get(40..40 + length)?);
                // RFC 8200, section 4.3: options for every hop, which reports of groups have.
                if next == 0 {
                    let skip = 8 + usize::from(*payload.get(1)?) * 8;
                    (next, payload) = (*payload.first()?, payload.get(skip..)?);
                }
                Network::Ip {
                    from: v6(rest, 8)?.into(),
                    to: v6(rest, 24)?.into(),
                    transport: Transport::parse(next, payload)?,
                }
            }
            SLOW => Network::Slow(rest.to_vec()),
            other => Network::Other(other),
        };
        Some(Self {
            destination,
            source,
            vlan,
            network,
        })
    }

    /// What it carries, if it comes from this address.
    pub fn transport_from(&self, address: IpAddr) -> Option<Transport> {
        match &self.network {
            Network::Ip { from, transport, .. } if *from == address => Some(transport.clone()),
            _ => None,
        }
    }

    /// RFC 792 and RFC 4443: an echo reply.
    pub fn is_echo_reply_from(&self, address: IpAddr) -> bool {
        let reply = if address.is_ipv4() { 0 } else { 129 };
        matches!(self.transport_from(address), Some(Transport::Icmp(kind, _)) if kind == reply)
    }

    /// Whether it is a packet of IPv6.
    pub fn is_ipv6(&self) -> bool {
        matches!(&self.network, Network::Ip { from, .. } if from.is_ipv6())
    }

    /// Anything of this address but neighbour discovery.
    pub fn is_answer_from(&self, address: IpAddr) -> bool {
        match self.transport_from(address) {
            Some(Transport::Icmp(133..=136, _)) if address.is_ipv6() => false,
            other => other.is_some(),
        }
    }
}

impl Transport {
    fn parse(protocol: u8, bytes: &[u8]) -> Option<Self> {
        Some(match protocol {
            6 => Self::Tcp {
                source: two(bytes, 0)?,
                destination: two(bytes, 2)?,
                flags: *bytes.get(13)?,
                sequence: u32::from_be_bytes(*bytes.get(4..)?.first_chunk()?),
                // The header's length in words of four bytes.
                payload: bytes.get(usize::from(*bytes.get(12)? >> 4) * 4..)?.to_vec(),
            },
            17 => Self::Udp {
                source: two(bytes, 0)?,
                destination: two(bytes, 2)?,
                payload: bytes.get(8..)?.to_vec(),
            },
            1 | 58 => Self::Icmp(*bytes.first()?, bytes.get(4..)?.to_vec()),
            other => Self::Other(other),
        })
    }
}

/// RFC 1071.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum: u32 = 0;
    for part in parts {
        for pair in part.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u32::from(u16::from_be_bytes([*pair.first().unwrap(), low]));
        }
    }
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

/// A frame with what follows the EtherType, and a tag if one is wanted.
pub fn ethernet(to: [u8; 6], from: [u8; 6], vlan: Option<u16>, kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [to, from].concat();
    if let Some(vlan) = vlan {
        bytes.extend(VLAN.to_be_bytes());
        bytes.extend(vlan.to_be_bytes());
    }
    bytes.extend(kind.to_be_bytes());
    bytes.extend(payload);
    bytes.resize(bytes.len().max(60), 0);
    bytes
}

/// EtherType and packet; `at` is where the protocol's checksum stands in `payload`.
pub fn packet(from: IpAddr, to: IpAddr, protocol: u8, payload: &[u8], at: usize) -> (u16, Vec<u8>) {
    let length = u16::try_from(payload.len()).unwrap();
    let mut payload = payload.to_vec();
    let (kind, mut bytes, pseudo) = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut header = vec![0x45, 0];
            header.extend((length + 20).to_be_bytes());
            header.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
            header.extend(from.octets());
            header.extend(to.octets());
            let sum = checksum(&[&header]);
            header.get_mut(10..12).unwrap().copy_from_slice(&sum.to_be_bytes());
            // RFC 792: no pseudo header.
            let pseudo = if protocol == 1 {
                Vec::new()
            } else {
                let mut pseudo = [from.octets(), to.octets()].concat();
                pseudo.extend([0, protocol]);
                pseudo.extend(length.to_be_bytes());
                pseudo
            };
            (IPV4, header, pseudo)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let mut header = vec![0x60, 0, 0, 0];
            header.extend(length.to_be_bytes());
            header.extend([protocol, 255]);
            let addresses = [from.octets(), to.octets()].concat();
            header.extend(&addresses);
            let mut pseudo = addresses;
            pseudo.extend(u32::from(length).to_be_bytes());
            pseudo.extend([0, 0, 0, protocol]);
            (IPV6, header, pseudo)
        }
        _ => unreachable!("both addresses are of one family"),
    };
    let sum = checksum(&[&pseudo, &payload]);
    payload.get_mut(at..at + 2).unwrap().copy_from_slice(&sum.to_be_bytes());
    bytes.extend(payload);
    (kind, bytes)
}

/// A TCP segment without its checksum: the ports, the flags, its own number and the one that it expects.
pub fn tcp((from, to): (u16, u16), flags: u8, (sequence, expected): (u32, u32), payload: &[u8]) -> Vec<u8> {
    let mut bytes = [from.to_be_bytes(), to.to_be_bytes()].concat();
    bytes.extend(sequence.to_be_bytes());
    bytes.extend(expected.to_be_bytes());
    bytes.extend([0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    bytes.extend(payload);
    bytes
}

/// A datagram, without its checksum.
pub fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = [from.to_be_bytes(), to.to_be_bytes()].concat();
    bytes.extend(u16::try_from(payload.len() + 8).unwrap().to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    bytes
}

/// An ARP message over Ethernet: RFC 826.
pub fn arp(operation: u16, from: ([u8; 6], Ipv4Addr), to: ([u8; 6], Ipv4Addr)) -> Vec<u8> {
    let mut bytes = vec![0, 1, 8, 0, 6, 4];
    bytes.extend(operation.to_be_bytes());
    for (hardware, address) in [from, to] {
        bytes.extend(hardware);
        bytes.extend(address.octets());
    }
    bytes
}

/// The EtherType of ARP, for whoever writes it.
pub const ARP_KIND: u16 = ARP;
