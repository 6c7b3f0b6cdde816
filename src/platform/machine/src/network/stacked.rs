//! Interfaces that are made of others: a bond of several, a tagged network on one.

use super::link::header;
use crate::netlink::{Message, NLM_F_CREATE, NLM_F_EXCL, Netlink, NetlinkError};

/// include/uapi/linux/rtnetlink.h, if_link.h, if_bonding.h.
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINK: u16 = 5;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_BOND_MODE: u16 = 1;
const IFLA_BOND_MIIMON: u16 = 3;
/// How often a bond looks at its cables, in milliseconds.
const MIIMON_MS: u32 = 100;

/// How the interfaces of a bond share: kernel documentation, networking/bonding, `mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BondMode {
    /// One works, the others wait.
    ActiveBackup,
    /// IEEE 802.3ad: the switch shares, too.
    Lacp,
}

/// Makes a bond; its members must be switched off.
pub fn make_bond(netlink: &mut Netlink, name: &str, mode: BondMode) -> Result<(), NetlinkError> {
    let mode = match mode {
        BondMode::ActiveBackup => 1u8,
        BondMode::Lacp => 4,
    };
    let message = Message::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &header(0, 0, 0));
    let message = message.with_text(IFLA_IFNAME, name).with_nest(IFLA_LINKINFO, |info| {
        info.with_text(IFLA_INFO_KIND, "bond")
            .with_nest(IFLA_INFO_DATA, |data| {
                data.with(IFLA_BOND_MODE, &[mode])
                    .with(IFLA_BOND_MIIMON, &MIIMON_MS.to_ne_bytes())
            })
    });
    netlink.ask(message)
}

/// Makes an interface a member of a bond.
pub fn join(netlink: &mut Netlink, member: u32, bond: u32) -> Result<(), NetlinkError> {
    netlink.ask(Message::new(RTM_NEWLINK, 0, &header(member, 0, 0)).with(IFLA_MASTER, &bond.to_ne_bytes()))
}

/// Makes the interface of a tagged network on another: IEEE 802.1Q.
pub fn make_vlan(netlink: &mut Netlink, name: &str, on: u32, number: u16) -> Result<(), NetlinkError> {
    let message = Message::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &header(0, 0, 0));
    let message = message.with_text(IFLA_IFNAME, name).with(IFLA_LINK, &on.to_ne_bytes());
    let message = message.with_nest(IFLA_LINKINFO, |info| {
        info.with_text(IFLA_INFO_KIND, "vlan")
            .with_nest(IFLA_INFO_DATA, |data| data.with(IFLA_VLAN_ID, &number.to_ne_bytes()))
    });
    netlink.ask(message)
}

/// Takes a made interface away.
pub fn remove(netlink: &mut Netlink, index: u32) -> Result<(), NetlinkError> {
    netlink.ask(Message::new(RTM_DELLINK, 0, &header(index, 0, 0)))
}
