//! What drives the machine: modules for the devices that show up, the watchdog that one of them may be, and the buttons.

use super::Machine;
use crate::init::threads;
use lamchat_machine::button;
use lamchat_machine::modules::Loader;
use lamchat_machine::uevent::Uevent;
use lamchat_machine::watchdog::{Places, Watchdog};
use std::time::Instant;

impl Machine {
    pub(super) fn device(&mut self, event: Option<Uevent>) {
        let Some(loader) = &mut self.loader else { return };
        if event.as_ref().is_none_or(|event| event.action == "add") {
            self.settles.news(Instant::now());
        }
        match &event {
            None => loader.load_for_all(),
            Some(Uevent {
                action,
                modalias: Some(device),
                ..
            }) if action == "add" => {
                loader.load_for(device);
            }
            Some(_) => {}
        }
        self.note_modules();
        if event.is_none_or(|event| event.subsystem == "input" && event.action == "add") {
            self.find_buttons();
        }
        self.look_for_watchdog();
    }

    /// What no device asks for: sensors, and a watchdog where none was announced.
    pub(super) fn load_named(&mut self) {
        let Some(loader) = &mut self.loader else { return };
        loader.load_named();
        self.note_modules();
        self.look_for_watchdog();
    }

    /// What the kernel refused because somebody else held the hardware.
    pub(super) fn load_busy(&mut self, now: Instant) {
        let Some(loader) = &mut self.loader else { return };
        let is_new = loader.try_busy(now);
        self.note_modules();
        if is_new {
            self.look_for_watchdog();
        }
    }

    pub(super) fn note_modules(&mut self) {
        for failure in self.loader.as_mut().map(Loader::take_failures).unwrap_or_default() {
            self.shared.log.note(&failure);
        }
    }

    /// Takes one, or has the board's relieve the kernel's.
    pub(super) fn look_for_watchdog(&mut self) {
        let found = match &mut self.watchdog {
            None => Watchdog::start(Places::default()).map(|started| {
                self.watchdog = Some(started);
                true
            }),
            Some(watchdog) => watchdog.relieve(),
        };
        match (found, &self.watchdog) {
            (Ok(true), Some(watchdog)) => {
                // Both ways it was just fed, or opened, which is the same.
                self.fed = Instant::now();
                let name = Some(watchdog.identity()).filter(|name| !name.is_empty());
                let what = format!("{}, {} s", name.unwrap_or("of the board"), watchdog.timeout().as_secs());
                self.shared.log.note(&format!("watchdog {what}"));
                self.shared.status.lock().watchdog = Some(what);
            }
            (Ok(_), _) => {}
            (Err(error), _) if error.kind() == std::io::ErrorKind::NotFound => {}
            (Err(error), _) => self.shared.log.note(&format!("the watchdog: {error}")),
        }
    }

    /// Listens to each power button once.
    pub(super) fn find_buttons(&mut self) {
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
}
