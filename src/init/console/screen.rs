//! A terminal of 80 columns and 25 rows: whole screens, lines of input, keys.

use super::lines;
use lamchat_machine::console::Terminal;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// Columns that are used: the last one would wrap.
pub const COLUMNS: usize = 79;
/// Lines of a text that fit on a screen, below a title and above a question.
const TEXT_LINES: usize = 18;
/// Longest line of input, in characters.
const INPUT_CHARS_MAX: usize = 200;
/// A terminal that takes nothing for so long is not waited for.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);
/// Who types nothing for so long has gone away.
const IDLE_MAX: Duration = Duration::from_secs(5 * 60);
/// How long the rest of an escape sequence may take.
const SEQUENCE_PATIENCE: Duration = Duration::from_millis(50);
/// Bytes that are typed ahead.
const AHEAD_MAX: usize = 4096;

/// A key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Return.
    Enter,
    /// Takes the last letter back.
    Backspace,
    /// Leaves a question: Esc, Ctrl-C.
    Escape,
    /// A letter.
    Letter(char),
    /// Anything else, such as an arrow.
    Other,
}

impl Key {
    /// The letter, if it is one.
    pub fn letter(self) -> Option<char> {
        match self {
            Self::Letter(letter) => Some(letter),
            _ => None,
        }
    }
}

/// Whether what is typed can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Echo {
    /// As it is.
    Shown,
    /// As stars.
    Hidden,
}

/// An open terminal and what was typed ahead.
pub struct Screen {
    /// The terminal's name in /dev.
    pub name: String,
    /// Whether the item that runs was chosen by somebody who typed the PIN or the recovery key.
    pub is_known: bool,
    terminal: Terminal,
    ahead: Zeroizing<Vec<u8>>,
}

impl Screen {
    /// Opens a terminal.
    pub fn open(name: &str) -> std::io::Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            is_known: false,
            terminal: Terminal::open(name)?,
            ahead: Zeroizing::new(Vec::new()),
        })
    }

    /// Shows text as it is.
    pub fn print(&mut self, text: &str) -> std::io::Result<()> {
        self.terminal.write(text, WRITE_PATIENCE)
    }

    /// Shows a screen.
    pub fn draw(&mut self, lines: &[String]) -> std::io::Result<()> {
        let mut text = "\x1b[0m\x1b[2J\x1b[H".to_owned();
        for line in lines {
            text.extend(lines::take(line, COLUMNS).chars().filter(|letter| !letter.is_control()));
            text.push_str("\r\n");
        }
        self.print(&text)
    }

    /// Shows a screen of text, broken into lines at words, with a title.
    pub fn page(&mut self, title: &str, text: &str) -> std::io::Result<()> {
        let mut lines = vec![format!(" {title}"), rule(), String::new()];
        lines.extend(text.lines().flat_map(wrap));
        lines.push(String::new());
        self.draw(&lines)
    }

    /// Shows a text of any length, a screen after the other.
    pub fn pages(&mut self, title: &str, text: &str) -> std::io::Result<()> {
        let lines: Vec<String> = text.lines().flat_map(wrap).collect();
        let screens: Vec<&[String]> = lines.chunks(TEXT_LINES).collect();
        let count = screens.len();
        for (number, screen) in (1..).zip(screens) {
            let title = if count > 1 {
                format!(" {title} ({number} of {count})")
            } else {
                format!(" {title}")
            };
            self.draw(&[&[title, rule(), String::new()], screen].concat())?;
            self.pause()?;
        }
        Ok(())
    }

    /// Shows a line and waits until it has been read.
    pub fn pause(&mut self) -> std::io::Result<()> {
        self.print("\r\n Press Enter to go on. ")?;
        let since = Instant::now();
        while since.elapsed() < IDLE_MAX {
            if let Some(Key::Enter | Key::Escape) = self.key(IDLE_MAX)? {
                break;
            }
        }
        Ok(())
    }

    /// Asks for a line. `None`: left by Esc, or nobody is there any more.
    pub fn ask(&mut self, question: &str, echo: Echo) -> std::io::Result<Option<Zeroizing<String>>> {
        self.print(&format!(" {question}: "))?;
        let mut line = Zeroizing::new(String::with_capacity(4 * INPUT_CHARS_MAX));
        loop {
            match self.key(IDLE_MAX)? {
                None | Some(Key::Escape) => {
                    self.print("\r\n")?;
                    return Ok(None);
                }
                Some(Key::Enter) => {
                    self.print("\r\n")?;
                    return Ok(Some(line));
                }
                Some(Key::Backspace) => {
                    if line.pop().is_some() {
                        self.print("\x08 \x08")?;
                    }
                }
                Some(Key::Letter(letter)) if line.chars().count() < INPUT_CHARS_MAX => {
                    line.push(letter);
                    let mut buffer = [0; 4];
                    self.print(if echo == Echo::Hidden {
                        "*"
                    } else {
                        letter.encode_utf8(&mut buffer)
                    })?;
                }
                Some(Key::Letter(_) | Key::Other) => {}
            }
        }
    }

    /// Asks yes or no; anything but yes is no.
    pub fn confirm(&mut self, question: &str) -> std::io::Result<bool> {
        let answer = self.ask(&format!("{question} (type yes)"), Echo::Shown)?;
        Ok(answer.is_some_and(|answer| answer.trim().eq_ignore_ascii_case("yes")))
    }

    /// The next key; `None` when none comes in time.
    pub fn key(&mut self, patience: Duration) -> std::io::Result<Option<Key>> {
        if self.ahead.is_empty() {
            self.read(patience)?;
        }
        if self.ahead.first() == Some(&0x1b) && self.ahead.len() == 1 {
            self.read(SEQUENCE_PATIENCE)?;
        }
        let Some((key, length)) = decode(&self.ahead) else {
            return Ok(None);
        };
        let length = length.min(self.ahead.len());
        self.ahead.drain(..length);
        Ok(Some(key))
    }

    fn read(&mut self, patience: Duration) -> std::io::Result<()> {
        let bytes = Zeroizing::new(self.terminal.read(patience)?);
        if self.ahead.len() + bytes.len() <= AHEAD_MAX {
            self.ahead.extend_from_slice(&bytes);
        }
        Ok(())
    }
}

/// The first key in `bytes` and how many bytes it has.
fn decode(bytes: &[u8]) -> Option<(Key, usize)> {
    let first = *bytes.first()?;
    Some(match first {
        // A line end may be two bytes; the second would answer the next question.
        b'\r' if bytes.get(1) == Some(&b'\n') => (Key::Enter, 2),
        b'\r' | b'\n' => (Key::Enter, 1),
        0x08 | 0x7f => (Key::Backspace, 1),
        0x03 => (Key::Escape, 1),
        // ECMA-48: CSI, parameters, and a final byte from @ to ~.
        0x1b if matches!(bytes.get(1), Some(b'[' | b'O')) => {
            let rest = bytes.get(2..).unwrap_or_default();
            let end = rest.iter().position(|byte| (0x40..=0x7e).contains(byte));
            (Key::Other, end.map_or(bytes.len(), |end| end + 3))
        }
        0x1b => (Key::Escape, 1),
        0x00..=0x1f => (Key::Other, 1),
        0x20..=0x7e => (Key::Letter(char::from(first)), 1),
        _ => {
            let length = match first {
                0xc2..=0xdf => 2,
                0xe0..=0xef => 3,
                0xf0..=0xf4 => 4,
                _ => 1,
            };
            let letter = bytes.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok());
            match letter
                .and_then(|letter| letter.chars().next())
                .filter(|letter| !letter.is_control())
            {
                Some(letter) => (Key::Letter(letter), length),
                None => (Key::Other, 1),
            }
        }
    })
}

/// A horizontal line.
pub fn rule() -> String {
    format!(" {}", "-".repeat(COLUMNS - 2))
}

/// Breaks a line at words, for a whole screen.
pub fn wrap(line: &str) -> Vec<String> {
    let lines = lines::wrap(line, COLUMNS - 1);
    lines.into_iter().map(|line| format!(" {line}")).collect()
}

#[cfg(test)]
mod tests {
    use super::{Key, decode, wrap};

    #[test]
    fn keys_are_decoded() {
        for (bytes, key, length) in [
            (&b"\r\nx"[..], Key::Enter, 2),
            (b"\n", Key::Enter, 1),
            (b"\x7f", Key::Backspace, 1),
            (b"\x1b", Key::Escape, 1),
            (b"\x1b[1;5Ax", Key::Other, 6),
            (b"\x1b[", Key::Other, 2),
            ("é!".as_bytes(), Key::Letter('é'), 2),
            (b"\xff", Key::Other, 1),
            (b"\xe2\x82", Key::Other, 1),
            (b"5", Key::Letter('5'), 1),
        ] {
            assert_eq!(decode(bytes), Some((key, length)), "{bytes:?}");
        }
        assert_eq!(decode(b""), None);
    }

    #[test]
    fn lines_break_at_words() {
        let lines = wrap(&"word ".repeat(30));
        assert!(lines.len() > 1 && lines.iter().all(|line| line.chars().count() <= super::COLUMNS));
        assert!(lines.iter().all(|line| line.starts_with(" word")), "{lines:?}");
        assert_eq!(wrap(""), [" "]);
    }
}
