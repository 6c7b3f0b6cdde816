//! The time of a booted box: chrony tells it, by NTP and by NTS, and the console says from whom; a clock whose battery is
//! empty is lifted to what is known to have been.
//!
//! The server has the ports that RFC 5905 and RFC 8915 name, so box and server are in a network namespace of their own,
//! for which the test needs root.

use crate::chrony::{Chrony, NAME};
use crate::set_up::{PIN, set_up, shut_down};
use crate::stick::UsbStick;
use crate::usb::choose;
use crate::virtual_machine::{Disk, VirtualMachine};
use lamchat_appliance::site::Editable;
use lamchat_machine::netlink::Netlink;
use lamchat_machine::{network, time};
use nix::sched::{CloneFlags, unshare};
use std::time::{Duration, Instant};

const NTS_PORT: u16 = 4460;
/// How long the box may take to follow a server.
const FOLLOWS: Duration = Duration::from_secs(120);
/// Minutes by which the screen may be behind: it is drawn when something changes.
const BEHIND_MAX: u64 = 2;

/// This thread, and what it starts, get a network with a loopback interface alone.
fn leave_the_network() {
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
        panic!("a network namespace needs root: {error}");
    }
    let mut netlink = Netlink::route().unwrap();
    let all = network::links(&mut netlink).unwrap();
    let own = all.iter().find(|link| link.is_loopback).unwrap();
    network::set_up(&mut netlink, own.index, true).unwrap();
}

/// The minute that a screen shows behind the name, since 1970.
fn minutes(screen: &str) -> Option<u64> {
    let before = screen.get(..screen.rfind(" UTC")?)?;
    let text = before.get(before.len().checked_sub(16)?..)?;
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    // Days since 1970 of the Gregorian calendar, years that begin in March.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468;
    Some((days * 24 + number(11, 13)?) * 60 + number(14, 16)?)
}

fn now() -> u64 {
    time::now_ms() / 60_000
}

/// Waits until the screen's clock is this machine's.
fn follows(machine: &mut VirtualMachine) {
    let since = Instant::now();
    loop {
        let shown = minutes(machine.shown());
        if shown.is_some_and(|shown| now().abs_diff(shown) <= BEHIND_MAX) {
            return;
        }
        assert!(
            since.elapsed() < FOLLOWS,
            "{shown:?}, not {}: {}",
            now(),
            machine.shown()
        );
        machine.read();
    }
}

fn start(disk: &Disk, stick: &UsbStick) -> VirtualMachine {
    let stick = stick.arguments();
    let stick: Vec<&str> = stick.iter().map(String::as_str).collect();
    // A battery that is empty.
    let clock = ["-rtc", "base=2001-01-01T00:00:00", "-nic", "user,model=virtio-net-pci"];
    VirtualMachine::start(disk, &[&clock, stick.as_slice()].concat())
}

/// Has the servers asked by what the stick brings.
fn configure(
    machine: &mut VirtualMachine,
    stick: &UsbStick,
    version: u64,
    servers: &[&str],
    authorities: Option<&str>,
) {
    let mut site = Editable {
        version,
        network: lamchat_appliance::site::parse_network("dhcp").unwrap(),
        time: lamchat_appliance::site::Time::default(),
        updates: None,
    };
    site.time.servers = servers.iter().map(|server| server.parse().unwrap()).collect();
    site.time.authorities = authorities.map(str::to_owned);
    stick.write("site.toml", toml::to_string(&site).unwrap().as_bytes());
    choose(machine, "Configuration from the stick", "7");
    machine.expect("What changes");
    // A certificate is longer than a screen.
    let shown = machine.answer("Press Enter", "");
    let pages = shown.rsplit_once("(1 of ");
    let pages = pages.and_then(|(_, rest)| rest.split(')').next()?.parse().ok());
    for _ in 1..pages.unwrap_or(1) {
        machine.answer("Press Enter", "");
    }
    machine.answer("Take it over? (type yes): ", "yes");
}

/// What process 1 said.
fn log(machine: &mut VirtualMachine) -> String {
    machine.choose("Shut down", "7", Some(PIN));
    machine.answer("Press Enter", "")
}

#[test]
fn the_clock_follows_chrony_by_ntp_and_nts_and_is_never_set_back() {
    leave_the_network();
    let chrony = Chrony::start_at((2020, 2200), time::PORT, NTS_PORT);
    let stranger = crate::chrony::certificate((2020, 2200)).0;
    let (disk, stick) = (Disk::blank(), UsbStick::new(true));
    let mut machine = start(&disk, &stick);
    machine.expect("Set up this box");
    let first = minutes(machine.shown()).unwrap();
    // Ten years are more than a release is old.
    assert!(
        (now() - 10 * 365 * 1440..=now()).contains(&first),
        "{first}: {}",
        machine.shown()
    );
    machine.type_text("x");
    let key = set_up(&mut machine, "dhcp");

    machine.choose("Shut down", "5", Some(PIN));
    machine.answer("in UTC: ", "10.0.2.2");
    machine.expect("from 10.0.2.2");
    follows(&mut machine);
    let said = log(&mut machine);
    assert!(
        said.contains("the clock was off by") && said.contains("the time: from 10.0.2.2"),
        "{said}"
    );

    // Whoever cannot show a certificate that the box was told to trust says nothing.
    let secured = format!("{NAME}@10.0.2.2");
    configure(&mut machine, &stick, 2, &[&secured], Some(&stranger));
    machine.expect("no time server tells the time");
    let said = log(&mut machine);
    println!("{said}");
    assert!(said.contains(&format!("time server {secured}: ")), "{said}");
    configure(&mut machine, &stick, 3, &[&secured], Some(&chrony.authority));
    machine.expect(&format!("from {secured}"));
    follows(&mut machine);
    let kept = now();
    shut_down(&mut machine);

    // Nobody tells the time any more, and the battery is empty: not before the box ran last.
    drop(chrony);
    let mut machine = start(&disk, &stick);
    machine.choose("Unlock with the recovery key", "1", None);
    machine.answer("Recovery key: ", &key);
    machine.answer("type yes", "no");
    machine.expect("no time server tells the time");
    let shown = minutes(machine.shown()).unwrap();
    println!("ran until minute {kept}, and begins at {shown}");
    assert!(
        (kept - BEHIND_MAX..=now()).contains(&shown),
        "{shown}, not from {kept} on"
    );
    shut_down(&mut machine);
}
