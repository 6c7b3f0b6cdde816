//! The main loop: hears what happens, keeps the exchange running, feeds the watchdog, ends the run.

mod children;
mod configured;
mod drivers;
mod ending;

use super::repair::{self, Repair};
use super::settling::Settling;
use super::state::{Event, Health, Shared, State};
use super::trial::Trial;
use super::{DATA, MODULES, exchange, figures, lockdown, measured, network, service::Service, threads, update, vital};
use crate::cli::Failure;
use lamchat_appliance::site::Site;
use lamchat_machine::modules::Loader;
use lamchat_machine::power::End;
use lamchat_machine::signals::Signals;
use lamchat_machine::uevent::Monitor;
use lamchat_machine::watchdog::Watchdog;
use lamchat_machine::{console, mounts};
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
}
