//! The set-up from a backup on a stick: three questions, because accounts and the server's name are in it. Until its end a
//! restart begins it anew, as any set-up.

use super::screen::{Echo, Screen};
use super::setup::{ask_network, ask_pin, disks, is_busy, note, start};
use super::usb::{self, MEGABYTE, Signs};
use super::{recovery, usb::tell};
use crate::cli::output;
use crate::init::restore::{self, Found, Place, Restored};
use crate::init::state::{Shared, State};
use crate::init::{keys, vault};
use lamchat_appliance::site::Network;
use lamchat_appliance::{MANIFEST_FILE, Step};
use lamchat_holder::{Reply, Typed};
use lamchat_seal::SlotKind;
use std::sync::Arc;
use zeroize::Zeroizing;

/// What screens are called.
const TITLE: &str = "Set up from a backup";
/// What is not in a backup.
const LEFT: &str = "The rest of the box's own configuration is not in the backup (time servers, VLANs, bonds, where updates \
are looked for): set it in the menu, or bring it with a stick's \"Configuration from the stick\".";

/// What was answered.
struct Answers {
    key: Zeroizing<String>,
    network: Network,
    pin: Zeroizing<String>,
}

/// Asks, and makes it so.
pub fn run(screen: &mut Screen, shared: &Arc<Shared>) -> std::io::Result<()> {
    let Some(_operator) = shared.operator.try_lock() else {
        return is_busy(screen);
    };
    let Some(disks) = disks(screen, shared)? else {
        return Ok(());
    };
    let Some(place) = choose(screen, shared)? else {
        return Ok(());
    };
    screen.page(TITLE, "Looking at the backup …")?;
    let found = match restore::look(shared, &place) {
        Ok(found) => found,
        Err(error) => return tell(screen, Err(error)),
    };
    let text = format!(
        "{} has {} MB, and all of its parts are there. Three questions; Esc goes back, and nothing is changed before the \
         last answer.{disks}\n\nThe key is the one that was written down for the box or server of the backup. Accounts, \
         rooms and the server's name come from it.",
        place.folder,
        found.bytes.div_ceil(MEGABYTE)
    );
    screen.page(TITLE, &text)?;
    let Some(answers) = ask(screen)? else {
        return Ok(());
    };
    match make(screen, shared, &place, &found, answers)? {
        Some(Ok((restored, sealed))) => {
            note(screen, shared, "restore");
            screen.page("This box is set up", &said(&restored, &sealed))?;
            screen.pause()
        }
        // What came after the last step of the set-up says itself what to do.
        Some(Err(error)) if shared.state() == State::SetUp => {
            let text = format!("{error}\n\nNothing was restored: choose again, or set the box up anew.");
            screen.page("Not set up", &text)?;
            screen.pause()
        }
        Some(Err(error)) => {
            screen.page("Not set up", &error)?;
            screen.pause()
        }
        None => Ok(()),
    }
}

/// The folder with the backup.
fn choose(screen: &mut Screen, shared: &Arc<Shared>) -> std::io::Result<Option<Place>> {
    let Some(disk) = usb::choose(screen)? else {
        return Ok(None);
    };
    let mut folders = match restore::folders(shared, &disk) {
        Ok(folders) => folders,
        Err(error) => return tell(screen, Err(error)).map(|()| None),
    };
    if folders.is_empty() {
        let text = format!(
            "No folder of the stick has a backup: that is one with {MANIFEST_FILE} and the parts beside it, in the stick's \
             first folder."
        );
        return tell(screen, Err(text)).map(|()| None);
    }
    // Their names end in a time.
    folders.reverse();
    screen.page(TITLE, "Which backup?")?;
    let chosen = usb::pick(screen, &folders)?;
    Ok(chosen
        .and_then(|at| folders.get(at).cloned())
        .map(|folder| Place { disk, folder }))
}

fn ask(screen: &mut Screen) -> std::io::Result<Option<Answers>> {
    let Some(key) = screen.ask("1/3 Recovery key (or passphrase) of the backup", Echo::Shown)? else {
        return Ok(None);
    };
    let Some(network) = ask_network(screen, "2/3")? else {
        return Ok(None);
    };
    let Some(pin) = ask_pin(screen, "3/3")? else {
        return Ok(None);
    };
    Ok(Some(Answers { key, network, pin }))
}

type Made = Result<(Restored, Result<(), String>), String>;

/// `None`: left by Esc.
fn make(
    screen: &mut Screen,
    shared: &Arc<Shared>,
    place: &Place,
    found: &Found,
    answers: Answers,
) -> std::io::Result<Option<Made>> {
    screen.page(TITLE, "The disk gets the keyring of the backup …")?;
    if let Err(error) = vault::prepare(shared) {
        return Ok(Some(Err(error)));
    }
    let Some((key, by)) = open(screen, found, answers.key)? else {
        return Ok(None);
    };
    // It was written down right: other servers need not wait for that. One who typed a passphrase gets a recovery key,
    // which the console asks for.
    match by {
        SlotKind::Recovery => {
            if let Err(error) = keys::typed(&Typed::VerifyRecovery(keys::secret(&key))) {
                return Ok(Some(Err(error)));
            }
        }
        _ => match keys::typed(&Typed::AddRecovery) {
            Ok(Reply::Recovery(_, key)) => {
                let key = Zeroizing::new(String::from_utf8_lossy(key.expose()).into_owned());
                recovery::show(screen, &key)?;
            }
            Ok(_) => return Ok(Some(Err("the key holder answers something else".to_owned()))),
            Err(error) => return Ok(Some(Err(error))),
        },
    }
    drop(key);
    let sealed = vault::seal(shared);
    screen.page(
        TITLE,
        "The data get an encrypted file system. The backup is checked from its first byte to its last, then restored. Do not \
         pull the stick.",
    )?;
    let restored = vault::format(shared).and_then(|()| fill(screen, shared, place));
    let restored = match restored {
        Ok(restored) => restored,
        Err(error) => return Ok(Some(Err(error))),
    };
    screen.page(TITLE, "The stick may be pulled. The exchange starts …")?;
    let started = start(shared, &restored.server_name, &answers.network, &answers.pin);
    Ok(Some(started.map(|()| (restored, sealed))))
}

/// Opens the backup's keyring, and asks again until what is typed opens it. `None`: left by Esc.
fn open(
    screen: &mut Screen,
    found: &Found,
    mut key: Zeroizing<String>,
) -> std::io::Result<Option<(Zeroizing<String>, SlotKind)>> {
    loop {
        match vault::take_keyring(&found.keyring, &key) {
            Ok(by) => return Ok(Some((key, by))),
            Err(error) => screen.print(&format!(" {error}\r\n"))?,
        }
        match screen.ask("Recovery key (or passphrase) of the backup", Echo::Shown)? {
            Some(typed) => key = typed,
            None => return Ok(None),
        }
    }
}

fn fill(screen: &mut Screen, shared: &Arc<Shared>, place: &Place) -> Result<Restored, String> {
    let (mut signs, mut reads, mut bytes) = (Signs::new(screen, "Checking"), 0, 0);
    restore::fill(shared, place, &mut |step| match step {
        // Once for the list of parts, once to check them, once to restore them.
        Step::Begins(MANIFEST_FILE) => {
            (reads, bytes) = (reads + 1, 0);
            if reads == 3 {
                signs.now("Restoring");
            }
        }
        Step::Begins(_) => {}
        Step::Bytes(count) => {
            bytes += count as u64;
            signs.at(bytes);
        }
    })
}

fn said(restored: &Restored, sealed: &Result<(), String>) -> String {
    let mut text = format!(
        "It goes on as {}, as of {} (UTC). Clients connect to https://{}/ and load everything once more.\n\n{}\n\n{LEFT}",
        restored.server_name,
        output::time(restored.created_ms),
        restored.server_name,
        recovery::sentence(sealed)
    );
    if restored.media_missing > 0 {
        text += &format!("\n\n{} files of media were not in the backup.", restored.media_missing);
    }
    text
}
