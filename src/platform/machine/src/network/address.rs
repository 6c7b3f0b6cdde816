//! Addresses of interfaces, and the way to everywhere else.

use crate::netlink::{Message, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, Netlink, NetlinkError, attributes};
use nix::errno::Errno;
use nix::libc::{AF_INET, AF_INET6};
use std::net::IpAddr;

/// include/uapi/linux/rtnetlink.h and if_addr.h.
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_HEADER_BYTES: usize = 8;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
const RT_TABLE_MAIN: u8 = 254;
const RTPROT_STATIC: u8 = 4;
const RTN_UNICAST: u8 = 1;

fn family(address: IpAddr) -> u8 {
    let family = if address.is_ipv4() { AF_INET } else { AF_INET6 };
    u8::try_from(family).unwrap_or_default()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn header(family: u8, length: u8, index: u32) -> Vec<u8> {
    let mut bytes = vec![family, length, 0, 0];
    bytes.extend(index.to_ne_bytes());
    bytes
}

/// Gives an interface an address in a network of `length` bits; what it has already stays.
pub fn add_address(netlink: &mut Netlink, index: u32, address: IpAddr, length: u8) -> Result<(), NetlinkError> {
    let bytes = octets(address);
    let message = Message::new(
        RTM_NEWADDR,
        NLM_F_CREATE | NLM_F_REPLACE,
        &header(family(address), length, index),
    );
    netlink.ask(message.with(IFA_LOCAL, &bytes).with(IFA_ADDRESS, &bytes))
}

/// Takes one address of an interface away; routes that need it go with it. One that is not there is no error.
pub fn remove_address(netlink: &mut Netlink, index: u32, address: IpAddr, length: u8) -> Result<(), NetlinkError> {
    let message = Message::new(RTM_DELADDR, 0, &header(family(address), length, index));
    match netlink.ask(message.with(IFA_LOCAL, &octets(address))) {
        Ok(()) | Err(NetlinkError::Refused(Errno::EADDRNOTAVAIL)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Takes all addresses of an interface away; routes over it go with them.
pub fn remove_addresses(netlink: &mut Netlink, index: u32) -> Result<(), NetlinkError> {
    let all = netlink.dump(Message::new(RTM_GETADDR, NLM_F_DUMP, &header(0, 0, 0)))?;
    for answer in all.iter().filter(|answer| answer.kind == RTM_NEWADDR) {
        let Some([family, length, _, _, i0, i1, i2, i3]) = answer.body.first_chunk().copied() else {
            return Err(NetlinkError::Malformed);
        };
        if u32::from_ne_bytes([i0, i1, i2, i3]) != index {
            continue;
        }
        let mut message = Message::new(RTM_DELADDR, 0, &header(family, length, index));
        for (kind, payload) in attributes(answer.body.get(IFA_HEADER_BYTES..).unwrap_or_default()) {
            if matches!(kind, IFA_LOCAL | IFA_ADDRESS) {
                message = message.with(kind, payload);
            }
        }
        match netlink.ask(message) {
            // A secondary address goes with its primary one.
            Ok(()) | Err(NetlinkError::Refused(Errno::EADDRNOTAVAIL)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Everything that is not on a network of its own goes to a router.
pub fn add_default_route(netlink: &mut Netlink, index: u32, router: IpAddr) -> Result<(), NetlinkError> {
    let header = [
        family(router),
        0,
        0,
        0,
        RT_TABLE_MAIN,
        RTPROT_STATIC,
        0,
        RTN_UNICAST,
        0,
        0,
        0,
        0,
    ];
    let message = Message::new(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &header);
    netlink.ask(
        message
            .with(RTA_GATEWAY, &octets(router))
            .with(RTA_OIF, &index.to_ne_bytes()),
    )
}
