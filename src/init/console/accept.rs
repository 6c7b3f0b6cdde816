//! A disk whose record is not what this box wrote: whoever has the recovery key says that it is this box's all the same.

use super::screen::{Echo, Screen};
use crate::init::late::Act;
use crate::init::state::{Event, Shared};
use crate::init::{keys, vault};
use lamchat_holder::Typed;
use lamchat_machine::power::End;
use std::sync::Arc;

const WARNING: &str = "The record of this disk names its partitions, and somebody has changed it: by hand, or with an \
older copy of the disk. Accept it only if you know who. What is on the data partition is opened then.";

/// Asks for the recovery key, binds the record, and starts again.
pub fn run(screen: &mut Screen, shared: &Arc<Shared>) -> std::io::Result<()> {
    screen.page("Accept this disk", WARNING)?;
    let Some(typed) = screen.ask("Recovery key", Echo::Shown)? else {
        return Ok(());
    };
    let accepted = keys::typed(&Typed::VerifyRecovery(keys::secret(&typed)))
        .and_then(|_| vault::accept(shared, Act::new("accept-disk", &screen.name)));
    match accepted {
        Ok(()) => {
            shared.log.note("an operator on a console accepted the disk as it is");
            screen.page("Accepted", "The box starts again.")?;
            shared.tell(Event::End(End::Reboot));
            Ok(())
        }
        Err(error) => {
            screen.page("Not accepted", &error)?;
            screen.pause()
        }
    }
}
