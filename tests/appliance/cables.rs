//! The network of a booted box on cables of the tests' own: addresses by DHCP and router advertisements, what a scan of
//! all ports finds, what leaves by itself; a tagged network on a bond whose cables are pulled; LACP.

use crate::set_up::{PIN, set_up, shut_down};
use crate::virtual_machine::{Disk, VirtualMachine};
use crate::wire::{Frame, Network, PORTS, Transport, Wire, may_leave};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long a bond may take to go on by its other cable.
const FAILOVER: Duration = Duration::from_secs(10);
/// How long LACP may take to agree: IEEE 802.1AX, slow timers of 30 s.
const AGREEMENT: Duration = Duration::from_secs(100);
/// How long an address may take to answer that has just come.
const SETTLED: Duration = Duration::from_secs(20);
/// Services that a machine often has.
const UDP_PORTS: [u16; 20] = [
    53, 67, 68, 69, 111, 123, 137, 161, 443, 500, 514, 546, 547, 1900, 4500, 5353, 5355, 8448, 8449, 51820,
];

fn start(disk: &Disk, wire: &Wire) -> VirtualMachine {
    let arguments = wire.arguments();
    VirtualMachine::start(disk, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn addresses_come_by_themselves_and_only_the_configured_ports_are_open() {
    let mut wire = Wire::new(1);
    wire.neighbours.addresses = vec![ip("10.77.0.1"), ip("fe80::1"), ip("fd77:1::1")];
    wire.neighbours.lease = Some(("10.77.0.5".parse().unwrap(), 24));
    wire.neighbours.lease_s = 240;
    wire.neighbours.prefix = Some("fd77:1::".parse().unwrap());
    let disk = Disk::blank();
    let mut machine = start(&disk, &wire);
    let wire = wire.spawn();
    // Before the set-up nothing leaves, whatever is asked.
    machine.expect("Set up this box");
    assert_eq!(wire.lock().heard, [], "before the set-up");
    machine.type_text("x");
    set_up(&mut machine, "dhcp");
    machine.expect("10.77.0.5");
    let leased = Instant::now();
    // RFC 4291, appendix A: the hardware address 52:54:00:00:00:00 as an interface's identifier.
    let (v4, v6) = (ip("10.77.0.5"), ip("fd77:1::5054:ff:fe00:0"));
    for address in [v4, v6] {
        // What was advertised is looked for among the neighbours first: RFC 4862, section 5.4.
        let is_there = wire.lock().until(SETTLED, |wire| wire.ping(address) == Some(0));
        assert!(is_there, "{address}");
    }
    // The server goes away: the lease runs on.
    let requests = wire.lock().neighbours.requests;
    assert!(requests >= 1);
    wire.lock().neighbours.lease = None;

    let configured: BTreeSet<u16> = PORTS.into();
    for address in [v4, v6] {
        let began = Instant::now();
        let found = wire.lock().scan_tcp(address, 1..=u16::MAX);
        println!("all TCP ports of {address}: {found:?}, in {:?}", began.elapsed());
        assert_eq!(found, configured, "{address}");
        assert_eq!(wire.lock().scan_udp(address, &UDP_PORTS), [], "{address}");
    }
    // Half of the lease is over, nobody renewed it, and it is there all the same.
    std::thread::sleep(Duration::from_secs(160).saturating_sub(leased.elapsed()));
    if leased.elapsed() < Duration::from_secs(200) {
        assert_eq!(wire.lock().ping(v4), Some(0));
    }
    // All of it is over: only what came by router advertisements stays.
    std::thread::sleep(Duration::from_secs(330).saturating_sub(leased.elapsed()));
    assert_eq!(wire.lock().ping(v4), None, "a lease that is over");
    wire.lock().neighbours.lease = Some(("10.77.0.6".parse().unwrap(), 24));
    let again = wire
        .lock()
        .until(Duration::from_secs(120), |wire| wire.ping(ip("10.77.0.6")).is_some());
    assert!(again, "no new lease");
    assert_eq!(wire.lock().ping(v6), Some(0));
    let loud = |wire: &Wire| -> Vec<Frame> {
        let frames = wire.heard.iter().map(|(_, frame)| frame);
        frames.filter(|frame| !may_leave(frame)).cloned().collect()
    };
    assert_eq!(loud(&wire.lock()), []);

    // A time server is asked once it is configured, and nobody else.
    wire.lock().neighbours.ahead_s = Some(86_400);
    machine.choose("Shut down", "5", Some(PIN));
    machine.answer("in UTC: ", "10.77.0.1");
    let asked = wire
        .lock()
        .until(Duration::from_secs(60), |wire| !loud(wire).is_empty());
    assert!(asked, "the time server was not asked");
    std::thread::sleep(Duration::from_secs(5));
    let is_question = |frame: &Frame| match &frame.network {
        Network::Ip { to, transport, .. } => {
            *to == ip("10.77.0.1") && matches!(transport, Transport::Udp { destination: 123, .. })
        }
        _ => false,
    };
    assert!(loud(&wire.lock()).iter().all(is_question));
    machine.choose("Shut down", "7", Some(PIN));
    let log = machine.answer("Press Enter", "");
    assert!(log.contains("the clock was off by 86"), "{log}");
    shut_down(&mut machine);
}

#[test]
fn a_bond_outlives_a_cable_and_a_switch_agrees_to_lacp() {
    let mut wire = Wire::new(2);
    wire.neighbours.addresses = vec![ip("10.77.0.1"), ip("fe80::1"), ip("fd77:1::1")];
    wire.neighbours.vlan = Some(7);
    let disk = Disk::blank();
    let mut machine = start(&disk, &wire);
    let wire = wire.spawn();
    set_up(
        &mut machine,
        "10.77.0.5/24 fd77:1::5/64 10.77.0.1 fd77:1::1 vlan=7 bond=active-backup:eth0,eth1",
    );
    let both = [ip("10.77.0.5"), ip("fd77:1::5")];
    let used = wire.lock().ping(ip("10.77.0.5")).unwrap();
    for address in both {
        assert_eq!(wire.lock().ping(address), Some(used), "{address}");
    }
    for (pulled, left) in [(used, 1 - used), (1 - used, used)] {
        machine.command(&format!("set_link net{left} on"));
        wire.lock().cut(left, false);
        std::thread::sleep(Duration::from_secs(1));
        machine.command(&format!("set_link net{pulled} off"));
        wire.lock().cut(pulled, true);
        let since = Instant::now();
        let goes_on = wire.lock().until(FAILOVER, |wire| wire.ping(both[0]) == Some(left));
        assert!(goes_on, "cable {pulled} was pulled");
        println!(
            "cable {pulled} was pulled: answers by the other after {:?}",
            since.elapsed()
        );
        assert_eq!(wire.lock().ping(both[1]), Some(left));
    }
    for cable in [0, 1] {
        machine.command(&format!("set_link net{cable} on"));
        wire.lock().cut(cable, false);
    }
    let untagged = |wire: &Wire| {
        let untagged = |(_, frame): &&(usize, Frame)| frame.vlan != Some(7);
        wire.heard
            .iter()
            .filter(untagged)
            .map(|(_, frame)| frame.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(untagged(&wire.lock()), [], "outside of the tagged network");

    // The same cables as one, by LACP and without a tag; whoever is at the console confirms it.
    {
        let mut wire = wire.lock();
        wire.neighbours.vlan = None;
        wire.neighbours.lacp = true;
        wire.heard.clear();
    }
    machine.choose("Shut down", "4", Some(PIN));
    machine.answer("ROUTER: ", "10.77.0.5/24 fd77:1::5/64 bond=lacp:eth0,eth1");
    machine.expect("else it goes back");
    let agreed = |wire: &mut Wire| {
        [0, 1]
            .iter()
            .all(|cable| wire.neighbours.bundled.get(cable) == Some(&true))
    };
    let since = Instant::now();
    let agrees = wire.lock().until(AGREEMENT, agreed);
    assert!(agrees, "LACP never agrees: {:?}", wire.lock().neighbours.bundled);
    println!("LACP agreed after {:?}", since.elapsed());
    for address in both {
        assert!(wire.lock().ping(address).is_some(), "{address}");
    }
    machine.choose("Keep the new network", "6", Some(PIN));
    machine.command("set_link net0 off");
    wire.lock().cut(0, true);
    let goes_on = wire.lock().until(FAILOVER, |wire| wire.ping(both[0]) == Some(1));
    assert!(goes_on, "a cable of the bundle was pulled");
    let lacp = |frame: &Frame| matches!(frame.network, Network::Slow(_));
    let wire = wire.lock();
    let loud: Vec<_> = wire
        .heard
        .iter()
        .filter(|(_, frame)| !may_leave(frame) && !lacp(frame))
        .collect();
    assert!(loud.is_empty(), "{} frames: {:?}", loud.len(), loud.first());
    drop(wire);
    shut_down(&mut machine);
}
