//! The two processes that are kept running: how one is begun, and how it is ended for good.

use super::Machine;
use crate::init::service::Service;
use crate::init::state::State;
use crate::init::{keys, update};
use nix::sys::signal::Signal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;

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
}
