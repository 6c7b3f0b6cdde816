//! What a rule consists of: expressions that fill registers, compare them, and decide.

use crate::netlink::Message;
use std::net::IpAddr;

const NFTA_LIST_ELEM: u16 = 1;
const NFTA_EXPR_NAME: u16 = 1;
const NFTA_EXPR_DATA: u16 = 2;
const NFTA_DATA_VALUE: u16 = 1;
const NFTA_DATA_VERDICT: u16 = 2;
const NFTA_VERDICT_CODE: u16 = 1;
const NF_ACCEPT: u32 = 1;
const NFT_REG_VERDICT: u32 = 0;
const NFT_REG_1: u32 = 1;
const NFT_CMP_EQ: u32 = 0;
const NFT_CMP_NEQ: u32 = 1;
const NFT_META_IIFNAME: u32 = 6;
const NFT_META_OIFNAME: u32 = 7;
const NFT_META_SKUID: u32 = 10;
const NFT_META_NFPROTO: u32 = 15;
const NFT_META_L4PROTO: u32 = 16;
const NFT_CT_STATE: u32 = 0;
/// include/uapi/linux/netfilter/nf_conntrack_common.h: established and related.
const KNOWN: u32 = 2 | 4;
const NFT_PAYLOAD_NETWORK_HEADER: u32 = 1;
const NFT_PAYLOAD_TRANSPORT_HEADER: u32 = 2;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;

/// Which port of TCP or UDP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// The sender's.
    Source,
    /// The receiver's.
    Destination,
}

#[derive(Debug, Clone)]
struct Expression {
    name: &'static str,
    /// Attributes, in their order: plain ones, or a nested value.
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Plain(u16, Vec<u8>),
    Value(u16, Vec<u8>),
    Accept(u16),
}

/// The expressions of a rule.
#[derive(Debug, Clone, Default)]
pub struct Expressions(Vec<Expression>);

impl Expressions {
    /// Matches everything.
    pub fn new() -> Self {
        Self::default()
    }

    fn push(mut self, name: &'static str, parts: Vec<Part>) -> Self {
        self.0.push(Expression { name, parts });
        self
    }

    fn meta(self, key: u32) -> Self {
        self.push("meta", vec![number(2, key), number(1, NFT_REG_1)])
    }

    fn compare(self, operation: u32, value: Vec<u8>) -> Self {
        self.push(
            "cmp",
            vec![number(1, NFT_REG_1), number(2, operation), Part::Value(3, value)],
        )
    }

    fn payload(self, base: u32, offset: u32, length: u32) -> Self {
        self.push(
            "payload",
            vec![
                number(1, NFT_REG_1),
                number(2, base),
                number(3, offset),
                number(4, length),
            ],
        )
    }

    /// Comes from the machine itself.
    pub fn comes_by_loopback(self) -> Self {
        self.meta(NFT_META_IIFNAME).compare(NFT_CMP_EQ, b"lo\0".to_vec())
    }

    /// Stays on the machine.
    pub fn leaves_by_loopback(self) -> Self {
        self.meta(NFT_META_OIFNAME).compare(NFT_CMP_EQ, b"lo\0".to_vec())
    }

    /// Was sent by a process that was this user when it made its socket.
    pub fn comes_from(self, user: u32) -> Self {
        self.meta(NFT_META_SKUID)
            .compare(NFT_CMP_EQ, user.to_ne_bytes().to_vec())
    }

    /// Is part of a connection that was allowed, or an error about one.
    pub fn belongs_to_known(self) -> Self {
        let length = number(3, 4);
        let mask = Part::Value(4, KNOWN.to_ne_bytes().to_vec());
        let nothing = Part::Value(5, vec![0; 4]);
        self.push("ct", vec![number(2, NFT_CT_STATE), number(1, NFT_REG_1)])
            .push(
                "bitwise",
                vec![number(1, NFT_REG_1), number(2, NFT_REG_1), length, mask, nothing],
            )
            .compare(NFT_CMP_NEQ, vec![0; 4])
    }

    /// Has a protocol above IP.
    pub fn protocol(self, protocol: u8) -> Self {
        self.meta(NFT_META_L4PROTO).compare(NFT_CMP_EQ, vec![protocol])
    }

    /// Is an ICMP message of a type.
    pub fn icmp_type(self, kind: u8) -> Self {
        self.payload(NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1)
            .compare(NFT_CMP_EQ, vec![kind])
    }

    /// Has a port.
    pub fn port(self, which: Port, port: u16) -> Self {
        let offset = match which {
            Port::Source => 0,
            Port::Destination => 2,
        };
        self.payload(NFT_PAYLOAD_TRANSPORT_HEADER, offset, 2)
            .compare(NFT_CMP_EQ, port.to_be_bytes().to_vec())
    }

    /// Goes to an address: RFC 791, section 3.1, and RFC 8200, section 3.
    pub fn has_destination(self, address: IpAddr) -> Self {
        let (family, offset, octets) = match address {
            IpAddr::V4(v4) => (NFPROTO_IPV4, 16, v4.octets().to_vec()),
            IpAddr::V6(v6) => (NFPROTO_IPV6, 24, v6.octets().to_vec()),
        };
        let length = if address.is_ipv4() { 4 } else { 16 };
        self.meta(NFT_META_NFPROTO)
            .compare(NFT_CMP_EQ, vec![family])
            .payload(NFT_PAYLOAD_NETWORK_HEADER, offset, length)
            .compare(NFT_CMP_EQ, octets)
    }

    /// Lets pass what all of the above is true of.
    pub fn accept(self) -> Self {
        self.push("immediate", vec![number(1, NFT_REG_VERDICT), Part::Accept(2)])
    }

    /// Writes the list.
    pub fn write(&self, list: Message) -> Message {
        self.0.iter().fold(list, |list, expression| {
            list.with_nest(NFTA_LIST_ELEM, |element| {
                element
                    .with_text(NFTA_EXPR_NAME, expression.name)
                    .with_nest(NFTA_EXPR_DATA, |data| {
                        expression.parts.iter().fold(data, |data, part| part.write(data))
                    })
            })
        })
    }
}

impl Part {
    fn write(&self, data: Message) -> Message {
        match self {
            Self::Plain(kind, bytes) => data.with(*kind, bytes),
            Self::Value(kind, bytes) => data.with_nest(*kind, |value| value.with(NFTA_DATA_VALUE, bytes)),
            Self::Accept(kind) => data.with_nest(*kind, |value| {
                value.with_nest(NFTA_DATA_VERDICT, |verdict| {
                    verdict.with(NFTA_VERDICT_CODE, &NF_ACCEPT.to_be_bytes())
                })
            }),
        }
    }
}

/// Numbers of nf_tables are big-endian.
fn number(kind: u16, value: u32) -> Part {
    Part::Plain(kind, value.to_be_bytes().to_vec())
}
