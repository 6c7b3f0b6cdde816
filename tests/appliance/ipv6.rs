//! A network of IPv6 alone: the box makes its address from what a router advertises, a client uses it over TLS, and of all
//! that leaves the box nothing is its own idea.

use crate::client::request_over;
use crate::restart::text;
use crate::set_up::{PASSWORD, set_up, shut_down};
use crate::virtual_machine::{Disk, VirtualMachine};
use crate::wire::{Connection, Frame, Network, Running, Transport, Wire, may_leave};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// How long the box may take until it answers.
const ANSWERS: Duration = Duration::from_secs(120);
/// How long it is heard afterwards.
const QUIET: Duration = Duration::from_secs(90);
const MESSAGE: &str = "over-ipv6";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A client at the other end of the cable.
struct Client<'w> {
    wire: &'w Running,
    to: SocketAddr,
    token: Option<String>,
}

impl Client<'_> {
    fn ask(&self, method: &str, target: &str, body: Option<&Value>) -> std::io::Result<(u16, Value)> {
        let mut wire = self.wire.lock();
        let connection = Connection::open(&mut wire, self.to)?;
        request_over(connection, method, target, self.token.as_deref(), body)
    }

    /// One that must succeed.
    fn done(&self, method: &str, target: &str, body: Option<&Value>) -> Value {
        let (status, answer) = self.ask(method, target, body).unwrap();
        assert_eq!(status, 200, "{target}: {answer}");
        answer
    }
}

#[test]
fn a_client_comes_by_ipv6_and_nothing_leaves_by_itself() {
    let mut wire = Wire::new(1);
    wire.neighbours.addresses = vec![ip("fe80::1"), ip("fd77:1::1")];
    wire.neighbours.prefix = Some("fd77:1::".parse().unwrap());
    let disk = Disk::blank();
    let arguments = wire.arguments();
    let mut machine = VirtualMachine::start(&disk, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let wire = wire.spawn();
    set_up(&mut machine, "dhcp");
    // RFC 4291, appendix A: the hardware address 52:54:00:00:00:00 as an interface's identifier.
    let address = ip("fd77:1::5054:ff:fe00:0");
    machine.expect("fd77:1::5054:ff:fe00:0");
    let mut client = Client {
        wire: &wire,
        to: SocketAddr::new(address, 443),
        token: None,
    };
    let since = Instant::now();
    while let Err(error) = client.ask("GET", "/_matrix/client/versions", None) {
        assert!(since.elapsed() < ANSWERS, "{error}");
    }
    let user = json!({"type": "m.id.user", "user": "alice"});
    let login = json!({"type": "m.login.password", "identifier": user, "password": PASSWORD});
    let session = client.done("POST", "/_matrix/client/v3/login", Some(&login));
    client.token = Some(text(&session, "access_token"));
    let room = json!({"preset": "private_chat"});
    let room = text(
        &client.done("POST", "/_matrix/client/v3/createRoom", Some(&room)),
        "room_id",
    );
    let send = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/1");
    client.done("PUT", &send, Some(&json!({"msgtype": "m.text", "body": MESSAGE})));
    // Links in messages, and servers that somebody names, are nobody to ask.
    let link = json!({"msgtype": "m.text", "body": "https://elsewhere.example.org/ @bob:elsewhere.example.org"});
    client.done("PUT", &format!("{send}1"), Some(&link));
    let invited = json!({"user_id": "@bob:elsewhere.example.org"});
    let (status, answer) = client
        .ask(
            "POST",
            &format!("/_matrix/client/v3/rooms/{room}/invite"),
            Some(&invited),
        )
        .unwrap();
    assert_ne!(status, 200, "{answer}");
    let synced = client.done("GET", "/_matrix/client/v3/sync?timeout=0", None);
    assert!(synced.to_string().contains(MESSAGE), "{synced}");
    std::thread::sleep(QUIET);

    let heard: Vec<Frame> = wire.lock().heard.iter().map(|(_, frame)| frame.clone()).collect();
    let loud: Vec<&Frame> = heard.iter().filter(|frame| !may_leave(frame)).collect();
    assert!(loud.is_empty(), "{} frames: {:?}", loud.len(), loud.first());
    let of = |is_so: &dyn Fn(&Frame) -> bool| heard.iter().filter(|frame| is_so(frame)).count();
    let answers = of(&|frame| {
        matches!(&frame.network, Network::Ip { from, to, transport: Transport::Tcp { source: 443, .. } }
            if *from == address && *to == ip("fd77:1::1"))
    });
    let asked = of(&|frame| {
        matches!(
            &frame.network,
            Network::Ip {
                transport: Transport::Udp { .. },
                ..
            }
        )
    });
    assert!(answers > 30, "{answers} segments of answers");
    println!(
        "{} frames left the box: {answers} segments to the client, {asked} questions for DHCP, else discovery",
        heard.len()
    );
    shut_down(&mut machine);
}
