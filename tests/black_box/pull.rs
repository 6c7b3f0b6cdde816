//! Updates that are looked for at an address: the real server, a real updater, and an HTTPS server of the test's own on
//! the loopback interface that cuts connections off.

use crate::harness::{Server, text};
use crate::publisher::Publisher;
use crate::update::{CONFIG, Machine, bundle, release, signer};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long the server may take for what it does every second here.
const SOON: Duration = Duration::from_secs(30);

impl Publisher {
    /// The configuration that names it.
    fn config(&self, authority: &str, more: &str) -> String {
        format!(
            "{CONFIG}\n[updates]\nurl = \"https://updates.example.org:{}/lamchat.bundle\"\naddress = \"127.0.0.1\"\n\
             authorities = {authority:?}\ninterval = \"1s\"\n{more}",
            self.port
        )
    }
}

/// Waits until the server is asked, and answers what it says, of updates.
fn until(machine: &Machine, is_so: impl Fn(&Value) -> bool) -> Value {
    let since = Instant::now();
    loop {
        let health = machine.site.command_json(&["health"], "");
        if is_so(&health["update"]) {
            return health["update"].clone();
        }
        assert!(since.elapsed() < SOON, "{}", health["update"]);
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn reload(machine: &Machine, server: &Server, config: &str) {
    machine.site.configure(config);
    server.signal("HUP");
}

fn wait_for(publisher: &Publisher, is_so: impl Fn(&[(String, u16, usize)]) -> bool) {
    let since = Instant::now();
    while !is_so(&publisher.asked()) {
        assert!(since.elapsed() < SOON, "{:?}", publisher.asked());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn what_is_found_is_offered_and_goes_on_after_it_was_cut_off() {
    let (machine, publisher) = (Machine::new(), Publisher::start());
    let uki = release(2, 2_000_000);
    let two = bundle(&machine.key, [0, 2, 0], "lamchat", &uki);
    publisher.publish(&two, "two");
    publisher.published.lock().unwrap().cut_after = Some(700_000);
    let server = machine.site.start();
    let before = std::fs::read(machine.site.path("esp")).unwrap();
    // Nobody is asked unless the operator says so.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(publisher.asked(), []);

    reload(&machine, &server, &publisher.config(&publisher.authority, ""));
    until(&machine, |update| update["offered"] == "0.2.0");
    let asked = publisher.asked();
    assert_eq!(asked.first(), Some(&(String::new(), 200, 700_000)));
    let (conditions, status, rest) = asked.get(1).unwrap();
    assert_eq!((conditions.as_str(), *status), ("Range If-Range", 206));
    assert!(*rest < two.len() - 500_000, "only the rest: {rest}");
    // It is there, it was checked, and nothing was written; it is not downloaded again.
    wait_for(&publisher, |asked| asked.last().is_some_and(|last| last.1 == 304));
    let status = machine.site.command_json(&["update", "status"], "");
    assert_eq!(status["staged"], "0.2.0");
    assert!(std::fs::read(machine.site.path("esp")).unwrap() == before);
    let said = machine.site.command(&["health"], "");
    assert!(
        text(&said.stdout).contains("release 0.2.0 was found"),
        "{}",
        text(&said.stdout)
    );

    // An operator's word installs it.
    machine.site.command_json(&["update", "apply", "--yes"], "");
    assert!(machine.slots().contains(&("lamchat-b+3.efi".to_owned(), uki)));
    until(&machine, |update| update["offered"].is_null());
    let log = machine.site.command_json(&["audit", "show"], "");
    let entries = log["entries"].as_array().unwrap();
    let staged: Vec<&Value> = entries.iter().filter(|entry| entry["act"] == "update.stage").collect();
    assert_eq!(staged.len(), 2, "{log}");
    assert!(staged.iter().all(|entry| entry["actor"] == "server"), "{log}");
    server.stop();
}

#[test]
fn what_is_not_right_is_refused_once() {
    let (machine, publisher) = (Machine::new(), Publisher::start());
    let server = machine.site.start();
    let before = std::fs::read(machine.site.path("esp")).unwrap();
    let uki = release(2, 200_000);
    publisher.publish(&bundle(&signer(), [0, 2, 0], "lamchat", &uki), "forged");
    reload(&machine, &server, &publisher.config(&publisher.authority, ""));
    let refused = until(&machine, |update| update["problem"].is_string());
    let problem = refused["problem"].as_str().unwrap();
    assert!(problem.contains("not signed by this box's release key"), "{problem}");
    // The same file is not downloaded again.
    wait_for(&publisher, |asked| asked.iter().any(|asked| asked.1 == 304));
    let whole = publisher.asked().iter().filter(|asked| asked.1 == 200).count();
    assert_eq!(whole, 1);

    // An older release costs its header at most, and is no problem.
    publisher.publish(&bundle(&machine.key, [0, 1, 0], "lamchat", &uki), "same");
    until(&machine, |update| update["problem"].is_null());
    wait_for(&publisher, |asked| asked.last().is_some_and(|last| last.1 == 304));
    publisher.publish(b"no bundle at all", "nonsense");
    let nonsense = until(&machine, |update| update["problem"].is_string());
    assert!(
        nonsense["problem"].as_str().unwrap().contains("no update of LamChat"),
        "{nonsense}"
    );

    // Whoever cannot show the certificate is not asked for anything.
    let stranger = Publisher::start();
    reload(&machine, &server, &publisher.config(&stranger.authority, ""));
    until(&machine, |update| {
        update["problem"]
            .as_str()
            .is_some_and(|problem| problem.contains("certificate"))
    });
    publisher.publish(&bundle(&machine.key, [0, 3, 0], "lamchat", &uki), "three");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(publisher.asked(), []);
    assert_eq!(
        machine.site.command_json(&["update", "status"], "")["staged"],
        json!(null)
    );
    assert!(std::fs::read(machine.site.path("esp")).unwrap() == before);
    server.stop();
}

#[test]
fn where_the_operator_says_so_it_is_installed() {
    let (machine, publisher) = (Machine::new(), Publisher::start());
    let uki = release(2, 200_000);
    publisher.publish(&bundle(&machine.key, [0, 2, 0], "lamchat", &uki), "two");
    machine
        .site
        .configure(&publisher.config(&publisher.authority, "automatic = true\n"));
    let server = machine.site.start();
    let since = Instant::now();
    while machine.codes.lock().unwrap().last() != Some(&10) {
        assert!(since.elapsed() < SOON, "{:?}", publisher.asked());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(machine.slots().contains(&("lamchat-b+3.efi".to_owned(), uki)));
    server.stop();
}
