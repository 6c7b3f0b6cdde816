//! The network of a booted box: a client from outside over TLS, closed ports, and a change that cuts everybody off.

use crate::client::{free_port, get};
use crate::set_up::{PIN, set_up, shut_down};
use crate::virtual_machine::{Disk, VirtualMachine};
use crate::wire::{Frame, may_leave, read_pcap};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

/// The box's card.
const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x77];
/// How long a port is given to show that it is open.
const CLOSED_AFTER: Duration = Duration::from_secs(5);

/// Whether the guest answers anything on a forwarded port: QEMU accepts the connection itself, and says nothing or closes
/// it when the guest does not take it.
fn is_closed(port: u16) -> bool {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(CLOSED_AFTER)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    !matches!(stream.read(&mut [0; 16]), Ok(length) if length > 0)
}

/// What `/versions` answers on a forwarded port.
fn versions(port: u16) -> std::io::Result<String> {
    get(port, "/_matrix/client/versions", None).map(|(_, answer)| answer.to_string())
}

/// QEMU's arguments for a network with these rules and a card with these options, of which every frame is captured.
pub fn captured(rules: &str, capture: &Path, options: &str) -> Vec<String> {
    let mac = MAC.map(|byte| format!("{byte:02x}")).join(":");
    let words = [
        "-netdev".to_owned(),
        format!("user,id=net0{rules}"),
        "-device".to_owned(),
        format!("virtio-net-pci,netdev=net0,mac={mac}{options}"),
        "-object".to_owned(),
        format!("filter-dump,id=dump,netdev=net0,file={}", capture.display()),
    ];
    words.to_vec()
}

#[test]
fn a_client_comes_in_and_a_wrong_network_goes_back() {
    let forwarded: Vec<(u16, u16)> = [443, 8448, 8008, 22, 80].map(|port| (free_port(), port)).to_vec();
    let rules: String = forwarded
        .iter()
        .map(|(here, there)| format!(",hostfwd=tcp:127.0.0.1:{here}-:{there}"))
        .collect();
    let disk = Disk::blank();
    let folder = tempfile::tempdir().unwrap();
    let capture = folder.path().join("capture");
    let arguments = captured(&rules, &capture, "");
    let mut machine = VirtualMachine::start(&disk, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    set_up(&mut machine, "dhcp");
    machine.expect("10.0.2.15");
    for (here, there) in &forwarded {
        match there {
            443 | 8448 => assert!(versions(*here).unwrap().contains("\"versions\""), "port {there}"),
            // 8008 is the console's own, on the loopback interface.
            _ => assert!(is_closed(*here), "port {there} is open"),
        }
    }

    machine.choose("Shut down", "4", Some(PIN));
    machine.answer("ROUTER: ", "10.9.9.9/24");
    machine.expect("10.9.9.9 ");
    let changed = Instant::now();
    machine.expect("else it goes back");
    let tls = forwarded.first().unwrap().0;
    assert!(is_closed(tls), "the old address answers");
    machine.expect("10.0.2.15");
    let back = changed.elapsed();
    assert!(
        (Duration::from_secs(100)..Duration::from_secs(180)).contains(&back),
        "{back:?}"
    );
    assert!(versions(tls).unwrap().contains("\"versions\""));

    // A change that is confirmed stays.
    machine.choose("Shut down", "4", Some(PIN));
    machine.answer("ROUTER: ", "10.0.2.15/24 10.0.2.2");
    machine.choose("Keep the new network", "6", Some(PIN));
    std::thread::sleep(Duration::from_secs(130));
    machine.choose("Shut down", "7", Some(PIN));
    let log = machine.answer("Press Enter", "");
    // The first change went back, the second did not.
    assert_eq!(log.matches("nobody confirmed").count(), 1, "{log}");
    assert!(log.contains("was confirmed"), "{log}");
    assert!(versions(tls).unwrap().contains("\"versions\""));
    shut_down(&mut machine);

    // Of all that time nothing left by itself.
    nothing_left_by_itself(&capture);
}

/// Of all that a capture has of the box's card, nothing is its own idea.
fn nothing_left_by_itself(capture: &Path) {
    nothing_left_but(capture, |_| false);
}

/// The same but for these frames.
pub fn nothing_left_but(capture: &Path, is_allowed: impl Fn(&Frame) -> bool) {
    let frames = read_pcap(capture);
    let sent = frames
        .iter()
        .filter_map(|bytes| Frame::parse(bytes))
        .filter(|frame| frame.source == MAC && !is_allowed(frame));
    let sent: Vec<Frame> = sent.collect();
    assert!(sent.len() > 50, "the capture has {} frames of the box", sent.len());
    let loud: Vec<&Frame> = sent.iter().filter(|frame| !may_leave(frame)).collect();
    assert!(loud.is_empty(), "{} frames: {:?}", loud.len(), loud.first());
    println!(
        "{} frames left the box, all of them answers, discovery or DHCP",
        sent.len()
    );
}
