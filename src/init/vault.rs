//! From the disk to the open data: at each start by itself, at the set-up step by step by the console that does it.

use super::disk::{self, DiskError, Found};
use super::keys::{self, DiskKey};
use super::state::{Event, Health, Shared, State};
use super::trial::Refused;
use super::update::Booted;
use super::{DATA, exchange, floor};
use lamchat_holder::{Reply, Typed};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// How long disks may take to show up before the console says that there is none.
const DISKS_MAX: Duration = Duration::from_secs(30);
/// Between two looks for disks, or for keys that somebody unlocks.
const LOOK: Duration = Duration::from_secs(1);

/// Finds the disk and opens it, if it is set up. Ends when the data are there or when the box waits for its set-up.
pub fn run(shared: &Arc<Shared>) {
    let found = find(shared);
    *shared.disk.lock() = Some(found.clone());
    if !found.is_set_up {
        return shared.enter(State::SetUp);
    }
    shared.tell(Event::Keys(found.keyring.clone()));
    let key = await_key(shared);
    shared.enter(State::Starting);
    match found.open(key.expose(), Path::new(DATA)) {
        Ok(false) => shared.tell(Event::Opened),
        Ok(true) => stop(
            shared,
            "the data's file system has errors: it is only for reading, and nothing is served",
        ),
        Err(error) => stop(shared, &format!("the data do not open: {error}")),
    }
}

fn stop(shared: &Shared, why: &str) {
    shared.notice(why);
    shared.enter(State::Degraded);
}

fn find(shared: &Shared) -> Found {
    let since = Instant::now();
    let mut told = String::new();
    loop {
        let error = match disk::find() {
            Ok(found) => {
                shared.forget_notice(&told);
                return found;
            }
            Err(error) => error.to_string(),
        };
        if since.elapsed() > DISKS_MAX && error != told {
            shared.forget_notice(&told);
            shared.notice(&error);
            shared.enter(State::SetUp);
            told = error;
        }
        std::thread::sleep(LOOK);
    }
}

/// Asks for the key until it is there: the TPM gives it, or somebody types what opens the keyring.
fn await_key(shared: &Arc<Shared>) -> lamchat_base::Secret<64> {
    let mut told = String::new();
    let mut refused = None;
    loop {
        match keys::await_start().and_then(|()| keys::disk_key()) {
            Ok(DiskKey::Open(key)) => return key,
            Ok(DiskKey::Locked(reason, blame)) => {
                refused.get_or_insert_with(|| Refused::new(shared, blame)).look(shared);
                shared.status.lock().health = Some(Health::Locked(reason.clone()));
                shared.enter(State::Locked);
                note_once(shared, &mut told, &reason);
            }
            Err(error) => note_once(shared, &mut told, &error),
        }
        std::thread::sleep(LOOK);
    }
}

fn note_once(shared: &Shared, told: &mut String, text: &str) {
    if told != text {
        shared.log.note(&format!("the keys: {text}"));
        text.clone_into(told);
    }
}

/// What a set-up has begun with.
pub struct Begun {
    /// The recovery key, 48 digits.
    pub recovery: Zeroizing<String>,
    /// Whether the keys are sealed to the TPM; else why not.
    pub sealed: Result<(), String>,
}

/// Begins the set-up: the disk is this box's own, and a keyring is on it.
pub fn begin(shared: &Shared) -> Result<Begun, String> {
    let found = found(shared)?;
    if shared.has_keys.load(std::sync::atomic::Ordering::Relaxed) {
        // Of a set-up that was left: its keyring would not be the disk's.
        return Err("a set-up was begun before and left: restart the machine first".to_owned());
    }
    if let Err(why) = Booted::of(shared) {
        shared
            .log
            .note(&format!("updates will not be taken before the next start: {why}"));
    }
    found.begin().map_err(|error| error.to_string())?;
    shared.tell(Event::Keys(found.keyring));
    keys::await_start()?;
    let Reply::Recovery(_, key) = keys::typed(&Typed::Create)? else {
        return Err("the key holder answers something else".to_owned());
    };
    Ok(Begun {
        recovery: Zeroizing::new(String::from_utf8_lossy(key.expose()).into_owned()),
        sealed: seal(shared),
    })
}

/// Seals the keys to this machine's TPM as it is now, for all images that the box may start.
pub fn seal(shared: &Shared) -> Result<(), String> {
    let bootable = floor::bootable(shared)?;
    keys::typed(&Typed::Seal { bootable }).map(drop)
}

/// Makes the data's file system.
pub fn format(shared: &Shared) -> Result<(), String> {
    let key = match keys::disk_key()? {
        DiskKey::Open(key) => key,
        DiskKey::Locked(why, _) => return Err(why),
    };
    let made = found(shared)?.format(key.expose(), Path::new(DATA));
    made.map_err(|error| error.to_string())?;
    exchange::open_folder().map_err(|error| error.to_string())
}

/// The box is set up: the next start opens it.
pub fn finish(shared: &Shared) -> Result<(), String> {
    found(shared)?.finish().map_err(|error| error.to_string())
}

fn found(shared: &Shared) -> Result<Found, String> {
    shared.disk.lock().clone().ok_or_else(|| DiskError::Absent.to_string())
}
