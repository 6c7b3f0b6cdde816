//! Updates that a box looks for at an address: not before somebody says so, of this box's key alone, and only installed at
//! an operator's word.

use crate::bundles;
use crate::opening::good_box;
use crate::publisher::Publisher;
use crate::set_up::{set_up, shut_down};
use crate::update::{credential, far, slot, start};
use crate::virtual_machine::VirtualMachine;
use lamchat_appliance::site::{Editable, Updates};
use lamchat_image::ReleaseKey;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// After its start the box waits for half a minute before its first look; it is given a whole one.
const QUIET: Duration = Duration::from_secs(60);
/// How long a look may take: tens of megabytes through an emulated machine, checked wholly.
const LOOK_MAX: Duration = Duration::from_secs(240);

struct Operator<'a> {
    port: u16,
    known: (PathBuf, String),
    folder: &'a Path,
}

impl Operator<'_> {
    /// Has updates looked for as this says, or not at all. Another configuration is a reason to look at once.
    fn configure(&self, updates: Option<Updates>) {
        let shown = far(self.port, &self.known, &["box", "show"]);
        let mut site: Editable = serde_json::from_value(shown.get("site").unwrap().clone()).unwrap();
        site.updates = updates;
        let file = self.folder.join("site.toml");
        std::fs::write(&file, toml::to_string(&site).unwrap()).unwrap();
        far(self.port, &self.known, &["box", "set", file.to_str().unwrap()]);
    }

    /// Waits until the box says so of updates, and answers what it says.
    fn until(&self, machine: &mut VirtualMachine, is_so: impl Fn(&Value) -> bool) -> Value {
        let since = Instant::now();
        loop {
            let health = far(self.port, &self.known, &["health"]);
            let update = health.get("update").unwrap();
            if is_so(update) {
                return update.clone();
            }
            assert!(since.elapsed() < LOOK_MAX, "{health}\n{}", machine.shown());
            machine.read();
            std::thread::sleep(Duration::from_secs(2));
        }
    }
}

fn problem(update: &Value) -> &str {
    update.get("problem").and_then(Value::as_str).unwrap_or_default()
}

#[test]
fn an_update_is_looked_for_where_the_operator_says_checked_and_only_offered() {
    let next = std::fs::read(std::env::var_os("LAMCHAT_NEXT_BUNDLE").unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (disk, board) = good_box();
    let publisher = Publisher::start();
    publisher.publish(&next, "next");
    let (mut machine, _, port) = start(&disk, &board);
    set_up(&mut machine, "dhcp");
    let known = credential(&mut machine, folder.path());
    let operator = Operator {
        port,
        known,
        folder: folder.path(),
    };
    // Off by default.
    std::thread::sleep(QUIET);
    assert_eq!(publisher.asked(), [], "asked without a word");

    let updates = |hours: u32, authority: &str| Updates {
        url: format!("https://updates.example.org:{}/lamchat.bundle", publisher.port),
        // Where QEMU's network has this machine.
        address: "10.0.2.2".parse().unwrap(),
        pin: None,
        authorities: Some(authority.to_owned()),
        hours,
        automatic: false,
    };
    // A server that nobody vouches for gets no request.
    operator.configure(Some(updates(1, &Publisher::start().authority)));
    let said = operator.until(&mut machine, |update| !problem(update).is_empty());
    println!("another authority: {said}");
    assert_eq!(publisher.asked(), []);

    // A bundle that somebody else has signed is downloaded, judged and refused.
    ReleaseKey::make(folder.path(), "stranger").unwrap();
    let stranger = ReleaseKey::read(&folder.path().join("stranger.key")).unwrap();
    publisher.publish(&bundles::bundle(&stranger, [0, 2, 0], "lamchat"), "foreign");
    operator.configure(Some(updates(2, &publisher.authority)));
    let said = operator.until(&mut machine, |update| {
        problem(update).contains("not signed by this box's release key")
    });
    println!("another key: {said}");
    assert!(!publisher.asked().is_empty());
    let status = far(port, &operator.known, &["update", "status"]);
    assert_eq!(status.get("staged"), Some(&Value::Null), "{status}");

    // The right one is found, checked and shown, and not installed.
    publisher.publish(&next, "next");
    operator.configure(Some(updates(3, &publisher.authority)));
    let said = operator.until(&mut machine, |update| update.get("offered") == Some(&"0.2.0".into()));
    assert_eq!(problem(&said), "", "{said}");
    machine.expect("release 0.2.0 was found and checked");
    let slots = |status: &Value| status.get("slots").and_then(Value::as_array).unwrap().len();
    let status = far(port, &operator.known, &["update", "status"]);
    assert_eq!(
        (slots(&status), status.get("running")),
        (1, Some(&"0.1.0".into())),
        "{status}"
    );

    // No longer looked for: nobody is asked again, and what was found is there still.
    operator.configure(None);
    let asked = publisher.asked().len();
    let applied = far(port, &operator.known, &["update", "apply", "--yes"]);
    assert_eq!(applied.get("file"), Some(&"lamchat-b+3.efi".into()), "{applied}");
    let status = far(port, &operator.known, &["update", "status"]);
    assert_eq!(slot(&status, "b").get("tries_left"), Some(&3.into()), "{status}");
    assert_eq!(publisher.asked().len(), asked);
    shut_down(&mut machine);
}
