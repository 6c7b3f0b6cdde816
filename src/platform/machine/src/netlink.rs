//! Netlink messages, written and read byte by byte: RFC 3549, section 2, and netlink(7). One request at a time, each
//! acknowledged by the kernel.

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, send, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::os::fd::{AsRawFd, OwnedFd};

/// Longest datagram that is read; the kernel fills at most 32 KiB at once.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;
/// Most messages of one answer.
const MESSAGES_MAX: usize = 65_536;
/// How long the kernel may take.
const PATIENCE_S: i64 = 10;
const HEADER_BYTES: usize = 16;

/// Flags of a request: include/uapi/linux/netlink.h.
pub const NLM_F_REQUEST: u16 = 1;
/// Asks for an acknowledgement.
pub const NLM_F_ACK: u16 = 4;
/// Replaces what is there.
pub const NLM_F_REPLACE: u16 = 0x100;
/// Refuses what is there already.
pub const NLM_F_EXCL: u16 = 0x200;
/// Makes what is not there.
pub const NLM_F_CREATE: u16 = 0x400;
/// Adds at the end.
pub const NLM_F_APPEND: u16 = 0x800;
/// All objects, not one.
pub const NLM_F_DUMP: u16 = 0x300;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// Marks an attribute that holds attributes.
const NLA_F_NESTED: u16 = 0x8000;
const NLA_TYPE_MASK: u16 = 0x3fff;

/// Why the kernel did not do it.
#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    /// The socket itself.
    #[error("netlink: {0}")]
    Socket(Errno),
    /// The kernel's refusal.
    #[error("the kernel refuses: {}", .0.desc())]
    Refused(Errno),
    /// An answer that is not one.
    #[error("netlink: an answer is malformed")]
    Malformed,
}

/// A message that is being written.
#[derive(Debug, Clone)]
pub struct Message {
    bytes: Vec<u8>,
    /// Whether the kernel acknowledges it.
    is_answered: bool,
}

impl Message {
    /// A request of a type, with the family's own header.
    pub fn new(kind: u16, flags: u16, header: &[u8]) -> Self {
        let mut bytes = vec![0; 4];
        bytes.extend(kind.to_ne_bytes());
        bytes.extend((flags | NLM_F_REQUEST).to_ne_bytes());
        bytes.extend([0; 8]);
        bytes.extend(header);
        let mut message = Self {
            bytes,
            is_answered: true,
        };
        message.pad();
        message
    }

    /// The same for one that the kernel acknowledges by what it brackets: begin and end of a batch of nfnetlink. Their types
    /// say nothing alone: they are those of making and removing an interface.
    #[must_use]
    pub fn without_answer(self) -> Self {
        Self {
            is_answered: false,
            ..self
        }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn with(mut self, kind: u16, payload: &[u8]) -> Self {
        let length = u16::try_from(payload.len() + 4).unwrap_or(u16::MAX);
        self.bytes.extend(length.to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(payload);
        self.pad();
        self
    }

    /// Adds a text that ends in NUL.
    #[must_use]
    pub fn with_text(self, kind: u16, text: &str) -> Self {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.with(kind, &bytes)
    }

    /// Adds an attribute that holds others.
    #[must_use]
    pub fn with_nest(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let at = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend((kind | NLA_F_NESTED).to_ne_bytes());
        let mut filled = fill(self);
        let length = u16::try_from(filled.bytes.len() - at).unwrap_or(u16::MAX);
        filled.put(at, &length.to_ne_bytes());
        filled
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn put(&mut self, at: usize, value: &[u8]) {
        if let Some(place) = self.bytes.get_mut(at..at + value.len()) {
            place.copy_from_slice(value);
        }
    }

    /// The finished bytes.
    pub fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.put(0, &length.to_ne_bytes());
        self.put(8, &sequence.to_ne_bytes());
        self.bytes
    }
}

/// A message of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its type.
    pub kind: u16,
    /// What follows the header.
    pub body: Vec<u8>,
}

/// An attribute: its type without flags, and its payload.
pub type Attribute<'a> = (u16, &'a [u8]);

/// The attributes in `bytes`, up to the first that is malformed.
pub fn attributes(bytes: &[u8]) -> impl Iterator<Item = Attribute<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let [l0, l1, k0, k1, ..] = *rest else { return None };
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let payload = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([k0, k1]) & NLA_TYPE_MASK, payload))
    })
}

/// The messages of a datagram, with their sequence numbers.
pub fn messages(datagram: &[u8]) -> Result<Vec<(u32, Answer)>, NetlinkError> {
    let mut found = Vec::new();
    let mut rest = datagram;
    while rest.len() >= HEADER_BYTES && found.len() < MESSAGES_MAX {
        let [l0, l1, l2, l3, k0, k1, _, _, s0, s1, s2, s3, ..] = *rest else {
            return Err(NetlinkError::Malformed);
        };
        let length = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).map_err(|_| NetlinkError::Malformed)?;
        let body = rest.get(HEADER_BYTES..length).ok_or(NetlinkError::Malformed)?;
        let answer = Answer {
            kind: u16::from_ne_bytes([k0, k1]),
            body: body.to_vec(),
        };
        found.push((u32::from_ne_bytes([s0, s1, s2, s3]), answer));
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(found)
}

/// A socket to a part of the kernel.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// To the interfaces, addresses and routes.
    pub fn route() -> Result<Self, NetlinkError> {
        Self::open(SockProtocol::NetlinkRoute)
    }

    /// To the packet filter.
    pub fn filter() -> Result<Self, NetlinkError> {
        Self::open(SockProtocol::NetlinkNetFilter)
    }

    fn open(protocol: SockProtocol) -> Result<Self, NetlinkError> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, protocol).map_err(NetlinkError::Socket)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0)).map_err(NetlinkError::Socket)?;
        let patience = TimeVal::seconds(PATIENCE_S);
        setsockopt(&socket, sockopt::ReceiveTimeout, &patience).map_err(NetlinkError::Socket)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Asks for something, and waits until the kernel has done it.
    pub fn ask(&mut self, message: Message) -> Result<(), NetlinkError> {
        self.ask_all(vec![message])
    }

    /// Asks for several things in one datagram; waits for the acknowledgement of the last that wants one.
    pub fn ask_all(&mut self, messages: Vec<Message>) -> Result<(), NetlinkError> {
        let mut datagram = Vec::new();
        let mut awaited = Vec::new();
        for mut message in messages {
            self.sequence = self.sequence.wrapping_add(1);
            if message.is_answered {
                let [f0, f1] = [6, 7].map(|at| message.bytes.get(at).copied().unwrap_or_default());
                let flags = u16::from_ne_bytes([f0, f1]) | NLM_F_ACK;
                message.put(6, &flags.to_ne_bytes());
                awaited.push(self.sequence);
            }
            datagram.extend(message.finish(self.sequence));
        }
        self.send(&datagram)?;
        while !awaited.is_empty() {
            for (sequence, answer) in self.receive()? {
                if answer.kind == NLMSG_ERROR {
                    refusal(&answer)?;
                    awaited.retain(|one| *one != sequence);
                }
            }
        }
        Ok(())
    }

    /// Asks for all objects of a kind.
    pub fn dump(&mut self, message: Message) -> Result<Vec<Answer>, NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let expected = self.sequence;
        self.send(&message.finish(expected))?;
        let mut all = Vec::new();
        loop {
            for (sequence, answer) in self.receive()? {
                match answer.kind {
                    _ if sequence != expected => {}
                    NLMSG_DONE => return Ok(all),
                    NLMSG_ERROR => refusal(&answer)?,
                    _ if all.len() < MESSAGES_MAX => all.push(answer),
                    _ => {}
                }
            }
        }
    }

    fn send(&self, datagram: &[u8]) -> Result<(), NetlinkError> {
        let sent = send(self.socket.as_raw_fd(), datagram, MsgFlags::empty()).map_err(NetlinkError::Socket)?;
        if sent == datagram.len() {
            Ok(())
        } else {
            Err(NetlinkError::Malformed)
        }
    }

    fn receive(&self) -> Result<Vec<(u32, Answer)>, NetlinkError> {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        loop {
            match recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                Ok(length) => return messages(buffer.get(..length).unwrap_or_default()),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(NetlinkError::Socket(error)),
            }
        }
    }
}

/// netlink(7): an error message begins with a negative errno, or 0 for an acknowledgement.
fn refusal(answer: &Answer) -> Result<(), NetlinkError> {
    let Some([e0, e1, e2, e3]) = answer.body.first_chunk().copied() else {
        return Err(NetlinkError::Malformed);
    };
    match i32::from_ne_bytes([e0, e1, e2, e3]) {
        0 => Ok(()),
        code => Err(NetlinkError::Refused(Errno::from_raw(code.saturating_neg()))),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read() {
        let message = Message::new(16, NLM_F_CREATE, &[0; 16])
            .with_text(3, "bond0")
            .with_nest(18, |nest| nest.with_text(1, "bond").with(2, &[1]));
        let bytes = message.finish(7);
        assert_eq!(bytes.len() % 4, 0);
        let [(sequence, answer)] = <[_; 1]>::try_from(messages(&bytes).unwrap()).unwrap();
        assert_eq!((sequence, answer.kind), (7, 16));
        let found: Vec<Attribute<'_>> = attributes(answer.body.get(16..).unwrap()).collect();
        assert_eq!(found.first().unwrap(), &(3, &b"bond0\0"[..]));
        let inner: Vec<Attribute<'_>> = attributes(found.get(1).unwrap().1).collect();
        assert_eq!(inner, [(1, &b"bond\0"[..]), (2, &[1][..])]);
    }

    #[test]
    fn the_kernel_lists_the_loopback_interface() {
        // RTM_GETLINK = 18; IFLA_IFNAME = 3.
        let links = Netlink::route()
            .unwrap()
            .dump(Message::new(18, NLM_F_DUMP, &[0; 16]))
            .unwrap();
        let names = links.iter().filter_map(|link| {
            attributes(link.body.get(16..)?)
                .find(|(kind, _)| *kind == 3)
                .map(|(_, name)| name.to_vec())
        });
        assert!(names.into_iter().any(|name| name == b"lo\0"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(found) = messages(&bytes) {
                for (_, answer) in found {
                    prop_assert!(attributes(&answer.body).count() <= answer.body.len() / 4 + 1);
                }
            }
        }
    }
}
