//! From the disk to the open data: at each start by itself, at the set-up step by step by the console that does it.

mod set_up;

pub use set_up::{begin, finish, format, look_again, prepare, seal, set_pin, take_keyring};

use super::disk::{self, DiskError, Found};
use super::keys::{self, DiskKey};
use super::late::Act;
use super::record::Stage;
use super::state::{Event, Health, Shared, State};
use super::trial::Refused;
use super::update;
use super::{DATA, boot_order, former};
use lamchat_holder::{Blame, Typed};
use lamchat_machine::mounts;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

/// How long disks may take to show up before the console says that there is none.
const DISKS_MAX: Duration = Duration::from_secs(30);
/// How long the key holder may take to end.
const STOP_MAX: Duration = Duration::from_secs(30);
/// A file of the data: the record of this disk is bound to its key, and one that is not is somebody else's.
const BOUND: &str = "record-bound";
/// Why a disk is not opened whose keys are open.
const FOREIGN: &str = "somebody has changed the record of this disk: nothing is opened. If you moved partitions yourself, accept the disk with the recovery key; else restore a backup";
/// How long the other half of a mirror may take to show up.
const HALF_MAX: Duration = Duration::from_secs(10);
/// Between two looks for disks, or for keys that somebody unlocks.
const LOOK: Duration = Duration::from_secs(1);

/// Finds the disk and opens it, if it is set up. Ends when the data are there or when the box waits for its set-up.
pub fn run(shared: &Arc<Shared>) {
    let mut found = find(shared);
    *shared.disk.lock() = Some(found.clone());
    match found.stage() {
        Stage::Done | Stage::Filling => {}
        Stage::New | Stage::Begun => return shared.enter(State::SetUp),
        Stage::Erasing => {
            shared
                .log
                .note("the disk is being set back: what is left of its keys goes");
            if let Err(error) = go_on_erasing(shared, &found) {
                return stop(shared, &format!("the keys are not wholly destroyed: {error}"));
            }
            return shared.enter(State::SetUp);
        }
    }
    if found.mirror.is_some() {
        shared.log.note(&format!("the data are on {}", found.names()));
    }
    if update::is_from_left(shared) {
        // Its release may be too old for the keys and the data: it gets the current one, and the machine starts again.
        update::follow(shared);
    }
    shared.tell(Event::Keys(found.keyrings()));
    let key = await_key(shared);
    shared.enter(State::Starting);
    if !is_own(shared, &found, key.expose()) {
        return refuse(shared, FOREIGN);
    }
    let opened = {
        let _work = shared.mirror_work.lock();
        let opened = found.open(key.expose(), Path::new(DATA));
        *shared.disk.lock() = Some(found.clone());
        opened
    };
    match opened {
        Ok(false) => match bind(shared, &found, key.expose()) {
            Ok(()) => {
                shared.tell(Event::Opened);
                // Of a new board, or of a firmware that was set back.
                boot_order::keep(shared, &found);
            }
            Err(why) => refuse(shared, &why),
        },
        Ok(true) => only_read(shared),
        Err(error) => stop(shared, &format!("the data do not open: {error}")),
    }
}

/// Whether the record says what it said when the disk was set up. One that an earlier release wrote is bound now, if the
/// data do not say that it was bound before: that can be asked only when they are open.
fn is_own(shared: &Shared, found: &Found, key: &[u8; 64]) -> bool {
    match found.is_own(key) {
        Some(is_own) => is_own,
        None => {
            shared
                .log
                .note("the record of the disk is an earlier release's, and bound to no key");
            true
        }
    }
}

/// Binds an earlier release's record, once; refuses one that was bound before and is not any more.
fn bind(shared: &Shared, found: &Found, key: &[u8; 64]) -> Result<(), String> {
    if found.is_own(key).is_none() {
        if Path::new(DATA).join(BOUND).exists() {
            return Err(FOREIGN.to_owned());
        }
        write_down(shared, key)?;
    }
    mark_bound()
}

/// Has the records of the disks say that they are this box's, bound to its key.
fn write_down(shared: &Shared, key: &[u8; 64]) -> Result<(), String> {
    let _work = shared.mirror_work.lock();
    let mut found = found(shared)?;
    let finished = found.finish(key).map_err(|error| error.to_string());
    boot_order::keep(shared, &found);
    *shared.disk.lock() = Some(found);
    finished
}

/// Remembers inside of the encryption that the record is bound.
fn mark_bound() -> Result<(), String> {
    let mark = Path::new(DATA).join(BOUND);
    if mark.exists() {
        return Ok(());
    }
    std::fs::write(&mark, "").map_err(|error| format!("{}: {error}", mark.display()))
}

/// Waits for somebody who has the recovery key, and says that the disk is this box's.
fn refuse(shared: &Shared, why: &str) {
    {
        let mut status = shared.status.lock();
        status.is_foreign = true;
        status.health = Some(Health::Locked {
            why: why.to_owned(),
            pin: false,
        });
    }
    shared.log.note(why);
    shared.enter(State::Locked);
}

/// Waits for somebody who saves the data, with the PIN that they name.
pub fn only_read(shared: &Shared) {
    match former::load(shared) {
        Ok(site) => *shared.site.lock() = site,
        Err(error) => shared.notice(&error),
    }
    shared.only_read(
        "the data's file system had errors, and nothing is written to it any more. Save them onto a USB stick",
    );
    shared.enter(State::ReadOnly);
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
            // It starts with the one only when the other one does not come.
            Ok(found) if found.misses_a_half() && since.elapsed() < HALF_MAX => {
                std::thread::sleep(LOOK);
                continue;
            }
            Ok(found) => {
                shared.forget_notice(&told);
                shared.status.lock().has_no_disk = false;
                return found;
            }
            Err(error) => error.to_string(),
        };
        if since.elapsed() > DISKS_MAX && error != told {
            shared.forget_notice(&told);
            shared.notice(&error);
            shared.status.lock().has_no_disk = true;
            shared.enter(State::SetUp);
            told = error;
        }
        std::thread::sleep(LOOK);
    }
}

/// Asks for the key until it is there: the TPM gives it, or somebody types what opens the keyring.
fn await_key(shared: &Arc<Shared>) -> lamchat_base::Secret<64> {
    let mut told = String::new();
    let mut refused: Option<Refused> = None;
    loop {
        match keys::await_start().and_then(|()| keys::disk_key()) {
            Ok(DiskKey::Open(key)) => {
                if let Some(refused) = refused {
                    refused.opened(shared);
                }
                return key;
            }
            Ok(DiskKey::Locked(reason, blame)) => {
                refused.get_or_insert_with(|| Refused::new(shared, blame)).look(shared);
                shared.status.lock().health = Some(Health::Locked {
                    why: reason.clone(),
                    pin: blame == Blame::Pin,
                });
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

/// Everything that the keys of this box are kept by goes. Durable when it returns; before that, the next start goes on.
pub fn erase(shared: &Shared) -> Result<(), String> {
    let found = found(shared)?;
    found.begin_erasing().map_err(|error| error.to_string())?;
    let forgotten = keys::typed(&Typed::Erase).map(drop);
    if let Err(why) = &forgotten {
        shared.log.note(&format!("the TPM keeps something: {why}"));
    }
    // Whatever the TPM says: nothing on the disk opens any more.
    found.end_erasing().map_err(|error| error.to_string())
}

/// After a power cut in the middle of [`erase`].
fn go_on_erasing(shared: &Shared, found: &Found) -> Result<(), String> {
    // It may have been cut between the two copies of the decision.
    found.begin_erasing().map_err(|error| error.to_string())?;
    clear(shared, found);
    found.end_erasing().map_err(|error| error.to_string())
}

/// Takes out of the TPM what belongs to a keyring that is about to be overwritten, and ends its holder.
fn clear(shared: &Shared, found: &Found) {
    let has_holder = shared.has_keys.load(Ordering::Relaxed);
    // What cannot be read is overwritten, and its counters stay in the TPM: they open nothing.
    if !has_holder && !found.has_keyring().unwrap_or(false) {
        return;
    }
    if !has_holder {
        shared.tell(Event::Keys(found.keyrings()));
    }
    let erased = keys::await_start().and_then(|()| keys::typed(&Typed::Erase));
    if let Err(error) = erased {
        shared
            .log
            .note(&format!("the TPM keeps something of an earlier keyring: {error}"));
    }
    let (sender, ended) = sync_channel(1);
    shared.tell(Event::StopKeys(sender));
    if let Err(error) = ended.recv_timeout(STOP_MAX) {
        shared.log.note(&format!("the key holder does not end: {error}"));
    }
}

/// The operator says that this disk is this box's: its record is bound as it is. The act is kept on the data before, for
/// the audit log; data that can only be read keep nothing, which the box's own log says.
pub fn accept(shared: &Shared, act: Act) -> Result<(), String> {
    let key = match keys::disk_key()? {
        DiskKey::Open(key) => key,
        DiskKey::Locked(why, _) => return Err(why),
    };
    if open_to_write(shared, key.expose())? {
        shared.late.keep(act.late()).map_err(|error| error.to_string())?;
    } else {
        shared
            .log
            .note("that the disk is accepted cannot be in the audit log: its data can only be read");
    }
    write_down(shared, key.expose())
}

/// Opens the data, if they are not open yet: the key fits, and whoever asks has the recovery key. Answers whether they can
/// be written.
fn open_to_write(shared: &Shared, key: &[u8; 64]) -> Result<bool, String> {
    let data = Path::new(DATA);
    if !are_open() {
        let _work = shared.mirror_work.lock();
        let mut found = found(shared)?;
        let opened = found.open(key, data);
        *shared.disk.lock() = Some(found);
        opened.map_err(|error| format!("the data do not open: {error}"))?;
    }
    Ok(!mounts::is_read_only(data))
}

/// Whether the data are mounted.
pub fn are_open() -> bool {
    let device = |path: &Path| std::fs::metadata(path).map(|known| known.dev()).ok();
    let data = Path::new(DATA);
    device(data).is_some_and(|own| device(data.parent().unwrap_or(data)) != Some(own))
}

fn found(shared: &Shared) -> Result<Found, String> {
    shared.disk.lock().clone().ok_or_else(|| DiskError::Absent.to_string())
}
