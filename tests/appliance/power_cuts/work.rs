//! What the box is doing when the power goes.

use super::life::{Life, On};
use crate::client::request;
use crate::set_up::{PASSWORD, recovery_key};
use lamchat_disk::simulation::Dice;
use serde_json::json;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Clients that send at the same time.
const TALKERS: u64 = 3;

/// Beside the messages, which always come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    Talk,
    /// The next release is uploaded, written and started.
    Update,
    /// The keys are sealed to the TPM anew.
    Rebind,
    /// A new recovery key is made at the console, and typed back.
    Recovery,
    /// The server signs by a new key.
    SigningKey,
    /// Accounts are made.
    Accounts,
}

impl Work {
    /// Any; an update only where the release that runs is not on trial itself.
    pub fn choose(dice: &mut Dice, may_update: bool) -> Self {
        match dice.below(12) {
            0..=5 if may_update => Self::Update,
            6 | 7 => Self::Rebind,
            8 => Self::Recovery,
            9 => Self::SigningKey,
            10 => Self::Accounts,
            _ => Self::Talk,
        }
    }

    /// Flushes during it, about.
    pub fn flushes(self) -> u64 {
        match self {
            Self::Talk => 150,
            Self::Update => 300,
            Self::Rebind | Self::SigningKey => 40,
            Self::Recovery | Self::Accounts => 80,
        }
    }

    /// How long it takes, about.
    pub fn time(self) -> Duration {
        Duration::from_secs(if self == Self::Update { 150 } else { 30 })
    }
}

/// The messages.
#[derive(Debug, Default)]
pub struct Said {
    /// The first message of this is still to be looked for: everything before was seen.
    from: usize,
    /// Those that were acknowledged: their event ids and what they say.
    acknowledged: Vec<(String, String)>,
    /// How many there were when the power was cut for the last time but one.
    marks: Vec<usize>,
    /// Numbers are never given twice.
    next: BTreeMap<u64, u64>,
}

impl Said {
    /// What has to be there: of each message its event and what it says.
    pub fn wanted(&self) -> &[(String, String)] {
        self.acknowledged.get(self.from..).unwrap()
    }

    /// They were there. What was acknowledged since the last cut but one is looked for again.
    pub fn seen(&mut self) {
        self.marks.push(self.acknowledged.len());
        self.from = self.marks.iter().rev().nth(1).copied().unwrap_or(0);
    }

    /// All of them, from the first.
    pub fn check_everything(&mut self) {
        self.from = 0;
    }
}

impl fmt::Display for Said {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{} messages acknowledged", self.acknowledged.len())
    }
}

/// Works until the power is cut, the machine is off or the time is over; whether the machine is off by itself.
pub fn run(life: &mut Life, on: &mut On, work: Work, time: Duration) -> bool {
    let (over, deadline) = (AtomicBool::new(false), Instant::now() + time);
    let sent = std::thread::scope(|scope| {
        let talkers: Vec<_> = (0..TALKERS)
            .map(|talker| {
                let first = life.said.next.get(&talker).copied().unwrap_or(0);
                let (port, token, room, over) = (on.clients, &life.token, &life.room, &over);
                scope.spawn(move || talk(port, token, room, talker, first, over))
            })
            .collect();
        let far = Command::new(env!("CARGO_BIN_EXE_lamchat"));
        let far = match work {
            Work::Update => {
                let bundle = PathBuf::from(std::env::var_os("LAMCHAT_NEXT_BUNDLE").unwrap());
                start(
                    life,
                    on,
                    far,
                    &["update", "apply", bundle.to_str().unwrap(), "--yes", "--restart"],
                )
            }
            Work::Rebind => start(life, on, far, &["seal", "rebind", &tpm_slot(life, on)]),
            Work::SigningKey => start(life, on, far, &["signing-key", "rotate"]),
            Work::Accounts => {
                let name = format!("user-{}", life.starts);
                start(life, on, far, &["user", "add", &name])
            }
            Work::Talk | Work::Recovery => None,
        };
        let recovery = (work == Work::Recovery).then(|| new_recovery_key(life, on)).flatten();
        let mut far = far;
        let mut done = None;
        while !life.drive.is_cut() && Instant::now() < deadline && !on.machine.is_off() {
            on.machine.read();
            if let Some(child) = &mut far
                && let Some(status) = child.try_wait().unwrap()
            {
                done.get_or_insert(status.success());
            }
        }
        let was_off = on.machine.is_off();
        over.store(true, Ordering::Relaxed);
        if !was_off {
            // Nothing is answered from here on.
            life.drive.cut();
            on.machine.kill();
        }
        if let Some(mut child) = far {
            let status = child.wait().unwrap();
            done = Some(status.success());
        }
        let sent: Vec<_> = talkers.into_iter().map(|talker| talker.join().unwrap()).collect();
        (sent, done, recovery, was_off)
    });
    let (sent, done, recovery, was_off) = sent;
    for (talker, (next, acknowledged)) in (0..).zip(sent) {
        life.said.next.insert(talker, next);
        life.said.acknowledged.extend(acknowledged);
    }
    if let Some(key) = recovery {
        life.recovery = key;
    }
    match (work, done) {
        (Work::Update, Some(true)) => life.updated = true,
        (Work::Accounts, Some(true)) => life.accounts.push(format!("user-{}", life.starts)),
        _ => {}
    }
    was_off
}

/// Sends until nobody answers; the number of the next message, and what was acknowledged.
fn talk(
    port: u16,
    token: &str,
    room: &str,
    talker: u64,
    first: u64,
    over: &AtomicBool,
) -> (u64, Vec<(String, String)>) {
    let mut acknowledged = Vec::new();
    for number in first.. {
        let body = format!("message {number} of {talker}");
        let target = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{talker}-{number}");
        let message = json!({"msgtype": "m.text", "body": body});
        match request(port, "PUT", &target, Some(token), Some(&message)) {
            Ok((200, answer)) => {
                let event = answer.get("event_id").and_then(serde_json::Value::as_str).unwrap();
                acknowledged.push((event.to_owned(), body));
            }
            // Limits of rates are no acknowledgement; the number is used up all the same.
            Ok((429, _)) => std::thread::sleep(Duration::from_millis(200)),
            _ => return (number + 1, acknowledged),
        }
        if over.load(Ordering::Relaxed) {
            return (number + 1, acknowledged);
        }
    }
    unreachable!("numbers do not end")
}

/// Starts a command from outside the box; a password is its only input.
fn start(life: &Life, on: &On, mut command: Command, arguments: &[&str]) -> Option<std::process::Child> {
    let (file, pin) = &life.known;
    let server = format!("https://127.0.0.1:{}", on.administration);
    command
        .args(["--server", &server, "--pin", pin, "--credential"])
        .arg(file);
    let piped = command.args(arguments).stdin(Stdio::piped());
    let mut child = piped.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // It may need none.
    let _ = child
        .stdin
        .take()
        .unwrap()
        .write_all(format!("{PASSWORD}\n").as_bytes());
    Some(child)
}

fn tpm_slot(life: &Life, on: &On) -> String {
    let status = life.far(on, &["seal", "status"]).unwrap_or_default();
    let slots = status.get("slots").and_then(serde_json::Value::as_array);
    let mut slots = slots.into_iter().flatten();
    let found = slots.find(|slot| slot.get("kind").and_then(serde_json::Value::as_str) == Some("tpm"));
    // Without an answer the power was cut.
    found
        .and_then(|slot| slot.get("id"))
        .map_or("2".to_owned(), ToString::to_string)
}

/// A new recovery key that was typed back right; `None`: the power was cut before that.
fn new_recovery_key(life: &Life, on: &mut On) -> Option<String> {
    life.choose(on, "1")?;
    let before = on.machine.shown().len();
    on.machine.expect_any(&["Press Enter"], &|| life.drive.is_cut())?;
    let key = recovery_key(on.machine.shown().get(before..).unwrap());
    on.machine.type_text("\r");
    life.answer(on, "Recovery key: ", &key)?;
    on.machine
        .expect_any(&["Keep the key where this box is not"], &|| life.drive.is_cut())?;
    on.machine.type_text("\r");
    Some(key)
}
