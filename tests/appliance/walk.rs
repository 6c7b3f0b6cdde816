//! What works from a distance on a booted box, and what its console offers: each once.
//!
//! Every command that may be far away, by the table that the program itself goes by (`src/cli/reach.rs`), has a case in
//! [`cases`].

mod cases;
#[path = "../../src/cli/reach.rs"]
mod reach;

use crate::client::request;
use crate::failing::HAND_OVER;
use crate::opening::good_box;
use crate::restart::{log_in, text};
use crate::set_up::{PIN, set_up};
use crate::update::{credential, network, tpm_slot};
use crate::usb_certificate::Authority;
use crate::virtual_machine::VirtualMachine;
use cases::{CASES, Case, End};
use lamchat_appliance::site::Editable;
use reach::{REACH, Reach};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// Items of the console that can be opened and left again.
const HERE: [(&str, &str); 6] = [
    ("2", "New administrator"),
    ("4", "The new network is tried"),
    ("5", "Time servers"),
    ("p", "New console PIN"),
    ("x", "FACTORY RESET"),
    ("k", "no crash is known"),
];
/// The kernel's last words before a restart.
const RESTARTS: &str = "reboot: Restarting system";
/// Entries of a page of the audit log.
const PAGE: u64 = 100;

/// An administrator far away: a folder, a credential, and how the box is known.
struct Operator {
    folder: tempfile::TempDir,
    credential: PathBuf,
    pin: String,
    administration: u16,
    clients: u16,
    /// What stands for the words in braces.
    values: BTreeMap<&'static str, String>,
}

impl Operator {
    fn try_far(&self, arguments: &[&str], typed: &str) -> Output {
        let url = format!("https://127.0.0.1:{}", self.administration);
        let mut child = Command::new(env!("CARGO_BIN_EXE_lamchat"))
            .args(["--server", &url, "--pin", &self.pin, "--credential"])
            .arg(&self.credential)
            .args(arguments)
            .arg("--json")
            .current_dir(self.folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that does not read its input closes it.
        let _ = child.stdin.take().unwrap().write_all(typed.as_bytes());
        child.wait_with_output().unwrap()
    }

    fn far(&self, arguments: &[&str]) -> Value {
        let output = self.try_far(arguments, "");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// A command that asks no server.
    fn offline(&self, arguments: &[&str]) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lamchat"));
        let output = command
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
    }

    fn write(&self, name: &str, content: &str) {
        std::fs::write(self.folder.path().join(name), content).unwrap();
    }

    /// Does what others have to do before a command.
    fn prepare(&mut self, words: &str) {
        match words {
            "media list" => self.upload_and_report(),
            "audit add-witness" => {
                self.offline(&["audit", "witness-key", "w.key", "--name", "w.example"]);
                self.offline(&["audit", "witness", "log", "--key", "w.key"]);
            }
            "box set-clock" => {
                let now = Command::new("date").args(["-u", "+%F %H:%M"]).output().unwrap();
                let now = String::from_utf8(now.stdout).unwrap().trim().to_owned();
                self.values.insert("{now}", now);
            }
            _ => {}
        }
    }

    /// As a user: a file, and a word about somebody else.
    fn upload_and_report(&mut self) {
        let token = log_in(self.clients);
        let post = |target: &str, body: &Value| {
            let (status, answer) = request(self.clients, "POST", target, Some(&token), Some(body)).unwrap();
            assert_eq!(status, 200, "{target}: {answer}");
            answer
        };
        let upload = post("/_matrix/media/v3/upload", &json!({"any": "bytes"}));
        let target = "/_matrix/client/v3/users/@carol:chat.example.org/report";
        post(target, &json!({"reason": "rude"}));
        self.values.insert("{mxc}", text(&upload, "content_uri"));
    }

    /// Takes from an answer what later commands need.
    fn take(&mut self, words: &str, answer: &Value, authority: &Authority) {
        match words {
            "seal status" => {
                let tpm = tpm_slot(answer).get("id").unwrap();
                self.values.insert("{tpm}", tpm.to_string());
            }
            "certificate request" => {
                let chain = authority.answer(&text(answer, "request"), 2199, None);
                self.write("chain.pem", &chain);
            }
            // Another key is shown from then on, and the first one again afterwards.
            "certificate install" | "certificate remove" => {
                let pin = answer.pointer("/certificates/0/pin").and_then(Value::as_str);
                self.pin = pin.unwrap().to_owned();
            }
            "box show" => {
                let site: Editable = serde_json::from_value(answer.get("site").unwrap().clone()).unwrap();
                self.write("site.toml", &toml::to_string(&site).unwrap());
            }
            _ => {}
        }
    }

    fn run(&mut self, (words, rest, typed, end): Case, authority: &Authority) {
        self.prepare(words);
        let fill = |word: &&'static str| self.values.get(word).cloned().unwrap_or_else(|| (*word).to_owned());
        let arguments: Vec<String> = words
            .split(' ')
            .map(str::to_owned)
            .chain(rest.iter().map(fill))
            .collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let output = self.try_far(&arguments, typed);
        let error = String::from_utf8_lossy(&output.stderr);
        match end {
            End::Done(place, _) => {
                assert!(output.status.success(), "{words}: {error}");
                let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
                assert!(answer.pointer(place).is_some(), "{words} has no {place}: {answer}");
                self.take(words, &answer, authority);
            }
            End::Refused(part) => assert!(!output.status.success() && error.contains(part), "{words}: {error}"),
        }
    }

    /// The acts in the audit log.
    fn acts(&self) -> BTreeSet<String> {
        let (mut acts, mut since) = (BTreeSet::new(), 0);
        loop {
            let (from, limit) = (since.to_string(), PAGE.to_string());
            let page = self.far(&["audit", "show", "--since", &from, "--limit", &limit]);
            let entries = page.get("entries").and_then(Value::as_array).unwrap();
            acts.extend(entries.iter().map(|entry| text(entry, "act")));
            since += entries.len() as u64;
            if entries.is_empty() || page.get("size").and_then(Value::as_u64) <= Some(since) {
                return acts;
            }
        }
    }
}

/// The console's own way to a credential for somebody else.
fn another_credential(machine: &mut VirtualMachine) {
    machine.choose("Administration from a distance", "a", Some(PIN));
    machine.answer("alice-laptop: ", "spare");
    machine.answer("Press Enter", "");
}

fn serves_again(machine: &mut VirtualMachine) {
    machine.expect(RESTARTS);
    machine.expect(HAND_OVER);
    machine.expect("New administrator");
}

/// Opens each item and leaves it again; Esc leaves whatever it asks.
fn look_around(machine: &mut VirtualMachine) {
    let screen = machine.expect("Shut down");
    assert!(
        screen.contains("Certificate") && screen.contains("Last backup") && screen.contains("Peers"),
        "{screen}"
    );
    for (key, shown) in HERE {
        machine.type_text(key);
        machine.answer("PIN: ", PIN);
        machine.expect(shown);
        machine.type_text("\u{1b}");
        machine.expect("Shut down");
    }
}

#[test]
fn every_command_from_a_distance_has_a_case() {
    let far = REACH.iter().filter(|(_, reach)| *reach == Reach::Anywhere);
    let far: BTreeSet<&str> = far.map(|(words, _)| *words).collect();
    let cases: BTreeSet<&str> = CASES.iter().map(|(words, ..)| *words).collect();
    assert_eq!(far, cases);
    assert_eq!(cases.len(), CASES.len(), "each once");
}

#[test]
fn commands_work_from_a_distance_and_the_console_offers_the_rest() {
    let ((disk, board), authority) = (good_box(), Authority::new());
    board.manufacture_tpm();
    let (network, clients, administration) = network();
    let mut machine = VirtualMachine::start_restarting(&board, &disk, &["-nic", &network]);
    machine.expect(HAND_OVER);
    set_up(&mut machine, "dhcp");
    let folder = tempfile::tempdir().unwrap();
    let (credential, pin) = credential(&mut machine, folder.path());
    another_credential(&mut machine);
    let next = std::env::var("LAMCHAT_NEXT_BUNDLE").unwrap();
    let mut operator = Operator {
        folder,
        credential,
        pin,
        administration,
        clients,
        values: BTreeMap::from([("{next}", next)]),
    };
    let health = operator.far(&["health"]);
    assert_eq!(health.pointer("/backup"), Some(&Value::Null), "{health}");
    assert_eq!(health.pointer("/peers/count"), Some(&0.into()), "{health}");
    look_around(&mut machine);

    for case in CASES.iter().filter(|(words, ..)| *words != "box power-off") {
        operator.run(*case, &authority);
    }
    serves_again(&mut machine);
    println!("restarted from a distance after {:?}", machine.age());
    // The console's own restart, which nobody else sees.
    machine.choose("Shut down", "9", Some(PIN));
    machine.answer("type yes", "yes");
    serves_again(&mut machine);
    println!("restarted at the console after {:?}", machine.age());

    let acts = operator.acts();
    let of_console = [
        "set-up",
        "network",
        "time",
        "pin",
        "factory-reset",
        "crash-log",
        "restart",
    ]
    .map(|act| format!("box.{act}"));
    let of_commands = CASES.iter().filter_map(|(.., end)| match end {
        End::Done(_, act) if !act.is_empty() => Some((*act).to_owned()),
        _ => None,
    });
    for act in of_commands.chain(of_console) {
        assert!(acts.contains(&act), "{act} is not in the audit log: {acts:?}");
    }
    for case in CASES.iter().filter(|(words, ..)| *words == "box power-off") {
        operator.run(*case, &authority);
    }
    machine.expect("reboot: Power down");
}
