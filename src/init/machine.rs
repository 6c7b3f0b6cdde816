//! The main loop: hears what happens, keeps the exchange running, feeds the watchdog, ends the run.

mod children;
mod drivers;

use super::repair::{self, Repair};
use super::settling::Settling;
use super::state::{Event, Health, Shared, State};
use super::trial::Trial;
use super::{
    DATA, MODULES, clock, crash, disk, exchange, figures, lockdown, measured, network, service::Service, threads,
    update, vault, vital,
};
use crate::cli::Failure;
use crate::updater::RESTART;
use lamchat_appliance::site::Site;
use lamchat_host::OsEntropy;
use lamchat_machine::modules::Loader;
use lamchat_machine::power::{self, End};
use lamchat_machine::signals::{self, Signals};
use lamchat_machine::uevent::Monitor;
use lamchat_machine::watchdog::Watchdog;
use lamchat_machine::{button, console, mounts};
use nix::sys::signal::Signal;
use std::collections::HashSet;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender};
use std::time::{Duration, Instant};

/// How often the loop looks after everything that is due.
const TICK: Duration = Duration::from_millis(500);
/// How long the exchange may take to finish; then it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(45);
/// How long the exchange may be silent before it is killed and started again.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// How long a change of the network lasts that nobody confirms.
const TRIAL: Duration = Duration::from_secs(120);

/// Process 1.
pub struct Machine {
    shared: Arc<Shared>,
    events: Receiver<Event>,
    loader: Option<Loader>,
    /// When what no device asks for is to be loaded.
    settles: Settling,
    watchdog: Option<Watchdog>,
    fed: Instant,
    buttons: HashSet<String>,
    exchange: Option<Service>,
    keys: Option<Service>,
    /// Who waits for the end of the key holder.
    keys_end: Option<SyncSender<()>>,
    /// Who waits for the end of the exchange.
    exchange_end: Option<SyncSender<()>>,
    /// When the exchange answered last.
    heard: Instant,
    ending: Option<(End, Instant)>,
    network: Sender<Site>,
    /// What the release that runs may take until it is marked good.
    on_trial: Trial,
    /// How far the exchange has got that works on the data.
    repair: Repair,
    /// Whether what the box needs was noted since the start.
    has_figures: bool,
    /// What comes back unless the change is confirmed, and when.
    trial: Option<(Site, Instant)>,
}

impl Machine {
    /// Starts the threads and loads what drives the machine.
    pub fn new(shared: Arc<Shared>, signals: Signals) -> Result<Self, Failure> {
        let events = shared.take_receiver().ok_or("the main loop runs already")?;
        // News from here on; what is there already is found below.
        threads::devices(&shared, Monitor::open()?)?;
        threads::signals(&shared, signals)?;
        threads::notices(&shared, exchange::notify_socket()?)?;
        threads::health(&shared)?;
        threads::clock(&shared)?;
        threads::updates(&shared)?;
        threads::remote(&shared)?;
        let network = threads::network(&shared)?;
        let loader = match Loader::open(Path::new(MODULES)) {
            Ok(mut loader) => {
                loader.load_wanted();
                loader.load_for_all();
                Some(loader)
            }
            Err(error) => {
                shared.log.note(&format!("no modules: {error}"));
                None
            }
        };
        let mut machine = Self {
            shared,
            events,
            loader,
            settles: Settling::begun(Instant::now()),
            watchdog: None,
            fed: Instant::now(),
            buttons: HashSet::new(),
            exchange: None,
            keys: None,
            keys_end: None,
            exchange_end: None,
            heard: Instant::now(),
            ending: None,
            network,
            on_trial: Trial::default(),
            repair: Repair::default(),
            has_figures: false,
            trial: None,
        };
        machine.start()?;
        Ok(machine)
    }

    fn start(&mut self) -> Result<(), Failure> {
        self.note_modules();
        // Its module comes late.
        if let Err(error) = mounts::mount_again("/sys/firmware/efi/efivars") {
            self.shared.log.note(&format!("not there: {error}"));
        }
        measured::note(&self.shared);
        lockdown::note(&self.shared);
        self.look_for_watchdog();
        self.find_buttons();
        if let Err(error) = network::close() {
            self.shared.log.note(&format!("the packet filter: {error}"));
        }
        // The installer has no data and starts nothing.
        if self.shared.state() != State::Install {
            threads::vault(&self.shared)?;
            threads::mirror(&self.shared)?;
            // Its drivers are there by now, or come with their devices.
            threads::hardware(&self.shared)?;
            threads::good(&self.shared)?;
        }
        for name in console::find() {
            threads::console(&self.shared, name)?;
        }
        Ok(())
    }

    /// Runs until the machine is off.
    pub fn run(mut self) -> Result<Infallible, Failure> {
        loop {
            match self.events.recv_timeout(TICK) {
                Ok(event) => self.hear(event),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err("the main loop hears nothing any more".into()),
            }
            self.look_after(Instant::now());
        }
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Signal(Signal::SIGCHLD) => self.reap(),
            Event::Signal(Signal::SIGTERM | Signal::SIGPWR) | Event::PowerButton => self.end(End::PowerOff),
            // Ctrl-Alt-Del: whoever has the keyboard is not yet the operator.
            Event::Signal(signal) => self.shared.log.note(&format!("{signal} is ignored")),
            Event::Device(event) => self.device(event),
            Event::Notice(text) => match repair::work(&text) {
                Some(work) => self.goes_on(work, Instant::now()),
                None => self.shared.log.keep("exchange", &text.replace('\n', " ")),
            },
            Event::Health(health) => self.health(health),
            Event::Configured(site, answer) => {
                let result = self.take_over(*site);
                // A console that has gone away needs no answer.
                drop(answer.try_send(result));
            }
            Event::Keys(partitions) => self.start_keys(&partitions),
            Event::StopKeys(ended) => self.stop_keys(ended),
            Event::StopExchange(ended) => self.stop_exchange(ended),
            Event::Opened => {
                self.opened();
                // What the boot loader counted, and what was installed just before the restart.
                update::follow(&self.shared);
            }
            Event::Confirmed => self.confirm(),
            Event::End(end) => self.end(end),
        }
    }

    /// What is due.
    fn look_after(&mut self, now: Instant) {
        if self.settles.is_over(now) {
            self.load_named();
        }
        self.load_busy(now);
        let (state, since) = {
            let status = self.shared.status.lock();
            (status.state, status.since)
        };
        let elapsed = match state {
            State::Repairing => self.repair.silent(now),
            _ => now.saturating_duration_since(since),
        };
        if let Some(watchdog) = &mut self.watchdog
            && now.saturating_duration_since(self.fed) >= watchdog.interval()
            && vital::may_feed(state, elapsed)
        {
            self.fed = now;
            if let Err(error) = watchdog.feed() {
                self.shared.log.note(&format!("the watchdog: {error}"));
            }
        }
        if state == State::Serving && !self.has_figures && now.saturating_duration_since(since) >= figures::AFTER {
            self.has_figures = true;
            figures::note(&self.shared.log);
        }
        if self.shared.is_good.load(Ordering::Relaxed) {
            self.on_trial.ends();
        }
        // The watchdog would do it without a word, and not every machine has one.
        if let Some(why) = self.on_trial.verdict(now, state, elapsed) {
            self.shared.log.note(why);
            self.end(End::Reboot);
        }
        if let Some((before, _)) = self.trial.take_if(|(_, deadline)| now > *deadline) {
            self.shared
                .log
                .note("nobody confirmed the change of the network: it is as before");
            self.shared.status.lock().trial = None;
            self.use_network(before);
        }
        if let Some((end, deadline)) = self.ending {
            let running = self.exchange.as_ref().is_some_and(|exchange| exchange.pid().is_some());
            if !running || now > deadline + STOP_PATIENCE {
                self.finish(end);
            } else if now > deadline
                && let Some(exchange) = &self.exchange
            {
                exchange.signal(Signal::SIGKILL);
            }
            return;
        }
        for service in [&mut self.keys, &mut self.exchange].into_iter().flatten() {
            service.tick(now);
        }
        if self.exchange.is_some() && !self.shared.is_read_only() && mounts::is_read_only(Path::new(DATA)) {
            self.shared
                .only_read("the disk had errors: the data can only be read now. Save them onto a USB stick");
        }
        if matches!(state, State::Serving | State::Degraded)
            && now.saturating_duration_since(self.heard) > SILENCE_MAX
            && let Some(exchange) = &self.exchange
        {
            self.shared.log.note("the exchange is silent: it is started again");
            exchange.signal(Signal::SIGKILL);
            self.heard = now;
        }
    }

    /// Everything that has ended, also what was left to process 1.
    fn reap(&mut self) {
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

    fn health(&mut self, health: Health) {
        if self.ending.is_some() || self.exchange.is_none() {
            return;
        }
        match &health {
            Health::Running { .. } => {
                self.heard = Instant::now();
                self.repair.ends();
                self.shared.enter(State::Serving);
            }
            Health::Locked { .. } => {
                self.heard = Instant::now();
                // How long it waits for its operator is no fault of the release's.
                self.on_trial.progress(self.heard);
                self.shared.enter(State::Locked);
            }
            Health::Silent(_) if matches!(self.shared.state(), State::Starting | State::Repairing) => {}
            Health::Silent(_) => self.shared.enter(State::Degraded),
        }
        let mut status = self.shared.status.lock();
        status.health = Some(health);
        status.addresses = network::describe();
    }

    /// The exchange works on the data before it can answer. One that has answered already needs no time.
    fn goes_on(&mut self, work: &str, now: Instant) {
        let is_running = self.exchange.as_ref().is_some_and(|exchange| exchange.pid().is_some());
        let may = matches!(
            self.shared.state(),
            State::Starting | State::Repairing | State::Degraded
        );
        if self.ending.is_some() || !is_running || !may {
            return;
        }
        self.repair.progress(now);
        self.on_trial.progress(now);
        self.heard = now;
        self.shared.status.lock().work = Some(work.to_owned());
        self.shared.enter(State::Repairing);
    }

    fn find_buttons(&mut self) {
        let names = std::fs::read_dir("/sys/class/input").into_iter().flatten().flatten();
        let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        for name in names.filter(|name| name.starts_with("event") && button::has_power_button(name)) {
            if !self.buttons.insert(name.clone()) {
                continue;
            }
            if let Err(error) = threads::power_button(&self.shared, name) {
                self.shared.log.note(&format!("the power button: {error}"));
            }
        }
    }

    /// A new configuration from the console. A change of the network is not written down before it is confirmed: a restart
    /// undoes it, too.
    fn take_over(&mut self, site: Site) -> Result<(), String> {
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
        self.configure(site).map_err(|error| error.0)
    }

    /// Tells the thread of the network.
    fn use_network(&mut self, site: Site) {
        *self.shared.site.lock() = Some(site.clone());
        if self.network.send(site).is_err() {
            self.shared.log.note("the network's thread has ended");
        }
    }

    /// The change of the network stays.
    fn confirm(&mut self) {
        if self.trial.is_none() {
            return;
        }
        // Whoever waits for the end of the trial may rely on it after a power cut. What cannot be kept goes back by itself.
        let site = self.shared.site.lock().clone();
        match site.map(|site| site.save(&exchange::site_file(), &OsEntropy)) {
            Some(Ok(())) => {
                self.trial = None;
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
    fn opened(&mut self) {
        clock::raise(&self.shared);
        crash::keep(&self.shared);
        let site = match Site::load(&exchange::site_file()) {
            Ok(site) => site.ok_or_else(|| "the data have no configuration".to_owned()),
            Err(error) => Err(exchange::unreadable(&self.shared, &error)),
        };
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
    }

    fn end(&mut self, end: End) {
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

    fn finish(&mut self, end: End) {
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
