//! Who is at the other end: a host that answers for its addresses, a DHCP server, a router that advertises a prefix, and
//! a switch that speaks LACP.

use super::frame::{ARP_KIND, Frame, Network, RST, SLOW, Transport, arp, ethernet, packet, tcp, udp};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

/// The hardware address of all who answer here.
const OURS: [u8; 6] = [0x52, 0x54, 0, 0xAA, 0, 1];
/// The hardware address of the box's first card, which a bond and a tagged network take over.
const THEIRS: [u8; 6] = [0x52, 0x54, 0, 0, 0, 0];
/// RFC 2131: the messages' types, and the cookie before the options.
const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const DHCP_ACK: u8 = 5;
const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// The neighbourhood: what it has and what it learned of the box.
#[derive(Default)]
pub struct Neighbourhood {
    /// Addresses that are answered for.
    pub addresses: Vec<IpAddr>,
    /// The tagged network that they are in.
    pub vlan: Option<u16>,
    /// The address that the DHCP server has for the box, with the length of its network.
    pub lease: Option<(Ipv4Addr, u8)>,
    /// How long it is leased, in seconds.
    pub lease_s: u32,
    /// The prefix of 64 bits that the router advertises.
    pub prefix: Option<Ipv6Addr>,
    /// By how many seconds the time server's clock is ahead of this machine's; without it there is none.
    pub ahead_s: Option<u64>,
    /// Whether the switch speaks LACP.
    pub lacp: bool,
    /// Cables on which the box said that it collects and distributes.
    pub bundled: HashMap<usize, bool>,
    /// Ports of clients who mean their connections.
    pub connected: Vec<u16>,
    /// How often the DHCP server was asked.
    pub requests: usize,
    /// Where the box was heard last: its address and the cable.
    learned: HashMap<IpAddr, ([u8; 6], usize)>,
    last: Option<usize>,
}

impl Neighbourhood {
    /// The cable to send on: the one on which the box was heard last, or another that is there.
    pub fn usable(&self, there: Vec<bool>) -> Option<usize> {
        let is_there = |number: &usize| there.get(*number).copied().unwrap_or_default();
        self.last
            .filter(is_there)
            .or_else(|| there.iter().position(|is_there| *is_there))
    }

    /// What is answered to a frame.
    pub fn answer(&mut self, cable: usize, frame: &Frame) -> Vec<Vec<u8>> {
        if let Network::Slow(message) = &frame.network {
            return if self.lacp {
                self.lacp(cable, message)
            } else {
                Vec::new()
            };
        }
        if frame.vlan != self.vlan {
            return Vec::new();
        }
        self.last = Some(cable);
        let there = frame.source;
        match &frame.network {
            Network::Arp(1, from, target) => {
                self.learned.insert((*from).into(), (there, cable));
                if self.addresses.contains(&(*target).into()) {
                    let message = arp(2, (OURS, *target), (there, *from));
                    vec![ethernet(there, OURS, self.vlan, ARP_KIND, &message)]
                } else {
                    Vec::new()
                }
            }
            Network::Ip { from, to, transport } => {
                if !from.is_unspecified() {
                    self.learned.insert(*from, (there, cable));
                }
                self.packet(there, *from, *to, transport)
            }
            _ => Vec::new(),
        }
    }

    fn packet(&mut self, there: [u8; 6], from: IpAddr, to: IpAddr, transport: &Transport) -> Vec<Vec<u8>> {
        match transport {
            Transport::Udp {
                source: 68,
                destination: 67,
                payload,
            } => self.dhcp(there, payload).into_iter().collect(),
            Transport::Udp {
                source,
                destination: 123,
                payload,
            } if self.addresses.contains(&to) => {
                self.time(SocketAddr::new(from, *source), payload).into_iter().collect()
            }
            // RFC 4861: router solicitation, neighbour solicitation.
            Transport::Icmp(133, _) => self.advertise().into_iter().collect(),
            Transport::Icmp(135, body) => {
                let target: Option<[u8; 16]> = body.get(4..20).and_then(|bytes| bytes.try_into().ok());
                let target = target.map(|bytes| IpAddr::V6(bytes.into()));
                let ours = target.filter(|target| self.addresses.contains(target) && !from.is_unspecified());
                ours.map(|target| self.neighbour(there, target, from))
                    .into_iter()
                    .collect()
            }
            // A connection that was asked for by a lone SYN is not wanted.
            Transport::Tcp {
                source,
                destination,
                flags: 0x12,
                ..
            } if self.addresses.contains(&to) && !self.connected.contains(destination) => self
                // What comes behind a SYN has the next number.
                .tcp(SocketAddr::new(from, *source), *destination, RST, (2, 0), &[])
                .into_iter()
                .collect(),
            _ => Vec::new(),
        }
    }

    fn ours(&self, like: IpAddr) -> Option<IpAddr> {
        let same = |ip: &&IpAddr| {
            let link = |ip: &IpAddr| matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
            ip.is_ipv4() == like.is_ipv4() && link(ip) == link(&like)
        };
        self.addresses.iter().find(same).copied()
    }

    /// A packet to the box, in a frame.
    fn to(&self, address: IpAddr, protocol: u8, payload: &[u8], at: usize) -> Option<Vec<u8>> {
        let from = self.ours(address)?;
        let (there, _) = self.learned.get(&address).copied().unwrap_or((THEIRS, 0));
        let (kind, bytes) = packet(from, address, protocol, payload, at);
        Some(ethernet(there, OURS, self.vlan, kind, &bytes))
    }

    /// A segment of a client's, from this port, with its number and the one that it expects.
    pub fn tcp(&self, to: SocketAddr, from: u16, flags: u8, numbers: (u32, u32), payload: &[u8]) -> Option<Vec<u8>> {
        self.to(to.ip(), 6, &tcp((from, to.port()), flags, numbers, payload), 16)
    }

    pub fn udp(&self, to: SocketAddr, from: u16, payload: &[u8]) -> Option<Vec<u8>> {
        self.to(to.ip(), 17, &udp(from, to.port(), payload), 6)
    }

    /// RFC 792, RFC 4443: an echo request.
    pub fn echo(&self, to: IpAddr) -> Option<Vec<u8>> {
        let (protocol, kind) = if to.is_ipv4() { (1, 8) } else { (58, 128) };
        self.to(to, protocol, &[kind, 0, 0, 0, 0x12, 0x34, 0, 1, b'a', b'b'], 2)
    }

    /// RFC 4861, section 4.4: solicited, override, and the target's hardware address.
    fn neighbour(&self, there: [u8; 6], target: IpAddr, to: IpAddr) -> Vec<u8> {
        let IpAddr::V6(v6) = target else {
            unreachable!("a neighbour solicitation is of IPv6")
        };
        let mut message = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
        message.extend(v6.octets());
        message.extend([2, 1]);
        message.extend(OURS);
        let (kind, bytes) = packet(target, to, 58, &message, 2);
        ethernet(there, OURS, self.vlan, kind, &bytes)
    }

    /// RFC 4861, section 4.2, with a prefix (4.6.2) for addresses that hosts make themselves.
    fn advertise(&self) -> Option<Vec<u8>> {
        let prefix = self.prefix?;
        let router = self.ours(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0).into())?;
        let mut message = vec![134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
        message.extend([3, 4, 64, 0xC0, 0, 1, 0x51, 0x80, 0, 0, 0x38, 0x40, 0, 0, 0, 0]);
        message.extend(prefix.octets());
        message.extend([1, 1]);
        message.extend(OURS);
        let all: IpAddr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).into();
        let (kind, bytes) = packet(router, all, 58, &message, 2);
        Some(ethernet([0x33, 0x33, 0, 0, 0, 1], OURS, self.vlan, kind, &bytes))
    }

    /// RFC 2131: an offer for a discover, an acknowledgement for a request.
    fn dhcp(&mut self, there: [u8; 6], payload: &[u8]) -> Option<Vec<u8>> {
        let (address, length) = self.lease?;
        let server = self.addresses.iter().find_map(|ip| match ip {
            IpAddr::V4(v4) => Some(*v4),
            IpAddr::V6(_) => None,
        })?;
        let options = payload.get(240..)?;
        let kind = options.windows(3).find(|window| window.starts_with(&[53, 1]))?.get(2)?;
        let answer = match *kind {
            DISCOVER => OFFER,
            REQUEST => DHCP_ACK,
            _ => return None,
        };
        self.requests += usize::from(answer == DHCP_ACK);
        let mut message = vec![2, 1, 6, 0];
        message.extend(payload.get(4..8)?);
        message.extend([0; 8]);
        message.extend(address.octets());
        message.extend([0; 8]);
        message.extend(payload.get(28..44)?);
        message.resize(236, 0);
        message.extend(COOKIE);
        message.extend([53, 1, answer, 54, 4]);
        message.extend(server.octets());
        message.extend([51, 4]);
        message.extend(self.lease_s.to_be_bytes());
        message.extend([1, 4]);
        message.extend((u32::MAX << (32 - u32::from(length))).to_be_bytes());
        message.extend([3, 4]);
        message.extend(server.octets());
        message.push(255);
        message.resize(message.len().max(300), 0);
        let (kind, bytes) = packet(server.into(), Ipv4Addr::BROADCAST.into(), 17, &udp(67, 68, &message), 6);
        Some(ethernet(there, OURS, self.vlan, kind, &bytes))
    }

    /// RFC 5905, figure 8: version 4, mode 4, stratum 1; the question's transmit timestamp comes back as the origin's.
    fn time(&self, to: SocketAddr, question: &[u8]) -> Option<Vec<u8>> {
        // Seconds from 1900 to 1970.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 2_208_988_800 + self.ahead_s?;
        let mut message = vec![0x24, 1, 6, 0xE8];
        message.resize(24, 0);
        message.extend(question.get(40..48)?);
        for _ in 0..2 {
            message.extend(u32::try_from(now).unwrap().to_be_bytes());
            message.extend([0; 4]);
        }
        self.to(to.ip(), 17, &udp(123, to.port(), &message), 6)
    }

    /// IEEE 802.1AX, section 6.4.2.3: a LACPDU has the sender's information in its first part, what it knows of the other
    /// in its second. The switch agrees to everything, on each cable as a port of one system.
    fn lacp(&mut self, cable: usize, message: &[u8]) -> Vec<Vec<u8>> {
        let (Some([1, 1, 1, 20]), Some(actor)) = (message.first_chunk::<4>(), message.get(4..22)) else {
            return Vec::new();
        };
        let state = actor.get(14).copied().unwrap();
        // Collecting and distributing.
        self.bundled.insert(cable, state & 0x30 == 0x30);
        let mut answer = vec![1, 1, 1, 20, 0x80, 0];
        answer.extend(OURS);
        answer.extend([0, 7, 0x80, 0, 0, u8::try_from(cable + 1).unwrap()]);
        // Active, aggregation, in sync, collecting, distributing.
        answer.extend([0x3D, 0, 0, 0, 2, 20]);
        answer.extend(actor);
        answer.extend([3, 16]);
        answer.resize(110, 0);
        vec![ethernet([0x01, 0x80, 0xC2, 0, 0, 2], OURS, None, SLOW, &answer)]
    }
}
