//! A process that is kept running: started again when it ends, later and later if it does not last.

use super::log::Log;
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The first wait after an end; it doubles.
const WAIT_FIRST: Duration = Duration::from_secs(1);
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Who ran this long begins with the first wait again.
const LASTED: Duration = Duration::from_secs(120);
/// Longest line of a log that is kept, in bytes.
const LINE_BYTES_MAX: u64 = 4096;

/// How long to wait before each start.
#[derive(Debug, Default)]
pub struct BackOff {
    failures: u32,
}

impl BackOff {
    /// After an end, `lasted` after the start.
    pub fn wait(&mut self, lasted: Duration) -> Duration {
        if lasted >= LASTED {
            self.failures = 0;
        }
        let wait = WAIT_FIRST.saturating_mul(1 << self.failures.min(10)).min(WAIT_MAX);
        self.failures += 1;
        wait
    }
}

/// What to run.
#[derive(Debug, Clone)]
pub struct Program {
    /// Its name in the log.
    pub name: &'static str,
    /// The command line behind the program's name; the program is this one.
    pub arguments: Vec<String>,
    /// The user and the group.
    pub user: u32,
    /// The group.
    pub group: u32,
    /// Where it starts.
    pub folder: PathBuf,
    /// Its environment; nothing else is in it.
    pub environment: Vec<(String, String)>,
    /// Its standard input, of which every start gets a copy; nothing without.
    pub input: Option<Arc<OwnedFd>>,
}

/// A process, or the wait for the next one.
pub struct Service {
    program: Program,
    log: Arc<Log>,
    running: Option<(Pid, Instant)>,
    start_at: Option<Instant>,
    back_off: BackOff,
}

impl Service {
    /// Not started yet.
    pub fn new(program: Program, log: Arc<Log>) -> Self {
        Self {
            program,
            log,
            running: None,
            start_at: Some(Instant::now()),
            back_off: BackOff::default(),
        }
    }

    /// The process.
    pub fn pid(&self) -> Option<i32> {
        self.running.map(|(pid, _)| pid.as_raw())
    }

    /// Starts it if it is time.
    pub fn tick(&mut self, now: Instant) {
        if self.running.is_some() || self.start_at.is_none_or(|at| at > now) {
            return;
        }
        match self.spawn() {
            Ok(pid) => {
                self.log.note(&format!("{} is process {pid}", self.program.name));
                self.running = Some((pid, now));
                self.start_at = None;
            }
            Err(error) => {
                let wait = self.back_off.wait(Duration::ZERO);
                self.log.note(&format!(
                    "{} does not start: {error}; again in {} s",
                    self.program.name,
                    wait.as_secs()
                ));
                self.start_at = Some(now + wait);
            }
        }
    }

    /// Takes note that the process has ended, and plans the next start unless it was stopped.
    pub fn ended(&mut self, now: Instant) {
        if let Some((_, since)) = self.running.take() {
            let wait = self.back_off.wait(now.saturating_duration_since(since));
            self.start_at = Some(now + wait);
        }
    }

    /// Sends a signal, if it runs.
    pub fn signal(&self, signal: Signal) {
        let Some((pid, _)) = self.running else { return };
        match kill(pid, signal) {
            // It is a zombie that has not been reaped, or has just been.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => self.log.note(&format!("{signal} to {}: {error}", self.program.name)),
        }
    }

    fn spawn(&self) -> std::io::Result<Pid> {
        let input = match &self.program.input {
            Some(input) => Stdio::from(input.try_clone()?),
            None => Stdio::null(),
        };
        let program = &self.program;
        let mut child = Command::new("/proc/self/exe")
            .arg0("lamchat")
            .args(&program.arguments)
            .env_clear()
            .envs(program.environment.iter().cloned())
            .current_dir(&program.folder)
            .stdin(input)
            // What it prints is for a terminal, and has the token of the first account.
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .gid(program.group)
            .uid(program.user)
            .spawn()?;
        let pid = i32::try_from(child.id()).map_err(std::io::Error::other)?;
        if let Some(output) = child.stderr.take() {
            let (log, name) = (Arc::clone(&self.log), program.name);
            let thread = std::thread::Builder::new().name("log".to_owned());
            thread.spawn(move || follow(output, name, &log))?;
        }
        Ok(Pid::from_raw(pid))
    }
}

/// Reads lines until the process closes its end; a line that is too long is cut.
pub fn follow(output: impl Read, name: &str, log: &Log) {
    let mut reader = BufReader::new(output);
    loop {
        let mut line = Vec::new();
        match reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) => return,
            Ok(_) => log.keep(name, String::from_utf8_lossy(&line).trim_end()),
            Err(error) => return log.keep(name, &format!("its output: {error}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_begin_anew() {
        let mut back_off = BackOff::default();
        let waits: Vec<u64> = (0..8)
            .map(|_| back_off.wait(Duration::from_secs(1)).as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(back_off.wait(LASTED), WAIT_FIRST);
    }

    #[test]
    fn long_lines_are_cut() {
        let log = Log::default();
        follow(&b"short\n"[..], "x", &log);
        follow(vec![b'a'; 9000].as_slice(), "x", &log);
        assert_eq!(log.last(10).len(), 4, "one short line and three pieces");
    }
}
