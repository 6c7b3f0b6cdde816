//! The steps of a set-up. Until [`finish`] the record of the disk says that it has begun and no more, so a start begins it
//! anew, whatever was written.

use super::{are_open, clear, found, mark_bound, write_down};
use crate::init::disk::{self, Found};
use crate::init::keys::{self, DiskKey};
use crate::init::state::{Event, Shared};
use crate::init::update::Booted;
use crate::init::{DATA, exchange, floor};
use lamchat_holder::{Reply, Typed};
use lamchat_machine::mounts;
use lamchat_seal::SlotKind;
use std::path::Path;
use zeroize::Zeroizing;

/// What a set-up has begun with.
pub struct Begun {
    /// The recovery key, 48 digits.
    pub recovery: Zeroizing<String>,
    /// Whether the keys are sealed to the TPM; else why not.
    pub sealed: Result<(), String>,
}

/// The disks that a set-up would take: a second one may have shown up after the first.
pub fn look_again(shared: &Shared) -> Result<Found, String> {
    let found = disk::find().map_err(|error| error.to_string())?;
    *shared.disk.lock() = Some(found.clone());
    Ok(found)
}

/// Begins a set-up: the disk is this box's own, whatever was on it, and has room for a keyring.
pub fn prepare(shared: &Shared) -> Result<(), String> {
    let mut found = look_again(shared)?;
    if let Err(why) = Booted::of(shared) {
        shared
            .log
            .note(&format!("updates will not be taken before the next start: {why}"));
    }
    // Of a set-up that was left.
    let_go()?;
    clear(shared, &found);
    found.begin().map_err(|error| error.to_string())?;
    shared.tell(Event::Keys(found.keyrings()));
    *shared.disk.lock() = Some(found);
    keys::await_start()
}

/// Lets go of the data that [`format`] made, if it did, so that the disk can be written anew.
fn let_go() -> Result<(), String> {
    if are_open() {
        mounts::unmount(Path::new(DATA)).map_err(|error| error.to_string())?;
    }
    disk::close().map_err(|error| error.to_string())
}

/// [`prepare`], and a new keyring.
pub fn begin(shared: &Shared) -> Result<Begun, String> {
    prepare(shared)?;
    let Reply::Recovery(_, key) = keys::typed(&Typed::Create)? else {
        return Err("the key holder answers something else".to_owned());
    };
    Ok(Begun {
        recovery: Zeroizing::new(String::from_utf8_lossy(key.expose()).into_owned()),
        sealed: seal(shared),
    })
}

/// After [`prepare`]: the keyring of a backup, opened by what was typed. Answers by which kind of slot. May be asked again
/// where it did not open.
pub fn take_keyring(exported: &[u8], key: &str) -> Result<SlotKind, String> {
    let exported = exported.to_vec();
    match keys::typed(&Typed::CreateFrom {
        exported,
        key: keys::secret(key),
    })? {
        Reply::Unlocked(by) => Ok(by),
        _ => Err("the key holder answers something else".to_owned()),
    }
}

/// Seals the keys to this machine's TPM as it is now, for all images that the box may start.
pub fn seal(shared: &Shared) -> Result<(), String> {
    let bootable = floor::bootable(shared)?;
    keys::typed(&Typed::Seal { bootable }).map(drop)
}

/// Seals them so that each start asks for this PIN, or for none any more.
pub fn set_pin(shared: &Shared, pin: Option<&str>) -> Result<(), String> {
    let bootable = floor::bootable(shared)?;
    let pin = pin.map(keys::secret);
    keys::typed(&Typed::SetPin { bootable, pin }).map(drop)
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
    let key = match keys::disk_key()? {
        DiskKey::Open(key) => key,
        DiskKey::Locked(why, _) => return Err(why),
    };
    write_down(shared, key.expose())?;
    mark_bound()
}
