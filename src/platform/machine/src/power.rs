//! The end of the machine's run.

use nix::errno::Errno;
use nix::sys::reboot::{RebootMode, reboot, set_cad_enabled};

/// How it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The power goes off.
    PowerOff,
    /// The firmware starts again.
    Reboot,
}

/// Writes what is still in memory to the disks, then ends. Comes back only if the kernel refuses.
pub fn end(how: End) -> Errno {
    nix::unistd::sync();
    let mode = match how {
        End::PowerOff => RebootMode::RB_POWER_OFF,
        End::Reboot => RebootMode::RB_AUTOBOOT,
    };
    match reboot(mode) {
        Err(error) => error,
        Ok(never) => match never {},
    }
}

/// Ctrl-Alt-Del on a keyboard becomes a signal to process 1 instead of a restart on the spot.
pub fn tame_keyboard() -> Result<(), Errno> {
    set_cad_enabled(false)
}
