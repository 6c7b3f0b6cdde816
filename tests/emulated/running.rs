//! A machine that runs: QEMU, and what its serial console shows. Everything is emulated (TCG).

use std::ffi::OsStr;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What the kernel counts processor time in: getconf CLK_TCK.
const TICKS_A_SECOND: u64 = 100;

/// Killed when dropped.
pub struct Running {
    child: Child,
    serial: UnixStream,
    /// What the console showed and no test has looked at yet.
    seen: String,
    /// Everything it showed, for the message of a failure.
    all: String,
    started: Instant,
    patience: Duration,
}

impl Running {
    /// Switches a machine of two processors and 1 GiB on, with further arguments of QEMU's. The socket of its console lies
    /// in the folder. `patience`: how long it may take for anything.
    pub fn start(folder: &Path, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>, patience: Duration) -> Self {
        let socket = folder.join("serial");
        // Left from an earlier start.
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let child = Command::new("qemu-system-x86_64")
            .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-m", "1024", "-smp", "2"])
            .args(["-display", "none", "-chardev"])
            .arg(format!("socket,id=serial,path={}", socket.display()))
            .args(["-serial", "chardev:serial"])
            .args(arguments)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let (serial, _) = listener.accept().unwrap();
        serial.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        Self {
            child,
            serial,
            seen: String::new(),
            all: String::new(),
            started: Instant::now(),
            patience,
        }
    }

    /// Since the machine was switched on.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Time of the processor since then.
    pub fn spent(&self) -> Duration {
        // proc(5): user and system time are fields 14 and 15; the name before them may have spaces.
        let status = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields = status.rsplit(')').next().unwrap().split_whitespace();
        let ticks = fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap());
        Duration::from_millis(ticks.sum::<u64>() * 1_000 / TICKS_A_SECOND)
    }

    /// Everything that the console showed.
    pub fn shown(&self) -> &str {
        &self.all
    }

    /// Waits until the console has shown `text`, and answers what it showed up to its end.
    pub fn expect(&mut self, text: &str) -> String {
        self.expect_within(text, self.patience)
    }

    /// The same, with another patience.
    pub fn expect_within(&mut self, text: &str, patience: Duration) -> String {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(at) = self.seen.find(text) {
                let rest = self.seen.split_off(at + text.len());
                return std::mem::replace(&mut self.seen, rest);
            }
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() || Instant::now() > deadline {
                panic!("the console never showed {text:?} ({ended:?}):\n{}", self.all);
            }
            self.read();
        }
    }

    /// Waits until the console has shown one of these, and answers which; `None` once `given_up` says so or the machine
    /// is off.
    pub fn expect_any(&mut self, texts: &[&str], given_up: &dyn Fn() -> bool) -> Option<usize> {
        let deadline = Instant::now() + self.patience;
        loop {
            let found = texts.iter().enumerate();
            let found = found.filter_map(|(number, text)| self.seen.find(text).map(|at| (at, number)));
            if let Some((at, number)) = found.min() {
                self.seen.drain(..at + texts.get(number).unwrap().len());
                return Some(number);
            }
            if given_up() || self.is_off() {
                return None;
            }
            assert!(
                Instant::now() < deadline,
                "the console never showed any of {texts:?}:\n{}",
                self.all
            );
            self.read();
        }
    }

    /// Whether the machine has ended.
    pub fn is_off(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits until the machine is off; where QEMU does not restart it, a restart is one, too.
    pub fn wait_off(&mut self) {
        let deadline = Instant::now() + self.patience;
        while !self.is_off() {
            assert!(Instant::now() < deadline, "the machine stays on:\n{}", self.all);
            self.read();
        }
    }

    /// Takes the machine's power away.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Types.
    pub fn type_text(&mut self, text: &str) {
        self.serial.write_all(text.as_bytes()).unwrap();
    }

    /// Types a line.
    pub fn type_line(&mut self, text: &str) {
        self.type_text(&format!("{text}\r"));
    }

    /// Types an answer after its question.
    pub fn answer(&mut self, question: &str, text: &str) -> String {
        let shown = self.expect(question);
        self.type_line(text);
        shown
    }

    /// Takes in what the console shows, for a moment.
    pub fn read(&mut self) {
        let mut buffer = [0; 4096];
        match self.serial.read(&mut buffer) {
            Ok(0) => std::thread::sleep(Duration::from_millis(50)),
            Ok(length) => {
                let text = String::from_utf8_lossy(buffer.get(..length).unwrap()).into_owned();
                self.seen.push_str(&text);
                self.all.push_str(&text);
            }
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            // Where QEMU has ended.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => std::thread::sleep(Duration::from_millis(50)),
            Err(error) => panic!("the serial console: {error}"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}
