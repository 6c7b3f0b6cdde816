//! The two processes that are kept running: how one is begun, how it is ended for good, and who has ended by itself.

use super::Machine;
use crate::init::service::Service;
use crate::init::state::State;
use crate::init::{keys, update};
use crate::updater::RESTART;
use lamchat_machine::power::End;
use lamchat_machine::signals;
use nix::sys::signal::Signal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;
use std::time::Instant;

impl Machine {
    /// Starts the key holder, with the keyring on these partitions.
    pub(super) fn start_keys(&mut self, partitions: &[PathBuf]) {
        match keys::prepare(partitions) {
            Ok((program, digest)) => {
                if let Err(error) = update::tell_digest(&self.shared, digest) {
                    self.shared
                        .log
                        .note(&format!("evidence will not name the image: {error}"));
                }
                self.keys = Some(Service::new(program, Arc::clone(&self.shared.log)));
                self.shared.has_keys.store(true, Ordering::Relaxed);
            }
            Err(error) => self
                .shared
                .notice(&format!("the key holder cannot be started: {error}")),
        }
    }

    /// Ends the key holder: what it kept is about to be overwritten.
    pub(super) fn stop_keys(&mut self, ended: SyncSender<()>) {
        match &self.keys {
            Some(keys) if keys.pid().is_some() => {
                keys.signal(Signal::SIGKILL);
                self.keys_end = Some(ended);
            }
            _ => self.forget_keys(&ended),
        }
    }

    /// The key holder has ended.
    pub(super) fn forget_keys(&mut self, waiting: &SyncSender<()>) {
        self.keys = None;
        self.shared.has_keys.store(false, Ordering::Relaxed);
        // Who has waited for too long has gone on.
        let _gone = waiting.try_send(());
    }

    /// Ends the exchange: its data can only be read, and whoever saves them needs the key holder, which has one exchange
    /// at a time. There is nothing that it could still write.
    pub(super) fn stop_exchange(&mut self, ended: SyncSender<()>) {
        match &self.exchange {
            Some(exchange) if exchange.pid().is_some() => {
                exchange.signal(Signal::SIGKILL);
                self.exchange_end = Some(ended);
            }
            _ => self.forget_exchange(&ended),
        }
    }

    /// The exchange has ended.
    pub(super) fn forget_exchange(&mut self, waiting: &SyncSender<()>) {
        self.exchange = None;
        self.shared.enter(State::ReadOnly);
        // Who has waited for too long has gone on.
        let _gone = waiting.try_send(());
    }

    /// Everything that has ended, also what was left to process 1.
    pub(super) fn reap(&mut self) {
        for ended in signals::reap() {
            match &mut self.exchange {
                Some(exchange) if exchange.pid() == Some(ended.pid) => {
                    exchange.ended(Instant::now());
                    self.shared.note_end("the exchange", ended);
                    if let Some(waiting) = self.exchange_end.take() {
                        self.forget_exchange(&waiting);
                    } else if self.ending.is_none() {
                        self.shared.enter(State::Degraded);
                    }
                }
                _ if self.shared.updaters.lock().remove(&ended.pid) => {
                    self.shared.note_end("the updater", ended);
                    if let Some((_, waiting)) = self.shared.marking.lock().take_if(|(pid, _)| *pid == ended.pid) {
                        // Whoever has waited for too long asks again.
                        let _gone = waiting.try_send(ended.code);
                    }
                    if ended.code == i32::from(RESTART) {
                        self.end(End::Reboot);
                    } else if ended.code == 0 {
                        // Something may have changed: the other half of a mirror gets it.
                        update::follow(&self.shared);
                    }
                }
                _ if self.shared.timekeeper.lock().take_if(|pid| *pid == ended.pid).is_some() => {
                    self.shared.note_end("the timekeeper", ended);
                }
                _ => match &mut self.keys {
                    Some(keys) if keys.pid() == Some(ended.pid) => {
                        keys.ended(Instant::now());
                        self.shared.note_end("the key holder", ended);
                        if let Some(waiting) = self.keys_end.take() {
                            self.forget_keys(&waiting);
                        }
                    }
                    _ => match self.shared.helper_ended(ended.pid) {
                        // Its console says what it did.
                        Some(_) if ended.code == 0 => {}
                        name => self.shared.note_end(name.unwrap_or("an orphan"), ended),
                    },
                },
            }
        }
    }
}
