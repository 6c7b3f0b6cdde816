//! The factory reset: everything that this box keeps can never be read again, and its set-up begins anew.

use super::screen::{Echo, Screen};
use crate::init::state::{Event, Shared};
use crate::init::{exchange, vault};
use lamchat_machine::power::End;
use serde_json::Value;
use std::sync::Arc;

const WARNING: &str = "Every account, message and file of this box, its keys and its name are lost for good: the keys are \
destroyed on the disk and in the TPM. A backup that lies elsewhere stays, and opens with the recovery key that was written \
down for it.";

/// What a disk has that is elsewhere.
const MIRROR_WARNING: &str = "A disk of the mirror that is not plugged in now keeps its copy of the keys and the data: the TPM \
opens it no more, but the recovery key that was written down does. Plug it in first, or destroy it.";

/// Asks for the server's name, and does it.
pub fn run(screen: &mut Screen, shared: &Arc<Shared>) -> std::io::Result<()> {
    let Some(_operator) = shared.operator.try_lock() else {
        screen.page("Busy", "Another console is at work on this box.")?;
        return screen.pause();
    };
    let Some(name) = shared.site.lock().as_ref().map(|site| site.server_name.clone()) else {
        return Ok(());
    };
    let head = match exchange::call("GET", "/_lamchat/admin/v1/audit?limit=0", None) {
        Ok(answer) => head(&answer),
        Err(error) => format!("The audit log does not answer: {}", error.0),
    };
    let is_mirror = shared.status.lock().is_mirror;
    screen.page("FACTORY RESET", &warning(is_mirror, &head))?;
    let Some(typed) = screen.ask("Type the server's name to destroy its data", Echo::Shown)? else {
        return Ok(());
    };
    if typed.trim() != name {
        screen.page("Nothing was done", "That is not the server's name.")?;
        return screen.pause();
    }
    shared.log.note("an operator on a console sets the box back");
    screen.page("FACTORY RESET", "The keys are destroyed …")?;
    match vault::erase(shared) {
        Ok(()) => screen.page("The keys are destroyed", "The box starts again, as if it were new.")?,
        Err(error) => screen.page(
            "Not wholly",
            &format!("{error}\n\nThe box starts again and goes on destroying."),
        )?,
    }
    shared.tell(Event::End(End::Reboot));
    Ok(())
}

/// What is lost, and what is not.
fn warning(is_mirror: bool, head: &str) -> String {
    let mirror = if is_mirror { MIRROR_WARNING } else { "" };
    [WARNING, mirror, head]
        .into_iter()
        .filter(|text| !text.is_empty())
        .collect::<Vec<_>>()
        .join("\n\n")
}

/// The last of the log, for whoever keeps copies of it elsewhere.
fn head(answer: &Value) -> String {
    let number = |key: &str| answer.get(key).and_then(Value::as_u64).unwrap_or_default();
    let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default();
    format!(
        "The audit log {} has {} entries, {} of them signed. It is lost as well: export it first (`lamchat audit export`).",
        text("log"),
        number("size"),
        number("signed"),
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_mirror_has_disks_elsewhere() {
        assert_eq!(super::warning(false, "head"), format!("{}\n\nhead", super::WARNING));
        assert!(super::warning(true, "head").contains("not plugged in"));
    }

    #[test]
    fn the_log_is_named() {
        let answer = serde_json::json!({"log": "chat/1", "size": 9, "signed": 8});
        assert!(super::head(&answer).starts_with("The audit log chat/1 has 9 entries, 8 of them signed."));
    }
}
