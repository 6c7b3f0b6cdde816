//! The hardware watchdog: it restarts the machine when it has not been fed for its time.
//!
//! Its time is set by the driver's module parameter (see `modules`), so no ioctl is needed. Kernel documentation,
//! watchdog/watchdog-api: any write feeds, and a `V` before closing disarms where the driver allows it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::time::Duration;

const DEVICE: &str = "/dev/watchdog";
const IDENTITY: &str = "/sys/class/watchdog/watchdog0/identity";
const TIMEOUT: &str = "/sys/class/watchdog/watchdog0/timeout";

/// What a watchdog is assumed to need where it does not tell: shorter ones are not made.
const TIMEOUT_FALLBACK: Duration = Duration::from_secs(10);

/// A running watchdog. It goes on running when this is dropped, as after a crash.
#[derive(Debug)]
pub struct Watchdog {
    file: File,
    /// What the driver calls it.
    pub identity: String,
    /// How long it waits.
    pub timeout: Duration,
}

impl Watchdog {
    /// Opens and so starts it.
    pub fn start() -> std::io::Result<Self> {
        let file = OpenOptions::new().write(true).open(DEVICE)?;
        let read = |path| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let seconds = read(TIMEOUT).parse().ok().filter(|seconds| *seconds > 0);
        Ok(Self {
            file,
            identity: read(IDENTITY),
            timeout: seconds.map_or(TIMEOUT_FALLBACK, Duration::from_secs),
        })
    }

    /// How often to feed it: three misses are allowed.
    pub fn interval(&self) -> Duration {
        self.timeout / 4
    }

    /// Begins its time anew.
    pub fn feed(&mut self) -> std::io::Result<()> {
        self.file.write_all(b"\0")
    }

    /// Stops it, before the machine is switched off on purpose.
    pub fn disarm(mut self) -> std::io::Result<()> {
        self.file.write_all(b"V")
    }
}
