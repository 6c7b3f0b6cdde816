//! The network as the box's configuration wants it, in a thread of its own: DHCP waits, and leases are renewed.

mod bring_up;

use super::state::Shared;
use super::{clock, exchange};
use bring_up::{ApplyError, apply, filter, kernel};
use lamchat_appliance::site::{Mode, Site, TimeServer};
use lamchat_base::Entropy;
use lamchat_host::OsEntropy;
use lamchat_machine::dhcp::{self, Lease};
use lamchat_machine::firewall::{self, Outgoing, Policy};
use lamchat_machine::netlink::{Netlink, NetlinkError};
use lamchat_machine::network::{self, Link};
use lamchat_machine::time;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// When to try again after a failure.
const AGAIN: Duration = Duration::from_secs(30);
/// When to ask again after nobody renewed a lease that still runs.
const RENEW_AGAIN: Duration = Duration::from_secs(60);
/// Whoever asked for a change from a distance gets the answer before the old addresses go.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// The loopback interface: the exchange and its check talk through it.
pub fn loopback_up() -> Result<(), NetlinkError> {
    let mut netlink = Netlink::route()?;
    for link in network::links(&mut netlink)?.iter().filter(|link| link.is_loopback) {
        network::set_up(&mut netlink, link.index, true)?;
    }
    Ok(())
}

/// What may pass: the exchange's ports, and to exactly those whom the configuration names. A server of NTS may name another
/// address and port for the time itself (RFC 8915, sections 4.1.7 and 4.1.8); the process that asks it, and nobody else,
/// gets there.
fn policy(site: &Site) -> Policy {
    let ntp = |address: IpAddr| Outgoing::Udp(SocketAddr::new(address, time::PORT));
    let mut outgoing = Vec::new();
    for server in &site.time.servers {
        match server {
            TimeServer::Ntp(address) => outgoing.push(ntp(*address)),
            TimeServer::Nts { address, .. } => outgoing.push(Outgoing::Tcp(*address)),
        }
    }
    if site.time.servers.iter().any(TimeServer::is_secured) {
        outgoing.push(Outgoing::UdpOf(clock::USER));
    }
    if let Some(updates) = &site.updates {
        let to = |port| Outgoing::Tcp(SocketAddr::new(updates.address, port));
        outgoing.extend(updates.port().map(to));
    }
    Policy {
        tcp_ports: exchange::PORTS.into_iter().chain([exchange::ADMIN_PORT]).collect(),
        dhcp: site.network.mode == Mode::Dhcp,
        outgoing,
    }
}

/// The filter of a box that is not set up yet: nothing comes in or goes out.
pub fn close() -> Result<(), NetlinkError> {
    firewall::apply(&mut Netlink::filter()?, &Policy::default())
}

/// How far it is.
enum Standing {
    /// Everything is to be made anew.
    Anew,
    /// As configured; nothing is due.
    Done,
    /// An address is asked for. What comes by router advertisements may be there already.
    Asking(Link),
    /// An address is leased until the time that is named last.
    Leased(Link, Lease, Instant),
}

/// Makes the network what each configuration that arrives says. Ends with the channel.
pub fn run(shared: &Arc<Shared>, wanted: &Receiver<Site>) {
    let mut site: Option<Site> = None;
    let (mut standing, mut wait) = (Standing::Anew, Duration::MAX);
    loop {
        match wanted.recv_timeout(wait) {
            Ok(new) => {
                let before = site.replace(new.clone());
                let stays = before.as_ref().is_some_and(|before| before.network == new.network);
                if !stays || matches!(standing, Standing::Anew) {
                    if before.is_some() {
                        std::thread::sleep(ANSWER_TIME);
                    }
                    standing = Standing::Anew;
                } else if let Err(error) = filter(&policy(&new)) {
                    shared.log.note(&format!("network: {error}"));
                    standing = Standing::Anew;
                } else if matches!(standing, Standing::Done) {
                    wait = Duration::MAX;
                    continue;
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let Some(site) = &site else { continue };
        let result;
        (standing, wait, result) = advance(shared, site, standing);
        let mut status = shared.status.lock();
        status.addresses = describe();
        status.network = result.as_ref().err().map(ToString::to_string);
        drop(status);
        if let Err(error) = result {
            shared.log.note(&format!("network: {error}"));
        }
    }
}

/// One step: where it stands then, when to look again, and what went wrong.
fn advance(shared: &Shared, site: &Site, standing: Standing) -> (Standing, Duration, Result<(), ApplyError>) {
    let link = match standing {
        Standing::Done => return (Standing::Done, Duration::MAX, Ok(())),
        Standing::Leased(link, running, ends) => return renew(shared, link, running, ends),
        Standing::Asking(link) => link,
        Standing::Anew => match apply(&site.network, &policy(site)) {
            Ok(Some(link)) => link,
            Ok(None) => {
                shared.log.note("network: as configured");
                return (Standing::Done, Duration::MAX, Ok(()));
            }
            Err(error) => return (Standing::Anew, AGAIN, Err(error)),
        },
    };
    match ask(&link, None).and_then(|lease| take(&link, &lease).map(|()| lease)) {
        Ok(lease) => leased(shared, link, lease),
        // A network of IPv6 alone has nobody who leases; what came by router advertisements must not be taken away.
        Err(error) if has_global_ipv6(&link) => {
            shared.log.note(&format!("network: IPv6 only: {error}"));
            (Standing::Asking(link), AGAIN, Ok(()))
        }
        // Another cable may be the right one.
        Err(error) => (Standing::Anew, AGAIN, Err(error)),
    }
}

fn leased(shared: &Shared, link: Link, lease: Lease) -> (Standing, Duration, Result<(), ApplyError>) {
    let line = format!("network: {} has {}/{}", link.name, lease.address, lease.length);
    shared.log.note(&line);
    // A lease for ever ends later than the clock can tell.
    let ends = Instant::now().checked_add(lease.lasts).unwrap_or_else(Instant::now);
    let wait = lease.renew_after;
    (Standing::Leased(link, lease, ends), wait, Ok(()))
}

/// The same address for longer. RFC 2131, section 4.4.5: it may be used until the lease ends, whoever is silent.
fn renew(shared: &Shared, link: Link, running: Lease, ends: Instant) -> (Standing, Duration, Result<(), ApplyError>) {
    match ask(&link, Some(&running)) {
        Ok(lease) => {
            let moved = if (lease.address, lease.length) == (running.address, running.length) {
                Ok(())
            } else {
                give_back(&link, &running)
            };
            match moved.and_then(|()| take(&link, &lease)) {
                Ok(()) => leased(shared, link, lease),
                Err(error) => (Standing::Anew, AGAIN, Err(error)),
            }
        }
        Err(ApplyError::Dhcp(dhcp::DhcpError::Refused)) => {
            let gone = give_back(&link, &running);
            (Standing::Asking(link), Duration::ZERO, gone)
        }
        Err(error) if Instant::now() < ends => (Standing::Leased(link, running, ends), RENEW_AGAIN, Err(error)),
        Err(error) => (Standing::Anew, Duration::ZERO, Err(error)),
    }
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

fn take(link: &Link, lease: &Lease) -> Result<(), ApplyError> {
    let mut route = Netlink::route().map_err(kernel("the interfaces"))?;
    let address = IpAddr::V4(lease.address);
    network::add_address(&mut route, link.index, address, lease.length).map_err(kernel("the address"))?;
    if let Some(router) = lease.router {
        network::add_default_route(&mut route, link.index, router.into()).map_err(kernel("the router"))?;
    }
    Ok(())
}

fn give_back(link: &Link, lease: &Lease) -> Result<(), ApplyError> {
    let mut route = Netlink::route().map_err(kernel("the interfaces"))?;
    let address = IpAddr::V4(lease.address);
    network::remove_address(&mut route, link.index, address, lease.length).map_err(kernel("the address"))
}

/// The addresses of all interfaces but the loopback one, with the interfaces' names.
fn addresses() -> nix::Result<Vec<(String, IpAddr)>> {
    let ip = |address: nix::sys::socket::SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    let all = nix::ifaddrs::getifaddrs()?;
    let named = all.filter_map(|one| Some((one.interface_name, ip(one.address?)?)));
    Ok(named.filter(|(_, ip)| !ip.is_loopback()).collect())
}

/// Whether an interface has an address of IPv6 that is not of the link alone.
fn has_global_ipv6(link: &Link) -> bool {
    let is_global = |ip: &IpAddr| matches!(ip, IpAddr::V6(v6) if !v6.is_unicast_link_local());
    addresses().is_ok_and(|all| all.iter().any(|(name, ip)| *name == link.name && is_global(ip)))
}

/// Lines for the status screen: each address with its interface, those for the whole world first.
pub fn describe() -> Vec<String> {
    let Ok(mut all) = addresses() else {
        return vec!["the addresses cannot be read".to_owned()];
    };
    all.sort_by_key(|(_, ip)| matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local()));
    all.iter().map(|(name, ip)| format!("{ip} ({name})")).collect()
}
