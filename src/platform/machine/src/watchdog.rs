//! The watchdog: it restarts the machine when it has not been fed for its time. The board's own where there is one, else
//! the kernel's (softdog), which the board's relieves as soon as it shows up.
//!
//! Its time is set by the driver's module parameter (see `modules`), so no ioctl is needed. Kernel documentation,
//! watchdog/watchdog-api: any write feeds, and a `V` before closing disarms where the driver allows it. What must never
//! happen here: that nothing watches for a moment, or that one goes unfed that cannot be stopped.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What softdog calls itself (Linux, drivers/watchdog/softdog.c). A kernel that hangs takes it along.
const SOFTWARE: &str = "Software Watchdog";
/// What a watchdog is assumed to need where it does not tell: shorter ones are not made.
const TIMEOUT_FALLBACK: Duration = Duration::from_secs(10);

/// Where the kernel shows watchdogs.
#[derive(Debug, Clone)]
pub struct Places {
    devices: PathBuf,
    class: PathBuf,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            devices: PathBuf::from("/dev"),
            class: PathBuf::from("/sys/class/watchdog"),
        }
    }
}

/// One that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    device: PathBuf,
    identity: String,
    timeout: Duration,
    /// Whether it may refuse to be stopped (`nowayout`).
    has_no_way_out: bool,
}

impl Candidate {
    fn is_software(&self) -> bool {
        self.identity == SOFTWARE
    }
}

impl Places {
    /// All that are there, the best first: a board's, in the kernel's order, then softdog. Drivers outside of the kernel's
    /// watchdog core (`ipmi_watchdog`) have `/dev/watchdog` and nothing in the class, and the core then begins with number 1
    /// (Linux, drivers/watchdog/watchdog_core.c: "Retry in case a legacy watchdog module exists").
    fn candidates(&self) -> Vec<Candidate> {
        let names = std::fs::read_dir(&self.class).into_iter().flatten().flatten();
        let names = names.filter_map(|entry| entry.file_name().into_string().ok());
        let numbers = names.filter_map(|name| name.strip_prefix("watchdog")?.parse::<u32>().ok());
        let mut numbers: Vec<u32> = numbers.collect();
        numbers.sort_unstable();
        let of_core = numbers.iter().map(|number| self.of_core(*number));
        let (software, mut found): (Vec<_>, Vec<_>) = of_core.partition(Candidate::is_software);
        let first = self.devices.join("watchdog");
        if !numbers.contains(&0) && first.exists() {
            found.push(Candidate {
                device: first,
                identity: String::new(),
                timeout: TIMEOUT_FALLBACK,
                has_no_way_out: false,
            });
        }
        found.extend(software);
        found
    }

    fn of_core(&self, number: u32) -> Candidate {
        let name = format!("watchdog{number}");
        let folder = self.class.join(&name);
        let read = |file: &str| {
            let text = std::fs::read_to_string(folder.join(file)).unwrap_or_default();
            text.trim().to_owned()
        };
        let seconds = read("timeout").parse().ok().filter(|seconds| *seconds > 0);
        Candidate {
            device: self.devices.join(&name),
            identity: read("identity"),
            timeout: seconds.map_or(TIMEOUT_FALLBACK, Duration::from_secs),
            has_no_way_out: read("nowayout") == "1",
        }
    }
}

/// A running watchdog. It goes on running when this is dropped, as after a crash.
#[derive(Debug)]
pub struct Watchdog {
    file: File,
    what: Candidate,
    places: Places,
    /// Those that were relieved and cannot be stopped: they want to be fed as long as the machine runs.
    relieved: Vec<File>,
    /// Why the board's could not take over, as it was told last.
    told: Option<String>,
}

impl Watchdog {
    /// Opens the best one that can be opened, and so starts it. Without any, the error is of the kind
    /// [`std::io::ErrorKind::NotFound`].
    pub fn start(places: Places) -> std::io::Result<Self> {
        let mut refused = None;
        for what in places.candidates() {
            match open(&what.device) {
                Ok(file) => {
                    return Ok(Self {
                        file,
                        what,
                        places,
                        relieved: Vec::new(),
                        told: None,
                    });
                }
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        Err(refused.unwrap_or_else(|| std::io::ErrorKind::NotFound.into()))
    }

    /// What the driver calls it; empty where it does not tell.
    pub fn identity(&self) -> &str {
        &self.what.identity
    }

    /// How long it waits.
    pub fn timeout(&self) -> Duration {
        self.what.timeout
    }

    /// How often to feed it: three misses are allowed.
    pub fn interval(&self) -> Duration {
        self.what.timeout / 4
    }

    /// Begins its time anew.
    pub fn feed(&mut self) -> std::io::Result<()> {
        let fed = self.file.write_all(b"\0");
        self.relieved
            .iter_mut()
            .fold(fed, |fed, file| fed.and(file.write_all(b"\0")))
    }

    /// Has the board's watchdog take over from the kernel's, if one has shown up since: it is opened and fed before the
    /// kernel's is stopped. Whether it has; a reason why it cannot is told once.
    pub fn relieve(&mut self) -> std::io::Result<bool> {
        if !self.what.is_software() {
            return Ok(false);
        }
        let candidates = self.places.candidates();
        let Some(what) = candidates.into_iter().find(|one| !one.is_software()) else {
            return Ok(false);
        };
        let opened = open(&what.device).and_then(|mut file| file.write_all(b"\0").map(|()| file));
        let file = match opened {
            Ok(file) => file,
            Err(error) => {
                let why = format!("{}: {error}", what.device.display());
                let is_news = self.told.replace(why.clone()).as_ref() != Some(&why);
                return if is_news {
                    Err(std::io::Error::other(why))
                } else {
                    Ok(false)
                };
            }
        };
        let mut old = std::mem::replace(&mut self.file, file);
        let former = std::mem::replace(&mut self.what, what);
        // Closed without being stopped, it would restart a machine on which all is well.
        if former.has_no_way_out || old.write_all(b"V").is_err() {
            self.relieved.push(old);
        }
        Ok(true)
    }

    /// Stops it, before the machine is switched off on purpose.
    pub fn disarm(mut self) -> std::io::Result<()> {
        let stopped = self.file.write_all(b"V");
        self.relieved
            .iter_mut()
            .fold(stopped, |stopped, file| stopped.and(file.write_all(b"V")))
    }
}

fn open(device: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).open(device)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    /// A machine's /dev and class, as files.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            for name in ["dev", "class"] {
                std::fs::create_dir(folder.path().join(name)).unwrap();
            }
            Self(folder)
        }

        fn places(&self) -> Places {
            Places {
                devices: self.0.path().join("dev"),
                class: self.0.path().join("class"),
            }
        }

        /// The kernel's watchdog core shows one; number 0 is `/dev/watchdog` as well.
        fn add(&self, number: u32, identity: &str, seconds: u32) {
            let name = format!("watchdog{number}");
            let folder = self.places().class.join(&name);
            std::fs::create_dir(&folder).unwrap();
            std::fs::write(folder.join("identity"), format!("{identity}\n")).unwrap();
            std::fs::write(folder.join("timeout"), format!("{seconds}\n")).unwrap();
            std::fs::write(folder.join("nowayout"), "0\n").unwrap();
            self.node(&name);
            if number == 0 {
                self.node("watchdog");
            }
        }

        fn node(&self, name: &str) {
            std::fs::write(self.places().devices.join(name), "").unwrap();
        }

        /// What was written to one.
        fn written(&self, name: &str) -> String {
            std::fs::read_to_string(self.places().devices.join(name)).unwrap()
        }
    }

    #[test]
    fn the_boards_watchdog_relieves_the_kernels() {
        let machine = Machine::new();
        machine.add(0, SOFTWARE, 60);
        let mut watchdog = Watchdog::start(machine.places()).unwrap();
        watchdog.feed().unwrap();
        assert!(!watchdog.relieve().unwrap(), "nothing else is there");
        assert_eq!(machine.written("watchdog0"), "\0");

        machine.add(1, "iTCO_wdt", 40);
        assert!(watchdog.relieve().unwrap());
        assert_eq!((watchdog.identity(), watchdog.timeout().as_secs()), ("iTCO_wdt", 40));
        // The one is fed, the other stopped.
        assert_eq!(
            (machine.written("watchdog1"), machine.written("watchdog0")),
            ("\0".to_owned(), "\0V".to_owned())
        );
        watchdog.feed().unwrap();
        assert_eq!(
            (machine.written("watchdog1"), machine.written("watchdog0")),
            ("\0\0".to_owned(), "\0V".to_owned())
        );
        machine.add(2, "another", 60);
        assert!(!watchdog.relieve().unwrap(), "it is the board's already");
        watchdog.disarm().unwrap();
        assert_eq!(machine.written("watchdog1"), "\0\0V");
    }

    #[test]
    fn one_that_cannot_be_opened_leaves_the_kernels_in_place_and_is_told_once() {
        let machine = Machine::new();
        machine.add(0, SOFTWARE, 60);
        let mut watchdog = Watchdog::start(machine.places()).unwrap();
        machine.add(1, "iTCO_wdt", 40);
        std::fs::remove_file(machine.places().devices.join("watchdog1")).unwrap();
        let told = watchdog.relieve().unwrap_err().to_string();
        assert!(told.contains("watchdog1"), "{told}");
        assert!(!watchdog.relieve().unwrap());
        assert_eq!(
            (watchdog.identity(), machine.written("watchdog0").as_str()),
            (SOFTWARE, "")
        );
        machine.node("watchdog1");
        assert!(watchdog.relieve().unwrap());
    }

    #[test]
    fn one_that_cannot_be_stopped_is_fed_as_well() {
        let machine = Machine::new();
        machine.add(0, SOFTWARE, 60);
        std::fs::write(machine.places().class.join("watchdog0/nowayout"), "1\n").unwrap();
        let mut watchdog = Watchdog::start(machine.places()).unwrap();
        machine.add(1, "iTCO_wdt", 40);
        assert!(watchdog.relieve().unwrap());
        watchdog.feed().unwrap();
        assert_eq!(
            (machine.written("watchdog1"), machine.written("watchdog0")),
            ("\0\0".to_owned(), "\0".to_owned())
        );
        watchdog.disarm().unwrap();
        assert_eq!(
            (machine.written("watchdog1"), machine.written("watchdog0")),
            ("\0\0V".to_owned(), "\0V".to_owned())
        );
    }

    #[test]
    fn a_boards_own_is_taken_first() {
        let machine = Machine::new();
        let none = Watchdog::start(machine.places()).unwrap_err();
        assert_eq!(none.kind(), std::io::ErrorKind::NotFound);
        // A driver outside of the core has the first device, and softdog number 1.
        machine.node("watchdog");
        machine.add(1, SOFTWARE, 60);
        let mut watchdog = Watchdog::start(machine.places()).unwrap();
        watchdog.feed().unwrap();
        assert_eq!(
            (machine.written("watchdog"), machine.written("watchdog1")),
            ("\0".to_owned(), String::new())
        );
        assert_eq!((watchdog.identity(), watchdog.timeout()), ("", TIMEOUT_FALLBACK));
        machine.add(2, "iTCO_wdt", 40);
        let watchdog = Watchdog::start(machine.places()).unwrap();
        assert_eq!(watchdog.identity(), "iTCO_wdt");
    }
}
