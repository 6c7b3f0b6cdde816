//! What may leave a box that nobody told to ask for anything.

use super::frame::{ACK, Frame, Network, SYN, Transport};

/// The ports that are configured: clients, peers, administrators with a credential.
pub const PORTS: [u16; 3] = [443, 8448, 8449];

/// Whether the firmware said it, while it looked for what it starts from: a report of version 1 of multicast listener
/// discovery (RFC 2710), as EDK2's network driver makes it. Linux speaks version 2 (RFC 3810), and the box lets out neither,
/// which the tests without firmware show.
pub fn is_of_firmware(frame: &Frame) -> bool {
    let Network::Ip { transport, .. } = &frame.network else {
        return false;
    };
    frame.is_ipv6() && matches!(transport, Transport::Icmp(131, _))
}

/// Whether a frame of the box's is one of: address resolution, neighbour and router discovery, DHCP, an answer.
pub fn may_leave(frame: &Frame) -> bool {
    match &frame.network {
        Network::Arp(..) => true,
        Network::Ip { transport, .. } => match transport {
            // RFC 792 and RFC 4443, echo replies; RFC 4861: router solicitation, neighbour solicitation and advertisement.
            Transport::Icmp(kind, _) => matches!((frame.is_ipv6(), kind), (false, 0) | (true, 129 | 133 | 135 | 136)),
            Transport::Udp {
                source, destination, ..
            } => (*source, *destination) == (68, 67),
            Transport::Tcp { source, flags, .. } => PORTS.contains(source) && flags & (SYN | ACK) != SYN,
            Transport::Other(_) => false,
        },
        Network::Slow(_) | Network::Other(_) => false,
    }
}
