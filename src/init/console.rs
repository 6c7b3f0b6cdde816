//! The console: a status screen and menus on every terminal of the machine. A terminal may be a BMC's and so far away:
//! once the box is set up, every act needs the console's PIN or the recovery key.

mod accept;
mod acts;
mod authority;
mod change;
mod check;
mod firmware;
mod gate;
mod install;
mod layout;
mod lines;
mod menu;
mod mirror;
mod pages;
mod pin;
mod recovery;
mod reset;
mod restore;
mod screen;
mod setup;
mod status;
mod tpm_pin;
mod usb;

pub use gate::Guesses;

use super::state::Shared;
use screen::Screen;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// How often the status is looked at.
const REFRESH: Duration = Duration::from_secs(2);

/// Serves a terminal until it fails.
pub fn run(name: &str, shared: &Arc<Shared>) -> std::io::Result<Infallible> {
    let mut screen = Screen::open(name)?;
    let mut shown = Vec::new();
    loop {
        let lines = status::lines(shared);
        // A serial line is slow, and somebody may be reading: only what has changed is drawn.
        if lines != shown {
            screen.draw(&lines)?;
            shown = lines;
        }
        let Some(key) = screen.key(REFRESH)? else { continue };
        // What is there now, not what was when the screen was drawn.
        let now = shared.status.lock().clone();
        let chosen = menu::items(&now)
            .into_iter()
            .find(|item| Some(item.key) == key.letter());
        if let Some(item) = chosen {
            acts::run(&mut screen, shared, item)?;
        }
        // Any key draws the screen anew: a terminal that was plugged in late is empty.
        shown.clear();
    }
}
