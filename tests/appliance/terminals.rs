//! Every terminal of a machine is a console: the first serial line, a second one, and screen and keyboard.

use crate::set_up::{PIN, set_up, shut_down};
use crate::virtual_machine::{Disk, PATIENCE, VirtualMachine};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Between two keys: the machine is emulated, and its keyboard holds few.
const KEY: Duration = Duration::from_millis(500);
/// Rows of a letter on the screen, and columns in text mode and in a frame buffer.
const LETTER_ROWS: usize = 16;
const LETTER_COLUMNS: [usize; 2] = [9, 8];
/// Dashes of the line below a title, at least.
const RULE_LETTERS: usize = 70;

/// The second serial line.
struct Line {
    stream: UnixStream,
    seen: String,
}

impl Line {
    fn open(path: &Path) -> Self {
        let since = Instant::now();
        // QEMU makes it when it is ready for it.
        let stream = loop {
            match UnixStream::connect(path) {
                Ok(stream) => break stream,
                Err(error) => assert!(since.elapsed() < PATIENCE, "the second serial line: {error}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        Self {
            stream,
            seen: String::new(),
        }
    }

    fn type_text(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until it has shown `text`, and forgets what came before. Nobody may leave the first line unread meanwhile.
    fn expect(&mut self, machine: &mut VirtualMachine, text: &str) {
        let since = Instant::now();
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            assert!(
                since.elapsed() < PATIENCE,
                "the second line never showed {text:?}: {}",
                self.seen
            );
            machine.read();
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer) {
                Ok(length) => self.seen += &String::from_utf8_lossy(buffer.get(..length).unwrap()),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => panic!("the second serial line: {error}"),
            }
        }
    }
}

/// What the screen shows: pixels that are not black, row by row.
struct Picture {
    rows: Vec<Vec<bool>>,
}

impl Picture {
    /// Has QEMU write it down (PPM, "P6": width, height, 255, three bytes a pixel); `None` while it is written.
    fn take(machine: &mut VirtualMachine, file: &Path) -> Option<Self> {
        machine.command(&format!("screendump {}", file.display()));
        std::thread::sleep(KEY);
        let bytes = std::fs::read(file).ok()?;
        let mut words = bytes.splitn(4, |byte| byte.is_ascii_whitespace());
        assert_eq!(words.next()?, b"P6");
        let mut number = || std::str::from_utf8(words.next()?).ok()?.parse::<usize>().ok();
        let (width, height) = (number()?, number()?);
        let pixels = words.next()?.strip_prefix(b"255\n")?;
        let lit = |pixel: &[u8]| pixel.iter().any(|byte| *byte > 0);
        let rows = pixels.chunks(3 * width).map(|row| row.chunks(3).map(lit).collect());
        let rows: Vec<Vec<bool>> = rows.collect();
        (rows.len() == height).then_some(Self { rows })
    }

    /// Whether a line of letters has many that are the same and not blank: the line below every title.
    fn has_rule(&self) -> bool {
        let is_rule = |columns: usize, line: &[Vec<bool>]| {
            let letter = |at: usize| -> Option<Vec<&[bool]>> {
                line.iter()
                    .map(|row| row.get(at * columns..(at + 1) * columns))
                    .collect()
            };
            let count = line.first().map_or(0, |row| row.len() / columns);
            let letters: Vec<_> = (0..count).map_while(letter).collect();
            let is_lit = |letter: &Vec<&[bool]>| letter.iter().any(|row| row.contains(&true));
            let Some(first) = letters.iter().find(|letter| is_lit(letter)) else {
                return false;
            };
            letters.iter().filter(|letter| *letter == first).count() >= RULE_LETTERS
        };
        let mut lines = self.rows.chunks_exact(LETTER_ROWS);
        lines.any(|line| LETTER_COLUMNS.iter().any(|columns| is_rule(*columns, line)))
    }

    /// Waits until the screen of the console is there.
    fn expect(machine: &mut VirtualMachine, file: &Path) -> Self {
        let since = Instant::now();
        loop {
            if let Some(picture) = Self::take(machine, file).filter(Self::has_rule) {
                return picture;
            }
            assert!(since.elapsed() < PATIENCE, "the screen never showed a console");
            machine.read();
        }
    }
}

fn press(machine: &mut VirtualMachine, keys: impl Iterator<Item = String>) {
    for key in keys {
        machine.command(&format!("sendkey {key}"));
        std::thread::sleep(KEY);
    }
}

#[test]
fn every_terminal_is_a_console() {
    let folder = tempfile::tempdir().unwrap();
    let (second, picture) = (folder.path().join("second"), folder.path().join("screen.ppm"));
    let socket = format!("socket,id=second,server=on,wait=off,path={}", second.display());
    let disk = Disk::blank();
    let lines = ["-nic", "none", "-chardev", &socket, "-serial", "chardev:second"];
    let mut machine = VirtualMachine::start(&disk, &lines);
    let mut line = Line::open(&second);
    machine.expect("Set up this box");
    line.expect(&mut machine, "Set up this box");
    Picture::expect(&mut machine, &picture);

    set_up(&mut machine, "none");
    // What was done at one of them is seen at the others, and each asks for the PIN.
    line.expect(&mut machine, "chat.example.org");
    line.expect(&mut machine, "New administrator");
    line.type_text("7");
    line.expect(&mut machine, "PIN: ");
    line.type_text(&format!("{PIN}\r"));
    line.expect(&mut machine, "The log");
    line.type_text("\r");
    line.expect(&mut machine, "New administrator");

    let before = Picture::expect(&mut machine, &picture);
    press(&mut machine, ["7".to_owned()].into_iter());
    press(&mut machine, PIN.chars().map(String::from).chain(["ret".to_owned()]));
    let since = Instant::now();
    while Picture::expect(&mut machine, &picture).rows == before.rows {
        assert!(since.elapsed() < PATIENCE, "the screen does not change");
    }
    press(&mut machine, ["ret".to_owned()].into_iter());

    machine.choose("Shut down", "7", Some(PIN));
    let log = machine.answer("Press Enter", "");
    for terminal in ["tty1", "ttyS0", "ttyS1"] {
        let noted = format!("an operator on {terminal}: Log");
        assert!(log.contains(&noted), "{noted}: {log}");
    }
    shut_down(&mut machine);
}
