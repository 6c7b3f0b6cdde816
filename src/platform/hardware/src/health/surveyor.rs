//! Reads everything within a time limit, whatever one broken sensor does.

use super::reading::{Health, Part, Reading, State};
use super::root::Root;
use super::{bus, disk, hwmon, memory, mirror, network, power, security};
use std::collections::BTreeSet;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a survey takes at most.
const PATIENCE: Duration = Duration::from_secs(3);
/// The most chips with sensors.
const CHIPS_MAX: usize = 64;
/// Enough for reading attributes, thread for thread.
const STACK_BYTES: usize = 128 << 10;

type Read = fn(&Root) -> Vec<Reading>;
type Source = (String, Part, Box<dyn FnOnce() -> Vec<Reading> + Send>);

/// Reads the hardware. Each chip and each subsystem is a source with a thread of its own; one that does not answer in
/// time is a reading of its own, and is not asked again before it has answered.
#[derive(Debug)]
pub struct Surveyor {
    sys: Root,
    patience: Duration,
    /// Sources whose thread still waits.
    waiting: Arc<Mutex<BTreeSet<String>>>,
}

impl Surveyor {
    /// Of the machine whose `/sys` this is.
    pub fn new(sys: Root) -> Self {
        Self {
            sys,
            patience: PATIENCE,
            waiting: Arc::default(),
        }
    }

    /// Reads everything. Blocks, for as long as the patience at most.
    pub fn survey(&self) -> Health {
        self.collect(self.sources())
    }

    fn sources(&self) -> Vec<Source> {
        let whole: [(&str, Part, Read); 7] = [
            ("memory", Part::Memory, memory::read),
            ("PCI Express", Part::Bus, bus::read),
            ("disks", Part::Disk, disk::read),
            ("mirrors", Part::Mirror, mirror::read),
            ("network", Part::Network, network::read),
            ("power supplies", Part::Power, power::read),
            ("TPM, watchdog and management controller", Part::Tpm, security::read),
        ];
        let mut sources: Vec<Source> = Vec::new();
        for (name, part, read) in whole {
            let sys = self.sys.clone();
            sources.push((name.to_owned(), part, Box::new(move || read(&sys))));
        }
        for chip in self.sys.folders("class/hwmon").into_iter().take(CHIPS_MAX) {
            let name = format!("sensors {}", chip.name());
            sources.push((name, Part::Temperature, Box::new(move || hwmon::read(&chip))));
        }
        sources
    }

    fn collect(&self, sources: Vec<Source>) -> Health {
        let end = Instant::now() + self.patience;
        let (sender, answers) = channel();
        let mut asked = Vec::new();
        let mut readings = Vec::new();
        for (name, part, read) in sources {
            if !self.begin(&name) {
                readings.push(silent(&name, part));
                continue;
            }
            let (sender, waiting, own) = (sender.clone(), Arc::clone(&self.waiting), name.clone());
            let thread = std::thread::Builder::new()
                .name("hardware".into())
                .stack_size(STACK_BYTES);
            let started = thread.spawn(move || {
                let read = read();
                waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&own);
                // Nobody listens any more when it took too long.
                let _late = sender.send((own, read));
            });
            match started {
                Ok(_detached) => asked.push((name, part)),
                Err(error) => {
                    self.end(&name);
                    let sentence = format!("it could not be read: {error}");
                    readings.push(Reading::new(part, name, "").worse(State::Warning, sentence));
                }
            }
        }
        drop(sender);
        while !asked.is_empty() {
            match answers.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok((name, read)) => {
                    asked.retain(|(other, _)| *other != name);
                    readings.extend(read);
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        readings.extend(asked.iter().map(|(name, part)| silent(name, *part)));
        Health::default().with(readings)
    }

    /// Whether a source may be asked: not while an earlier question waits.
    fn begin(&self, name: &str) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.insert(name.to_owned())
    }

    fn end(&self, name: &str) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

fn silent(name: &str, part: Part) -> Reading {
    Reading::new(part, name, "").worse(State::Warning, "it does not answer: the hardware or its driver hangs")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{Part, Reading, Source, State, Surveyor};
    use crate::health::Root;
    use crate::health::testing::tree;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    #[test]
    fn a_machine_is_read_as_a_whole() {
        let folder = tree(&[
            ("class/hwmon/hwmon0/name", "coretemp"),
            ("class/hwmon/hwmon0/temp1_input", "90000"),
            ("class/hwmon/hwmon0/temp1_max", "80000"),
            ("class/hwmon/hwmon1/name", "pmbus"),
            ("class/hwmon/hwmon1/fan1_input", "3000"),
            ("class/tpm/tpm0/tpm_version_major", "2"),
            ("class/block/md0/md/level", "raid1"),
            ("class/block/md0/md/array_state", "clean"),
            ("class/block/md0/md/degraded", "1"),
        ]);
        let health = Surveyor::new(folder.root.clone()).survey();
        assert_eq!(health.state(), State::Failed);
        let parts: Vec<Part> = health.readings.iter().map(|reading| reading.part).collect();
        assert_eq!(
            parts,
            [Part::Temperature, Part::Fan, Part::Memory, Part::Mirror, Part::Tpm]
        );
        let problems: Vec<String> = health.problems().iter().map(|reading| reading.name.clone()).collect();
        assert_eq!(problems, ["md0", "coretemp temp1"]);
    }

    #[test]
    fn a_sensor_that_hangs_holds_nobody_up() {
        let mut surveyor = Surveyor::new(Root::at("/nonexistent"));
        // Time enough for the one that answers.
        surveyor.patience = Duration::from_secs(1);
        let asked = Arc::new(AtomicUsize::new(0));
        let stuck = |hanging: Receiver<()>| -> Source {
            let asked = Arc::clone(&asked);
            let read = move || {
                asked.fetch_add(1, Ordering::Relaxed);
                let _released = hanging.recv();
                vec![Reading::new(Part::Fan, "stuck", "")]
            };
            ("stuck".to_owned(), Part::Fan, Box::new(read))
        };
        let good = || -> Source {
            let read = || vec![Reading::new(Part::Temperature, "good", "")];
            ("good".to_owned(), Part::Temperature, Box::new(read))
        };
        // It comes back at all, although the one never answers.
        let (release, hanging) = channel();
        let health = surveyor.collect(vec![stuck(hanging), good()]);
        assert_eq!(health.readings.first().unwrap().name, "good");
        let problem = health.problems().first().unwrap().to_string();
        assert!(problem.starts_with("stuck: it does not answer"), "{problem}");

        // It is not asked again meanwhile, and nobody waits for it: the patience would last for hours.
        surveyor.patience = Duration::from_secs(10_000);
        let (_kept, never) = channel();
        let health = surveyor.collect(vec![stuck(never), good()]);
        assert_eq!((health.readings.len(), health.problems().len()), (2, 1));
        assert_eq!(asked.load(Ordering::Relaxed), 1);

        release.send(()).unwrap();
        while !surveyor.waiting.lock().unwrap().is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let (release, hanging) = channel();
        drop(release);
        assert_eq!(surveyor.collect(vec![stuck(hanging)]).state(), State::Well);
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn this_machine_is_read_too() {
        let health = Surveyor::new(Root::kernel()).survey();
        assert!(!health.readings.is_empty());
    }
}
