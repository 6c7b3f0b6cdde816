//! Network interfaces.

use crate::netlink::{Message, NLM_F_DUMP, Netlink, NetlinkError, attributes};

/// include/uapi/linux/rtnetlink.h and if_link.h.
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFF_UP: u32 = 1;
const IFF_LOOPBACK: u32 = 8;
const IFF_LOWER_UP: u32 = 0x1_0000;
/// The family's header: family, type, index, flags, mask of flags.
const HEADER_BYTES: usize = 16;

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its hardware address.
    pub address: Vec<u8>,
    /// Whether it is the loopback interface.
    pub is_loopback: bool,
    /// Whether it is switched on.
    pub is_up: bool,
    /// Whether the cable is in.
    pub has_carrier: bool,
}

pub(super) fn header(index: u32, flags: u32, mask: u32) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend(index.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend(mask.to_ne_bytes());
    bytes
}

/// All interfaces, in the kernel's order.
pub fn links(netlink: &mut Netlink) -> Result<Vec<Link>, NetlinkError> {
    let answers = netlink.dump(Message::new(RTM_GETLINK, NLM_F_DUMP, &header(0, 0, 0)))?;
    answers
        .iter()
        .filter(|answer| answer.kind == RTM_NEWLINK)
        .map(|answer| read(&answer.body))
        .collect()
}

fn read(body: &[u8]) -> Result<Link, NetlinkError> {
    let Some([_, _, _, _, i0, i1, i2, i3, f0, f1, f2, f3]) = body.first_chunk().copied() else {
        return Err(NetlinkError::Malformed);
    };
    let flags = u32::from_ne_bytes([f0, f1, f2, f3]);
    let mut link = Link {
        index: u32::from_ne_bytes([i0, i1, i2, i3]),
        name: String::new(),
        address: Vec::new(),
        is_loopback: flags & IFF_LOOPBACK != 0,
        is_up: flags & IFF_UP != 0,
        has_carrier: flags & IFF_LOWER_UP != 0,
    };
    for (kind, payload) in attributes(body.get(HEADER_BYTES..).unwrap_or_default()) {
        match kind {
            IFLA_IFNAME => {
                let name = payload.split(|byte| *byte == 0).next().unwrap_or_default();
                link.name = String::from_utf8_lossy(name).into_owned();
            }
            IFLA_ADDRESS => link.address = payload.to_vec(),
            _ => {}
        }
    }
    Ok(link)
}

/// Switches an interface on or off.
pub fn set_up(netlink: &mut Netlink, index: u32, up: bool) -> Result<(), NetlinkError> {
    let flags = if up { IFF_UP } else { 0 };
    netlink.ask(Message::new(RTM_NEWLINK, 0, &header(index, flags, IFF_UP)))
}
