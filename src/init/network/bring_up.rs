//! Interfaces, addresses and routes as one configuration wants them.

use lamchat_appliance::site::{self, Mode};
use lamchat_machine::dhcp::DhcpError;
use lamchat_machine::firewall::{self, Policy};
use lamchat_machine::netlink::{Netlink, NetlinkError};
use lamchat_machine::network::{self, BondMode, Link};
use std::time::{Duration, Instant};

/// The interfaces that are made here.
const BOND: &str = "bond0";
const VLAN: &str = "vlan0";
/// How long a cable is waited for after an interface was switched on.
const CARRIER_PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(250);

/// Why the network is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("{0}: {1}")]
    Kernel(&'static str, NetlinkError),
    #[error("there is no interface {0}")]
    Missing(String),
    #[error("no interface has a cable")]
    NoCable,
    #[error("{0}")]
    Dhcp(#[from] DhcpError),
}

pub fn kernel(what: &'static str) -> impl FnOnce(NetlinkError) -> ApplyError {
    move |error| ApplyError::Kernel(what, error)
}

/// Lets pass what may.
pub fn filter(policy: &Policy) -> Result<(), ApplyError> {
    let mut netlink = Netlink::filter().map_err(kernel("the packet filter"))?;
    firewall::apply(&mut netlink, policy).map_err(kernel("the packet filter"))
}

/// Everything anew, after the packet filter; the interface that a lease is to be asked for on.
pub fn apply(wanted: &site::Network, policy: &Policy) -> Result<Option<Link>, ApplyError> {
    let mut route = Netlink::route().map_err(kernel("the interfaces"))?;
    clear(&mut route)?;
    // Without a filter no interface is switched on.
    filter(policy)?;
    if wanted.mode == Mode::None {
        return Ok(None);
    }
    // Interfaces that are made take these settings; those that are there already are set one by one.
    set_ipv6("default", wanted.mode, false);
    let mut link = match &wanted.bond {
        Some(bond) => make_bond(&mut route, bond, wanted)?,
        None => choose(&mut route, wanted)?,
    };
    if let Some(number) = wanted.vlan {
        network::make_vlan(&mut route, VLAN, link.index, number).map_err(kernel("the VLAN"))?;
        link = find(&mut route, VLAN)?;
        network::set_up(&mut route, link.index, true).map_err(kernel("the VLAN"))?;
    }
    match wanted.mode {
        Mode::None => Ok(None),
        Mode::Static => {
            for cidr in &wanted.addresses {
                network::add_address(&mut route, link.index, cidr.address, cidr.length)
                    .map_err(kernel("the address"))?;
            }
            for router in &wanted.routers {
                network::add_default_route(&mut route, link.index, *router).map_err(kernel("the router"))?;
            }
            Ok(None)
        }
        Mode::Dhcp => Ok(Some(link)),
    }
}

/// All interfaces off and without addresses, those that were made here gone.
fn clear(route: &mut Netlink) -> Result<(), ApplyError> {
    // What stands on another goes first: the kernel would take it away with that one.
    for made in [VLAN, BOND] {
        for link in links(route)?.iter().filter(|link| link.name == made) {
            network::remove(route, link.index).map_err(kernel("an interface"))?;
        }
    }
    for link in links(route)? {
        if link.is_loopback {
            continue;
        }
        network::remove_addresses(route, link.index).map_err(kernel("an address"))?;
        network::set_up(route, link.index, false).map_err(kernel("an interface"))?;
    }
    Ok(())
}

/// Router advertisements are listened to where addresses come by themselves, and nowhere else. A kernel without IPv6 has
/// no such setting.
///
/// What carries a tagged network has no addresses of its own: by one of the link the box would be reached without a tag.
fn set_ipv6(interface: &str, mode: Mode, carries_tags: bool) {
    let switch = |on: bool| if on { "1" } else { "0" };
    let listens = switch(mode == Mode::Dhcp);
    let settings = [
        ("accept_ra", listens),
        ("autoconf", listens),
        ("disable_ipv6", switch(carries_tags)),
    ];
    for (key, value) in settings {
        let _ = network::set(6, interface, key, value);
    }
}

fn links(route: &mut Netlink) -> Result<Vec<Link>, ApplyError> {
    network::links(route).map_err(kernel("the interfaces"))
}

fn find(route: &mut Netlink, name: &str) -> Result<Link, ApplyError> {
    let found = links(route)?.into_iter().find(|link| link.name == name);
    found.ok_or_else(|| ApplyError::Missing(name.to_owned()))
}

/// The configured interface, or the first with a cable; it is on, all others are off.
fn choose(route: &mut Netlink, wanted: &site::Network) -> Result<Link, ApplyError> {
    if let Some(name) = &wanted.interface {
        let link = find(route, name)?;
        set_ipv6(name, wanted.mode, wanted.vlan.is_some());
        network::set_up(route, link.index, true).map_err(kernel("the interface"))?;
        return Ok(link);
    }
    for link in links(route)?.iter().filter(|link| is_card(link)) {
        set_ipv6(&link.name, wanted.mode, wanted.vlan.is_some());
        network::set_up(route, link.index, true).map_err(kernel("an interface"))?;
    }
    let deadline = Instant::now() + CARRIER_PATIENCE;
    let chosen = loop {
        let with_cable = links(route)?.into_iter().find(|link| is_card(link) && link.has_carrier);
        match with_cable {
            Some(link) => break link,
            None if Instant::now() > deadline => return Err(ApplyError::NoCable),
            None => std::thread::sleep(LOOK),
        }
    };
    for link in links(route)?
        .iter()
        .filter(|link| is_card(link) && link.index != chosen.index)
    {
        network::set_up(route, link.index, false).map_err(kernel("an interface"))?;
    }
    Ok(chosen)
}

/// An Ethernet card: a hardware address of six bytes, and not made by software.
fn is_card(link: &Link) -> bool {
    let device = format!("/sys/class/net/{}/device", link.name);
    !link.is_loopback && link.address.len() == 6 && std::path::Path::new(&device).exists()
}

fn make_bond(route: &mut Netlink, bond: &site::Bond, wanted: &site::Network) -> Result<Link, ApplyError> {
    let mode = match bond.mode {
        site::BondMode::ActiveBackup => BondMode::ActiveBackup,
        site::BondMode::Lacp => BondMode::Lacp,
    };
    network::make_bond(route, BOND, mode).map_err(kernel("the bond"))?;
    let made = find(route, BOND)?;
    set_ipv6(BOND, wanted.mode, wanted.vlan.is_some());
    for name in &bond.members {
        let member = find(route, name)?;
        network::join(route, member.index, made.index).map_err(kernel("the bond's member"))?;
        network::set_up(route, member.index, true).map_err(kernel("the bond's member"))?;
    }
    network::set_up(route, made.index, true).map_err(kernel("the bond"))?;
    Ok(made)
}
