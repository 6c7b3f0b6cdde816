//! The network as the box's configuration wants it, in a thread of its own: DHCP waits, and leases are renewed.

use super::exchange;
use super::state::Shared;
use lamchat_appliance::site::{self, Mode, Site};
use lamchat_base::Entropy;
use lamchat_host::OsEntropy;
use lamchat_machine::dhcp::{self, DhcpError, Lease};
use lamchat_machine::firewall::{self, Policy};
use lamchat_machine::netlink::{Netlink, NetlinkError};
use lamchat_machine::network::{self, BondMode, Link};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// The interfaces that are made here.
const BOND: &str = "bond0";
const VLAN: &str = "vlan0";
/// How long a cable is waited for after an interface was switched on.
const CARRIER_PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(250);
/// When to try again after a failure.
const AGAIN: Duration = Duration::from_secs(30);

/// Why the network is not as it should be.
#[derive(Debug, thiserror::Error)]
enum ApplyError {
    #[error("{0}: {1}")]
    Kernel(&'static str, NetlinkError),
    #[error("there is no interface {0}")]
    Missing(String),
    #[error("no interface has a cable")]
    NoCable,
    #[error("{0}")]
    Dhcp(#[from] DhcpError),
}

fn kernel(what: &'static str) -> impl FnOnce(NetlinkError) -> ApplyError {
    move |error| ApplyError::Kernel(what, error)
}

/// The loopback interface: the exchange and its check talk through it.
pub fn loopback_up() -> Result<(), NetlinkError> {
    let mut netlink = Netlink::route()?;
    for link in network::links(&mut netlink)?.iter().filter(|link| link.is_loopback) {
        network::set_up(&mut netlink, link.index, true)?;
    }
    Ok(())
}

/// What may pass.
fn policy(site: &Site) -> Policy {
    Policy {
        tcp_ports: exchange::PORTS.into_iter().chain([exchange::ADMIN_PORT]).collect(),
        dhcp: site.network.mode == Mode::Dhcp,
        time_servers: site.time.servers.clone(),
    }
}

/// The filter of a box that is not set up yet: nothing comes in or goes out.
pub fn close() -> Result<(), NetlinkError> {
    firewall::apply(&mut Netlink::filter()?, &Policy::default())
}

/// Makes the network what each configuration that arrives says. Ends with the channel.
pub fn run(shared: &Arc<Shared>, wanted: &Receiver<Site>) {
    let mut site: Option<Site> = None;
    let mut lease: Option<(Link, Lease)> = None;
    let mut wait = Duration::MAX;
    loop {
        match wanted.recv_timeout(wait) {
            Ok(new) => {
                lease = None;
                site = Some(new);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let Some(site) = &site else { continue };
        let result = match &lease {
            Some((link, running)) => renew(link, running).map(Some),
            None => apply(site),
        };
        let mut status = shared.status.lock();
        status.addresses = describe();
        status.network = result.as_ref().err().map(ToString::to_string);
        drop(status);
        match result {
            Ok(Some((link, new))) => {
                wait = new.renew_after;
                shared
                    .log
                    .note(&format!("network: {} has {}/{}", link.name, new.address, new.length));
                lease = Some((link, new));
            }
            Ok(None) => {
                wait = Duration::MAX;
                shared.log.note("network: as configured");
            }
            Err(error) => {
                shared.log.note(&format!("network: {error}"));
                lease = None;
                wait = AGAIN;
            }
        }
    }
}

/// Everything anew; a lease if the addresses come from DHCP.
fn apply(site: &Site) -> Result<Option<(Link, Lease)>, ApplyError> {
    let mut filter = Netlink::filter().map_err(kernel("the packet filter"))?;
    let mut route = Netlink::route().map_err(kernel("the interfaces"))?;
    // Without a filter no interface is switched on.
    clear(&mut route)?;
    firewall::apply(&mut filter, &policy(site)).map_err(kernel("the packet filter"))?;
    let wanted = &site.network;
    if wanted.mode == Mode::None {
        return Ok(None);
    }
    set_ipv6("default", wanted.mode);
    let mut link = match &wanted.bond {
        Some(bond) => make_bond(&mut route, bond)?,
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
        Mode::Dhcp => {
            let lease = ask(&link, None)?;
            take(&mut route, &link, &lease)?;
            Ok(Some((link, lease)))
        }
    }
}

/// All interfaces off and without addresses, those that were made here gone.
fn clear(route: &mut Netlink) -> Result<(), ApplyError> {
    for link in links(route)? {
        if link.is_loopback {
            continue;
        }
        if [BOND, VLAN].contains(&link.name.as_str()) {
            network::remove(route, link.index).map_err(kernel("an interface"))?;
            continue;
        }
        network::remove_addresses(route, link.index).map_err(kernel("an address"))?;
        network::set_up(route, link.index, false).map_err(kernel("an interface"))?;
    }
    Ok(())
}

/// Router advertisements are listened to where addresses come by themselves, and nowhere else. A kernel without IPv6 has
/// no such setting.
fn set_ipv6(interface: &str, mode: Mode) {
    let value = if mode == Mode::Dhcp { "1" } else { "0" };
    for key in ["accept_ra", "autoconf"] {
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
        set_ipv6(name, wanted.mode);
        network::set_up(route, link.index, true).map_err(kernel("the interface"))?;
        return Ok(link);
    }
    for link in links(route)?.iter().filter(|link| is_card(link)) {
        set_ipv6(&link.name, wanted.mode);
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

fn make_bond(route: &mut Netlink, bond: &site::Bond) -> Result<Link, ApplyError> {
    let mode = match bond.mode {
        site::BondMode::ActiveBackup => BondMode::ActiveBackup,
        site::BondMode::Lacp => BondMode::Lacp,
    };
    network::make_bond(route, BOND, mode).map_err(kernel("the bond"))?;
    let made = find(route, BOND)?;
    for name in &bond.members {
        let member = find(route, name)?;
        network::join(route, member.index, made.index).map_err(kernel("the bond's member"))?;
        network::set_up(route, member.index, true).map_err(kernel("the bond's member"))?;
    }
    network::set_up(route, made.index, true).map_err(kernel("the bond"))?;
    Ok(made)
}

fn ask(link: &Link, current: Option<&Lease>) -> Result<Lease, ApplyError> {
    let hardware = link.address.first_chunk::<6>().copied().unwrap_or_default();
    let mut transaction = [0; 4];
    OsEntropy.fill(&mut transaction);
    Ok(dhcp::lease(
        &link.name,
        hardware,
        u32::from_ne_bytes(transaction),
        current,
    )?)
}

fn take(route: &mut Netlink, link: &Link, lease: &Lease) -> Result<(), ApplyError> {
    let address = IpAddr::V4(lease.address);
    network::add_address(route, link.index, address, lease.length).map_err(kernel("the address"))?;
    if let Some(router) = lease.router {
        network::add_default_route(route, link.index, router.into()).map_err(kernel("the router"))?;
    }
    Ok(())
}

/// The same address for longer.
fn renew(link: &Link, running: &Lease) -> Result<(Link, Lease), ApplyError> {
    let lease = ask(link, Some(running))?;
    let mut route = Netlink::route().map_err(kernel("the interfaces"))?;
    if lease.address != running.address {
        network::remove_addresses(&mut route, link.index).map_err(kernel("an address"))?;
    }
    take(&mut route, link, &lease)?;
    Ok((link.clone(), lease))
}

/// Lines for the status screen: each interface with its addresses.
pub fn describe() -> Vec<String> {
    let Ok(all) = nix::ifaddrs::getifaddrs() else {
        return vec!["the addresses cannot be read".to_owned()];
    };
    let mut lines = Vec::new();
    for one in all {
        let Some(address) = one.address else { continue };
        let ip = if let Some(v4) = address.as_sockaddr_in() {
            IpAddr::V4(v4.ip())
        } else if let Some(v6) = address.as_sockaddr_in6() {
            IpAddr::V6(v6.ip())
        } else {
            continue;
        };
        if !ip.is_loopback() {
            lines.push(format!("{ip} ({})", one.interface_name));
        }
    }
    lines
}
