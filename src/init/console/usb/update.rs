//! An update from a stick: the bundle goes to the exchange as `lamchat update` hands it in, and from there to the updater.
//! Where the exchange does not answer, it goes to the updater at once: an update may be what mends it.

use super::{Signs, choose, pick, tell};
use crate::cli::update_text;
use crate::init::console::screen::Screen;
use crate::init::late::{self, Act};
use crate::init::state::{Shared, State};
use crate::init::{exchange, stick, update};
use lamchat_release::BUNDLE_BYTES_MAX;
use serde_json::{Value, json};
use std::io::Read;
use std::sync::Arc;

const UPDATE: &str = "/_lamchat/admin/v1/update";
/// How the file's name ends.
const SUFFIX: &str = ".bundle";

/// Counts what goes through.
struct Counted<'a, 's, R> {
    from: R,
    bytes: u64,
    signs: &'a mut Signs<'s>,
}

impl<R: Read> Read for Counted<'_, '_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.from.read(buffer)?;
        self.bytes += length as u64;
        self.signs.at(self.bytes);
        Ok(length)
    }
}

/// Chooses a bundle, has it checked, shows what it changes, and installs it.
pub fn run(screen: &mut Screen, shared: &Arc<Shared>) -> std::io::Result<()> {
    let Some(disk) = choose(screen)? else { return Ok(()) };
    let mut stick = match stick::open(shared, &disk) {
        Ok(stick) => stick,
        Err(error) => return tell(screen, Err(error)),
    };
    let names: Vec<String> = match stick.list("") {
        Ok(entries) => {
            let files = entries.into_iter().filter(|entry| !entry.is_folder);
            let bundle = |name: &String| name.to_ascii_lowercase().ends_with(SUFFIX) && lamchat_stick::check_path(name);
            files.map(|entry| entry.name).filter(bundle).collect()
        }
        Err(error) => return tell(screen, Err(error.to_string())),
    };
    if names.is_empty() {
        let text = "There is no file lamchat-VERSION.bundle in the stick's first folder.";
        return tell(screen, Err(text.to_owned()));
    }
    screen.page(
        "Update",
        "The bundle is checked from its first byte to its last before anything is written.",
    )?;
    let Some(name) = pick(screen, &names)?.and_then(|at| names.get(at)) else {
        return Ok(());
    };
    let answers = shared.state() == State::Serving;
    let mut signs = Signs::new(screen, "Checking");
    let staged = stick
        .read(name, BUNDLE_BYTES_MAX)
        .map_err(|error| error.to_string())
        .and_then(|reader| {
            let bytes = reader.bytes;
            let mut counted = Counted {
                from: reader,
                bytes: 0,
                signs: &mut signs,
            };
            if answers {
                exchange::upload(&format!("{UPDATE}/bundle"), &mut counted, bytes).map_err(|error| error.0)
            } else {
                update::stage(shared, &mut counted)
            }
        });
    let shown = match staged {
        Ok(shown) => shown,
        Err(error) => return tell(screen, Err(error)),
    };
    // Nothing was written on it; whether it is left clean changes nothing for the update.
    drop(stick.close());
    screen.pages("Update", &update_text(&shown))?;
    if !screen.confirm("Install it, and start the machine again?")? {
        return tell(screen, Err("Nothing was installed.".to_owned()));
    }
    let id = shown.get("id").and_then(Value::as_str).unwrap_or_default();
    let applied = if answers {
        let body = json!({"id": id, "restart": true});
        exchange::call("POST", &format!("{UPDATE}/apply"), Some(&body)).map_err(|error| error.0)
    } else {
        // Who chose what, before it is done, as the exchange notes it.
        let version = shown.get("version").and_then(Value::as_str).unwrap_or_default();
        let act = Act::new("usb-update", &screen.name).about(version);
        late::note(shared, act).and_then(|()| update::apply(shared, id))
    };
    let text = |answer: Value| {
        let version = answer
            .get("version")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        format!("{version} is installed; the machine starts again with it. The stick may be pulled.")
    };
    tell(screen, applied.map(text))
}
