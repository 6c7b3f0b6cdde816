//! Another PIN for the consoles.

use super::acts::new_secret;
use super::change::hand_over;
use super::screen::Screen;
use crate::init::state::Shared;
use lamchat_appliance::pin;
use lamchat_host::OsEntropy;
use std::sync::Arc;

/// Asks for the new one twice; whoever is here has typed the one of before, or the recovery key.
pub fn run(screen: &mut Screen, shared: &Arc<Shared>) -> std::io::Result<()> {
    let text = format!(
        "The PIN of this box's consoles, {} digits or more. The one of before is not good any more afterwards.",
        pin::PIN_DIGITS_MIN
    );
    screen.page("New console PIN", &text)?;
    let Some(typed) = new_secret(screen, "New PIN")? else {
        return Ok(());
    };
    let hash = match pin::hash(&typed, &OsEntropy) {
        Ok(hash) => hash,
        Err(error) => {
            screen.page("Not changed", &error.to_string())?;
            return screen.pause();
        }
    };
    // What is configured now, not what was before the PIN was typed.
    let Some(mut site) = shared.site.lock().clone() else {
        return Ok(());
    };
    site.pin = Some(hash);
    site.version = site.next_version();
    if !hand_over(screen, shared, site)? {
        return Ok(());
    }
    screen.page("Changed", "The new PIN is good on every console from now on.")?;
    screen.pause()
}
