//! The box's own certificate authority: what whoever connects compares before they trust it. All of it is public.

use super::screen::{Screen, rule};
use crate::cli::Authority;
use crate::cli::qr::COLOURS;
use crate::init::exchange;
use crate::init::state::Shared;
use std::sync::Arc;

/// Asks the exchange for it.
pub fn ask() -> Result<Authority, String> {
    let answer = exchange::call("GET", "/_lamchat/admin/v1/tls/authority", None);
    answer
        .and_then(|answer| Authority::of(&answer))
        .map_err(|error| error.0)
}

/// Shows its fingerprint, also as a QR code.
pub fn show(screen: &mut Screen, _: &Arc<Shared>) -> std::io::Result<()> {
    let lines = ask().and_then(|authority| authority.lines(COLOURS).map_err(|error| error.0));
    match lines {
        Ok(lines) => {
            screen.draw(&[" The certificate authority of this box".to_owned(), rule()])?;
            for line in lines {
                screen.print(&format!("{line}\r\n"))?;
            }
        }
        Err(error) => screen.page("Not known", &error)?,
    }
    screen.pause()
}
