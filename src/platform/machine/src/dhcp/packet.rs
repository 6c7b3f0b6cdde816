//! DHCP messages, byte by byte: RFC 2131, section 2, and RFC 2132.

use std::net::Ipv4Addr;

const OP_REQUEST: u8 = 1;
const OP_REPLY: u8 = 2;
const ETHERNET: u8 = 1;
/// Bytes before the options: the fixed fields and the magic cookie.
const HEADER_BYTES: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// RFC 2131, section 2: the leftmost bit of `flags` asks for answers by broadcast, as we have no address yet.
const BROADCAST: u16 = 0x8000;
/// Options: RFC 2132.
const PAD: u8 = 0;
const SUBNET_MASK: u8 = 1;
const ROUTER: u8 = 3;
const REQUESTED_ADDRESS: u8 = 50;
const LEASE_TIME: u8 = 51;
const MESSAGE_TYPE: u8 = 53;
const SERVER: u8 = 54;
const PARAMETERS: u8 = 55;
const END: u8 = 255;
/// RFC 1542, section 2.1: a message has at least 300 bytes.
const MESSAGE_BYTES_MIN: usize = 300;

/// The type of a message: RFC 2132, section 9.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Who is there?
    Discover,
    /// A server is.
    Offer,
    /// We take it.
    Request,
    /// It is yours.
    Ack,
    /// It is not.
    Nak,
}

/// A message, with what is of use to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Its type.
    pub kind: Kind,
    /// The conversation.
    pub transaction: u32,
    /// The client's hardware address.
    pub hardware: [u8; 6],
    /// The client's address, while it has one.
    pub client_address: Ipv4Addr,
    /// The address that the server gives.
    pub your_address: Ipv4Addr,
    /// The address that the client asks for.
    pub requested: Option<Ipv4Addr>,
    /// Which server.
    pub server: Option<Ipv4Addr>,
    /// The network's mask.
    pub mask: Option<Ipv4Addr>,
    /// The first router.
    pub router: Option<Ipv4Addr>,
    /// For how many seconds.
    pub lease_s: Option<u32>,
}

impl Packet {
    fn new(kind: Kind, hardware: [u8; 6], transaction: u32) -> Self {
        Self {
            kind,
            transaction,
            hardware,
            client_address: Ipv4Addr::UNSPECIFIED,
            your_address: Ipv4Addr::UNSPECIFIED,
            requested: None,
            server: None,
            mask: None,
            router: None,
            lease_s: None,
        }
    }

    /// Asks whether any server is there.
    pub fn discover(hardware: [u8; 6], transaction: u32) -> Self {
        Self::new(Kind::Discover, hardware, transaction)
    }

    /// Takes what a server offered.
    pub fn request(hardware: [u8; 6], transaction: u32, address: Ipv4Addr, server: Option<Ipv4Addr>) -> Self {
        Self {
            requested: Some(address),
            server,
            ..Self::new(Kind::Request, hardware, transaction)
        }
    }

    /// Keeps what was leased.
    pub fn renew(hardware: [u8; 6], transaction: u32, address: Ipv4Addr) -> Self {
        Self {
            client_address: address,
            ..Self::new(Kind::Request, hardware, transaction)
        }
    }

    /// Bits of the network; without a mask, as before classes were given up: RFC 950.
    pub fn network_length(&self) -> u8 {
        let bits = self.mask.map_or(u32::MAX, |mask| u32::from(mask).leading_ones());
        match (self.mask, u8::try_from(bits)) {
            (Some(_), Ok(bits)) if bits > 0 => bits,
            _ => 24,
        }
    }

    /// The bytes that a client sends.
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = vec![OP_REQUEST, ETHERNET, 6, 0];
        bytes.extend(self.transaction.to_be_bytes());
        bytes.extend([0; 2]);
        bytes.extend(BROADCAST.to_be_bytes());
        bytes.extend(self.client_address.octets());
        bytes.extend([0; 12]);
        bytes.extend(self.hardware);
        bytes.resize(HEADER_BYTES - COOKIE.len(), 0);
        bytes.extend(COOKIE);
        let kind = match self.kind {
            Kind::Discover => 1,
            Kind::Offer => 2,
            Kind::Request => 3,
            Kind::Ack => 5,
            Kind::Nak => 6,
        };
        bytes.extend([MESSAGE_TYPE, 1, kind, PARAMETERS, 3, SUBNET_MASK, ROUTER, LEASE_TIME]);
        for (option, address) in [(REQUESTED_ADDRESS, self.requested), (SERVER, self.server)] {
            if let Some(address) = address {
                bytes.extend([option, 4]);
                bytes.extend(address.octets());
            }
        }
        bytes.push(END);
        bytes.resize(bytes.len().max(MESSAGE_BYTES_MIN), PAD);
        bytes
    }

    /// Reads what a server sent; `None` for anything else.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (header, mut options) = bytes.split_at_checked(HEADER_BYTES)?;
        let four = |at: usize| header.get(at..).and_then(|rest| rest.first_chunk::<4>()).copied();
        if header.first() != Some(&OP_REPLY) || four(HEADER_BYTES - 4)? != COOKIE {
            return None;
        }
        let hardware = header.get(28..).and_then(|rest| rest.first_chunk::<6>()).copied()?;
        let mut packet = Self::new(Kind::Nak, hardware, u32::from_be_bytes(four(4)?));
        packet.client_address = four(12)?.into();
        packet.your_address = four(16)?.into();
        let mut kind = None;
        loop {
            options = match options {
                [PAD, rest @ ..] => rest,
                [END, ..] | [] => break,
                [option, length, rest @ ..] => {
                    let (value, rest) = rest.split_at_checked(usize::from(*length))?;
                    match (*option, value) {
                        (MESSAGE_TYPE, [one]) => kind = read_kind(*one),
                        (SUBNET_MASK, value) => packet.mask = address(value),
                        (ROUTER, value) => packet.router = address(value),
                        (SERVER, value) => packet.server = address(value),
                        (LEASE_TIME, value) => {
                            packet.lease_s = value.first_chunk().map(|four| u32::from_be_bytes(*four))
                        }
                        _ => {}
                    }
                    rest
                }
                [_] => return None,
            };
        }
        packet.kind = kind?;
        // An offer of no address, of everybody's or of many's is none.
        let address = packet.your_address;
        let usable =
            !(address.is_unspecified() || address.is_broadcast() || address.is_multicast() || address.is_loopback());
        (usable || packet.kind == Kind::Nak).then_some(packet)
    }
}

fn read_kind(byte: u8) -> Option<Kind> {
    match byte {
        2 => Some(Kind::Offer),
        5 => Some(Kind::Ack),
        6 => Some(Kind::Nak),
        _ => None,
    }
}

fn address(value: &[u8]) -> Option<Ipv4Addr> {
    value.first_chunk::<4>().copied().map(Ipv4Addr::from)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    /// A server's answer.
    fn answer(kind: u8, options: &[u8]) -> Vec<u8> {
        let mut bytes = Packet::discover([2, 0, 0, 0, 0, 1], 7).write();
        bytes.truncate(HEADER_BYTES);
        *bytes.first_mut().unwrap() = OP_REPLY;
        bytes.get_mut(16..20).unwrap().copy_from_slice(&[10, 0, 2, 15]);
        bytes.extend([MESSAGE_TYPE, 1, kind]);
        bytes.extend(options);
        bytes.push(END);
        bytes
    }

    #[test]
    fn an_offer_is_read() {
        let options = [
            PAD, 1, 4, 255, 255, 255, 0, 3, 8, 10, 0, 2, 2, 10, 0, 2, 3, 51, 4, 0, 1, 81, 128, 54, 4, 10, 0, 2, 2,
        ];
        let packet = Packet::parse(&answer(2, &options)).unwrap();
        assert_eq!((packet.kind, packet.transaction), (Kind::Offer, 7));
        assert_eq!(packet.your_address, Ipv4Addr::new(10, 0, 2, 15));
        assert_eq!(packet.network_length(), 24);
        assert_eq!(packet.router, Some(Ipv4Addr::new(10, 0, 2, 2)));
        assert_eq!(
            (packet.lease_s, packet.server),
            (Some(86_400), Some(Ipv4Addr::new(10, 0, 2, 2)))
        );
    }

    #[test]
    fn what_is_no_answer_is_nothing() {
        assert_eq!(Packet::parse(&[]), None);
        assert_eq!(
            Packet::parse(&Packet::discover([0; 6], 1).write()),
            None,
            "a client's message"
        );
        assert_eq!(Packet::parse(&answer(9, &[])), None, "an unknown type");
        assert_eq!(
            Packet::parse(&answer(2, &[1, 200, 1])),
            None,
            "an option beyond the end"
        );
        let mut nobody = answer(2, &[]);
        nobody.get_mut(16..20).unwrap().fill(0);
        assert_eq!(Packet::parse(&nobody), None, "no address");
    }

    #[test]
    fn what_is_sent_is_long_enough() {
        let bytes = Packet::request([1; 6], 1, Ipv4Addr::new(10, 0, 0, 5), Some(Ipv4Addr::new(10, 0, 0, 1))).write();
        assert_eq!(bytes.len(), MESSAGE_BYTES_MIN);
        assert!(bytes.windows(6).any(|window| window == [50, 4, 10, 0, 0, 5]));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
            let _ = Packet::parse(&bytes);
            let _ = Packet::parse(&answer(5, &bytes));
        }
    }
}
