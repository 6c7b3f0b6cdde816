//! What the machine is configured to be: taken over from the console, on trial where the network changes, and made so.
//!
//! What must never happen here: a change of the network written down that nobody has confirmed.

use super::Machine;
use crate::cli::Failure;
use crate::init::service::Service;
use crate::init::state::State;
use crate::init::{DATA, clock, crash, exchange, former, vault};
use lamchat_appliance::site::Site;
use lamchat_host::OsEntropy;
use lamchat_machine::mounts;
use nix::sys::signal::Signal;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a change of the network lasts that nobody confirms.
const TRIAL: Duration = Duration::from_secs(120);

impl Machine {
    /// A new configuration from the console. A change of the network is not written down before it is confirmed: a restart
    /// undoes it, too.
    pub(super) fn take_over(&mut self, site: Site) -> Result<(), String> {
        exchange::check(&site)?;
        let before = self.shared.site.lock().clone();
        if self.trial.is_some() && before.as_ref().is_some_and(|before| before.network == site.network) {
            return Err("confirm the change of the network first".to_owned());
        }
        if let Some(before) = before.filter(|before| before.network != site.network) {
            let deadline = Instant::now() + TRIAL;
            // A second change during a trial goes back to what was there before the first.
            let before = self.trial.take().map_or(before, |(first, _)| first);
            self.trial = Some((before, deadline));
            self.shared.status.lock().trial = Some(deadline);
            self.use_network(site);
            return Ok(());
        }
        site.save(&exchange::site_file(), &OsEntropy)
            .map_err(|error| error.to_string())?;
        former::replaced(&self.shared, site.version);
        self.configure(site).map_err(|error| error.0)
    }

    /// Tells the thread of the network.
    pub(super) fn use_network(&mut self, site: Site) {
        *self.shared.site.lock() = Some(site.clone());
        if self.network.send(site).is_err() {
            self.shared.log.note("the network's thread has ended");
        }
    }

    /// The change of the network stays.
    pub(super) fn confirm(&mut self) {
        if self.trial.is_none() {
            return;
        }
        // Whoever waits for the end of the trial may rely on it after a power cut. What cannot be kept goes back by itself.
        let site = self.shared.site.lock().clone();
        let saved = site.map(|site| site.save(&exchange::site_file(), &OsEntropy).map(|()| site.version));
        match saved {
            Some(Ok(version)) => {
                self.trial = None;
                former::replaced(&self.shared, version);
                self.shared.status.lock().trial = None;
                self.shared.log.note("the change of the network was confirmed");
            }
            Some(Err(error)) => self
                .shared
                .log
                .note(&format!("the change of the network cannot be kept: {error}")),
            None => {}
        }
    }

    /// Makes the machine what the configuration says.
    fn configure(&mut self, site: Site) -> Result<(), Failure> {
        exchange::prepare(&site)?;
        self.use_network(site);
        // It reads its configuration again.
        if let Some(exchange) = &self.exchange {
            exchange.signal(Signal::SIGHUP);
        }
        if self.exchange.is_none() {
            self.shared.enter(State::Starting);
            self.heard = Instant::now();
            self.on_trial.begins(self.heard);
            self.shared.status.lock().exchange_since = Some(self.heard);
            self.exchange = Some(Service::new(exchange::program(), Arc::clone(&self.shared.log)));
        }
        Ok(())
    }

    /// The data are there: the box goes on as it was set up.
    pub(super) fn opened(&mut self) {
        clock::raise(&self.shared);
        crash::keep(&self.shared);
        let site =
            former::load(&self.shared).and_then(|site| site.ok_or_else(|| "the data have no configuration".to_owned()));
        if let Ok(later) = site.as_ref().map(Site::later)
            && !later.is_empty()
        {
            self.shared.log.note(&format!(
                "the configuration has what a later release wrote; it does nothing here and is kept: {}",
                later.join(", ")
            ));
        }
        if let Err(error) = site.and_then(|site| self.configure(site).map_err(|error| error.0)) {
            self.shared.notice(&error);
            // Errors of the file system that the first writes came upon.
            if mounts::is_read_only(Path::new(DATA)) {
                vault::only_read(&self.shared);
            } else {
                self.shared.enter(State::Degraded);
            }
        }
        former::note(&self.shared);
    }
}
