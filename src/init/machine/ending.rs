//! The end of the run: the exchange finishes, the data are closed, the machine switches off or starts again.
//!
//! What must never happen here: a machine that restarts after it was switched off.

use super::{Machine, STOP_PATIENCE};
use crate::init::state::State;
use crate::init::{DATA, disk, vault};
use lamchat_machine::mounts;
use lamchat_machine::power::{self, End};
use nix::sys::signal::Signal;
use std::path::Path;
use std::time::Instant;

impl Machine {
    /// Begins the end: the exchange finishes first.
    pub(super) fn end(&mut self, end: End) {
        if self.ending.is_some() {
            return;
        }
        self.shared.log.note(&format!("the end: {end:?}"));
        self.shared.enter(State::Stopping);
        self.ending = Some((end, Instant::now() + STOP_PATIENCE));
        if let Some(exchange) = &self.exchange {
            exchange.signal(Signal::SIGTERM);
        }
    }

    /// Nothing runs any more that has data open.
    pub(super) fn finish(&mut self, end: End) {
        if vault::are_open()
            && let Err(error) = mounts::unmount(Path::new(DATA))
        {
            self.shared.log.note(&format!("{DATA} stays mounted: {error}"));
        }
        if let Err(error) = disk::close() {
            self.shared
                .log
                .note(&format!("the data's key stays in the kernel: {error}"));
        }
        // A restart that hangs is one that the watchdog ends; after switching off nothing may restart.
        if end == End::PowerOff
            && let Some(watchdog) = self.watchdog.take()
            && let Err(error) = watchdog.disarm()
        {
            self.shared.log.note(&format!("the watchdog: {error}"));
        }
        let error = power::end(end);
        self.shared.log.note(&format!("the machine does not end: {error}"));
    }
}
