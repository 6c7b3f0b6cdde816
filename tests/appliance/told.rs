//! What an administrator is told who is not at the console: by `lamchat health` from a distance, by the metrics, and in
//! the room of the server's notices.

use crate::client::{get, get_text, request};
use crate::restart::{log_in, text};
use crate::update::{credential, try_far};
use crate::virtual_machine::VirtualMachine;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How soon a failure has to be told, everywhere.
const ALARM_MAX: Duration = Duration::from_secs(60);
/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(2);

/// The administrator Alice, far away.
pub struct Administrator {
    clients: u16,
    administration: u16,
    known: (PathBuf, String),
    token: String,
    since: Option<String>,
    /// What the server has told her in its room.
    notices: Vec<String>,
    _folder: tempfile::TempDir,
}

impl Administrator {
    /// Makes a credential at the console, logs in, and follows the invitation to the server's room.
    pub fn new(machine: &mut VirtualMachine, clients: u16, administration: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let known = credential(machine, folder.path());
        let mut administrator = Self {
            clients,
            administration,
            known,
            token: log_in(clients),
            since: None,
            notices: Vec::new(),
            _folder: folder,
        };
        administrator.sync();
        administrator
    }

    /// Takes part in whatever room she is invited to, and reads what is new.
    fn sync(&mut self) {
        let since = self.since.as_ref().map(|since| format!("&since={since}"));
        let target = format!("/_matrix/client/v3/sync?timeout=0{}", since.unwrap_or_default());
        let (status, answer) = get(self.clients, &target, Some(&self.token)).unwrap();
        assert_eq!(status, 200, "{answer}");
        self.since = Some(text(&answer, "next_batch"));
        let rooms = |kind: &str| {
            let rooms = answer.pointer(&format!("/rooms/{kind}")).and_then(Value::as_object);
            rooms.cloned().unwrap_or_default()
        };
        for room in rooms("invite").keys() {
            let target = format!("/_matrix/client/v3/join/{room}");
            let (status, joined) = request(self.clients, "POST", &target, Some(&self.token), Some(&json!({}))).unwrap();
            assert_eq!(status, 200, "{joined}");
        }
        for room in rooms("join").values() {
            let events = room.pointer("/timeline/events").and_then(Value::as_array);
            let bodies = events.into_iter().flatten().filter_map(|event| {
                let is_notice = event.pointer("/content/msgtype")? == "m.server_notice";
                event.pointer("/content/body").filter(|_| is_notice)?.as_str()
            });
            self.notices.extend(bodies.map(str::to_owned));
        }
    }

    /// The alarm that begins so, as `lamchat health` tells it: what it is about, how bad it is, its sentence. The command
    /// ends with 1 where something has failed.
    fn alarm(&self, what: &str) -> Option<[String; 3]> {
        let output = try_far(self.administration, &self.known, &["health"]);
        let health: Value = serde_json::from_slice(&output.stdout).unwrap();
        let alarms = health.get("alarms").and_then(Value::as_array).unwrap();
        let mut alarms = alarms
            .iter()
            .map(|alarm| ["what", "state", "sentence"].map(|key| text(alarm, key)));
        alarms.find(|[found, ..]| found.starts_with(what))
    }

    /// Waits until she was told of what began at `since`, in each of the three ways; `what` is how the alarm's name
    /// begins, such as `hardware/mirror/`.
    pub fn is_told(&mut self, since: Instant, what: &str) {
        let check = |done: bool, way: &str| assert!(done || since.elapsed() < ALARM_MAX, "{way} never told of {what}");
        let [name, state, sentence] = loop {
            match self.alarm(what) {
                Some(alarm) => break alarm,
                None => check(false, "health"),
            }
            std::thread::sleep(LOOK);
        };
        println!("health after {:?}: {state}: {sentence}", since.elapsed());
        check(false, "health");

        let (part, of) = name.trim_start_matches("hardware/").split_once('/').unwrap();
        let value = if state == "failed" { 2 } else { 1 };
        let metric = format!("lamchat_hardware_state{{part=\"{part}\",name=\"{of}\"}} {value}");
        let credential = std::fs::read_to_string(&self.known.0).unwrap();
        loop {
            let (status, metrics) = get_text(self.administration, "/metrics", Some(credential.trim())).unwrap();
            assert_eq!(status, 200, "{metrics}");
            if metrics.lines().any(|line| line == metric) {
                break;
            }
            check(false, "a metric");
            std::thread::sleep(LOOK);
        }
        println!("metrics after {:?}: {metric}", since.elapsed());
        check(false, "a metric");

        while !self.notices.iter().any(|notice| notice.contains(&sentence)) {
            check(false, "a notice");
            std::thread::sleep(LOOK);
            self.sync();
        }
        println!("a notice after {:?}", since.elapsed());
        check(false, "a notice");
    }
}
