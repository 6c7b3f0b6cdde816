//! What a kernel does with the filter, in a network of the test's own.

#![expect(clippy::unwrap_used, reason = "tests")]

use super::{Outgoing, Policy, apply};
use crate::netlink::{Message, NLM_F_CREATE, NLM_F_EXCL, Netlink, NetlinkError};
use crate::network;
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Uid, geteuid, setfsuid};
use std::net::UdpSocket;

const RTM_NEWLINK: u16 = 16;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
const TIMEKEEPER: u32 = 994;

/// Sends a datagram by a socket that this user made.
fn send(user: u32, to: &str) -> Result<(), Errno> {
    setfsuid(Uid::from_raw(user));
    let socket = UdpSocket::bind("0.0.0.0:0");
    setfsuid(Uid::from_raw(0));
    let sent = socket.unwrap().send_to(b"what time is it", to);
    sent.map(drop)
        .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap()))
}

/// A cable whose other end is in the same network.
fn cable() {
    let mut route = Netlink::route().unwrap();
    let made = Message::new(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, &[0; 16])
        .with_text(IFLA_IFNAME, "left")
        .with_nest(IFLA_LINKINFO, |info| info.with_text(IFLA_INFO_KIND, "veth"));
    route.ask(made.clone()).unwrap();
    // What the kernel refuses is told, also of messages whose types are those of a batch's brackets.
    assert!(matches!(route.ask(made), Err(NetlinkError::Refused(Errno::EEXIST))));
    let links = network::links(&mut route).unwrap();
    for link in links.iter().filter(|link| !link.is_loopback) {
        network::set_up(&mut route, link.index, true).unwrap();
    }
    let left = links.iter().find(|link| link.name == "left").unwrap();
    network::add_address(&mut route, left.index, "10.9.0.1".parse().unwrap(), 24).unwrap();
}

#[test]
fn the_timekeeper_alone_gets_to_where_it_was_sent_on() {
    if !geteuid().is_root() {
        println!("left out: a network of its own takes root");
        return;
    }
    // The network is the thread's.
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        cable();
        let mut filter = Netlink::filter().unwrap();
        let mut policy = Policy {
            outgoing: vec![Outgoing::Udp("10.9.0.2:123".parse().unwrap())],
            ..Policy::default()
        };
        apply(&mut filter, &policy).unwrap();
        for user in [0, 990, TIMEKEEPER] {
            assert_eq!(send(user, "10.9.0.2:123"), Ok(()), "{user}");
            assert_eq!(send(user, "10.9.0.2:4123"), Err(Errno::EPERM), "{user}");
            assert_eq!(send(user, "10.9.0.3:123"), Err(Errno::EPERM), "{user}");
        }
        policy.outgoing = vec![Outgoing::UdpOf(TIMEKEEPER)];
        apply(&mut filter, &policy).unwrap();
        for to in ["10.9.0.2:123", "10.9.0.3:4123"] {
            assert_eq!(send(TIMEKEEPER, to), Ok(()));
            for user in [0, 990, 991, TIMEKEEPER << 8, TIMEKEEPER.swap_bytes()] {
                assert_eq!(send(user, to), Err(Errno::EPERM), "{user}");
            }
        }
    });
    thread.join().unwrap();
}
