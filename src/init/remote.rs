//! The box's configuration from a distance: process 1 takes a line from the exchange and answers with one. The exchange
//! has checked the administrator's credential and noted the act; here only what cannot be is refused.
//!
//! What must never come this way: the console's PIN and the server's name.

use super::former::Former;
use super::remote_acts::{self, Of};
use super::state::{Event, Shared};
use super::{clock, exchange, mirror};
use lamchat_appliance::site::Editable;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

/// Where the exchange asks.
pub const SOCKET: &str = "/run/lamchat/box.sock";
/// Longest question: the configuration with two lists of authorities.
const LINE_BYTES_MAX: u64 = 128 << 10;
/// How long the exchange may take for a line.
const LINE_TIME: Duration = Duration::from_secs(10);
/// How long it may take until a confirmed change is on the disk, and how often that is looked at.
const SAVE_TIME: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(50);
/// How long the main loop may take for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(serde::Deserialize)]
#[serde(tag = "act", rename_all = "kebab-case", deny_unknown_fields)]
enum Question {
    Show,
    Change { site: Box<Editable> },
    Log { of: Of },
    End { restart: bool },
    Confirm,
    RaiseFloor { floor: u64 },
    Seal,
    RaiseClock { at_least_ms: u64 },
    SetClock { ms: u64 },
    Mirror,
    MirrorAdd { disk: String },
}

/// Opens the socket; only the exchange's user and root may use it.
pub fn listen() -> std::io::Result<UnixListener> {
    let listener = UnixListener::bind(SOCKET)?;
    chown(SOCKET, Some(0), Some(exchange::GROUP))?;
    std::fs::set_permissions(SOCKET, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Never ends: one question after the other.
pub fn serve(shared: &Shared, listener: &UnixListener) {
    for stream in listener.incoming() {
        if let Err(error) = stream.and_then(|stream| answer(shared, stream)) {
            shared.log.note(&format!("the configuration from a distance: {error}"));
        }
    }
}

fn answer(shared: &Shared, mut stream: UnixStream) -> std::io::Result<()> {
    let peer = getsockopt(&stream, PeerCredentials)?;
    if ![0, exchange::USER].contains(&peer.uid()) {
        return Err(std::io::Error::other(format!("user {} was turned away", peer.uid())));
    }
    stream.set_read_timeout(Some(LINE_TIME))?;
    stream.set_write_timeout(Some(LINE_TIME))?;
    let mut line = Vec::new();
    BufReader::new((&stream).take(LINE_BYTES_MAX)).read_until(b'\n', &mut line)?;
    let done = serde_json::from_slice(&line)
        .map_err(|error| error.to_string())
        .and_then(|question| carry_out(shared, question));
    let answer = done.unwrap_or_else(|error| json!({"error": error}));
    stream.write_all(answer.to_string().as_bytes())
}

fn carry_out(shared: &Shared, question: Question) -> Result<Value, String> {
    match question {
        Question::Show => Ok(describe(shared)),
        Question::Log { of } => remote_acts::log(shared, of),
        Question::End { restart } => remote_acts::end(shared, restart),
        Question::RaiseClock { at_least_ms } => clock::at_least(shared, at_least_ms).map(|()| json!({})),
        Question::SetClock { ms } => {
            clock::set_by_hand(shared, ms)?;
            Ok(json!({"clock_ms": lamchat_machine::time::now_ms()}))
        }
        Question::Mirror => Ok(mirror::tell_far(shared)),
        Question::MirrorAdd { disk } => {
            mirror::add(shared, &disk, &mut |_| ())?;
            Ok(mirror::tell_far(shared))
        }
        Question::Confirm => {
            let former = shared.former.lock().clone();
            if shared.status.lock().trial.is_none() {
                return Err("no change of the network waits for a confirmation".to_owned());
            }
            shared.tell(Event::Confirmed);
            let since = Instant::now();
            while shared.status.lock().trial.is_some() {
                if since.elapsed() > SAVE_TIME {
                    return Err("the change of the network could not be kept: the box's log says why".to_owned());
                }
                std::thread::sleep(LOOK);
            }
            Ok(describe_after(shared, former))
        }
        Question::RaiseFloor { floor } => super::floor::raise(shared, floor).map(|()| describe(shared)),
        Question::Seal => super::vault::seal(shared).map(|()| describe(shared)),
        Question::Change { site } => {
            let Some(before) = shared.site.lock().clone() else {
                return Err("the box is not set up yet".to_owned());
            };
            let changed = before.changed(*site).map_err(|error| error.to_string())?;
            let former = shared.former.lock().clone();
            let (sender, receiver) = sync_channel(1);
            shared.tell(Event::Configured(Box::new(changed), sender));
            receiver.recv_timeout(PATIENCE).map_err(|error| error.to_string())??;
            Ok(describe_after(shared, former))
        }
    }
}

/// The same after a change, which says what it was made from where that was not the newest version.
fn describe_after(shared: &Shared, former: Option<Former>) -> Value {
    let mut described = describe(shared);
    let is_replaced = shared.former.lock().is_none();
    let version = described.pointer("/site/version").and_then(Value::as_u64);
    if let (Value::Object(fields), Some(former), Some(version), true) = (&mut described, former, version, is_replaced) {
        fields.insert("in_effect".to_owned(), former.left(version).into());
    }
    described
}

fn describe(shared: &Shared) -> Value {
    let status = shared.status.lock();
    let (trial, addresses, problem) = (status.trial, status.addresses.clone(), status.network.clone());
    drop(status);
    let left = trial.map(|ends| ends.saturating_duration_since(Instant::now()).as_secs());
    let site = shared.site.lock().as_ref().map(lamchat_appliance::site::Site::editable);
    let former = shared.former.lock().as_ref().map(Former::sentence);
    json!({
        "site": site,
        "confirm_within_s": left,
        "addresses": addresses,
        "problem": problem,
        "in_effect": former,
    })
}
