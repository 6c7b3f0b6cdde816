//! Reads passwords from the terminal without echo, or from standard input for scripts. Never from arguments:
//! those are visible to every user of the machine.

use super::{Failure, output};
use nix::sys::termios::{self, LocalFlags, SetArg, Termios};
use std::io::{BufRead, IsTerminal, Read};
use std::os::fd::AsFd;
use zeroize::Zeroizing;

/// Longest password, in bytes.
const PASSWORD_BYTES_MAX: usize = 1024;

/// Asks for a new password: twice on a terminal, one line otherwise.
pub fn read_new(what: &str) -> Result<Zeroizing<String>, Failure> {
    lamchat_host::disable_core_dumps()?;
    if !std::io::stdin().is_terminal() {
        return read_line(what);
    }
    let first = prompt(&format!("New {what}: "))?;
    let second = prompt(&format!("New {what} again: "))?;
    if *first != *second {
        return Err("the two are not the same: nothing was changed, try again".into());
    }
    not_empty(first, what)
}

/// Asks for a password that exists.
pub fn read_existing(what: &str) -> Result<Zeroizing<String>, Failure> {
    lamchat_host::disable_core_dumps()?;
    if !std::io::stdin().is_terminal() {
        return read_line(what);
    }
    not_empty(prompt(&format!("{what}: "))?, what)
}

/// Asks yes or no, on the terminal or as a line of standard input; anything but yes is no.
pub fn confirm(question: &str) -> Result<bool, Failure> {
    if std::io::stdin().is_terminal() {
        output::text_to_terminal(&format!("{question} (type yes) "));
    }
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .take(PASSWORD_BYTES_MAX as u64)
        .read_line(&mut line)?;
    Ok(line.trim() == "yes")
}

fn not_empty(password: Zeroizing<String>, what: &str) -> Result<Zeroizing<String>, Failure> {
    if password.is_empty() {
        return Err(format!("the {what} is empty: type it, or give it as one line on standard input").into());
    }
    Ok(password)
}

fn read_line(what: &str) -> Result<Zeroizing<String>, Failure> {
    // At once as long as it gets: a string that grows leaves what it had behind.
    let mut line = Zeroizing::new(String::with_capacity(PASSWORD_BYTES_MAX + 2));
    std::io::stdin()
        .lock()
        .take(PASSWORD_BYTES_MAX as u64 + 2)
        .read_line(&mut line)?;
    let length = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(length);
    if length > PASSWORD_BYTES_MAX {
        return Err(format!("the {what} is longer than {PASSWORD_BYTES_MAX} bytes").into());
    }
    not_empty(line, what)
}

/// Echo is off while this lives, and Ctrl-C arrives as a byte, so that the terminal is always put right again.
struct Quiet {
    before: Termios,
}

impl Quiet {
    fn start() -> Result<Self, Failure> {
        let stdin = std::io::stdin();
        let before = termios::tcgetattr(stdin.as_fd())?;
        let mut quiet = before.clone();
        quiet
            .local_flags
            .remove(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG);
        termios::tcsetattr(stdin.as_fd(), SetArg::TCSAFLUSH, &quiet)?;
        Ok(Self { before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if termios::tcsetattr(std::io::stdin().as_fd(), SetArg::TCSAFLUSH, &self.before).is_err() {
            output::note("the terminal's echo could not be switched on again: type `stty sane`");
        }
    }
}

fn prompt(text: &str) -> Result<Zeroizing<String>, Failure> {
    let quiet = Quiet::start()?;
    output::text_to_terminal(text);
    let result = read_typed(std::io::stdin().lock());
    drop(quiet);
    output::note("");
    result
}

/// Bytes until Enter, with the keys for editing that a terminal has.
fn read_typed(input: impl BufRead) -> Result<Zeroizing<String>, Failure> {
    let mut typed = Zeroizing::new(Vec::with_capacity(PASSWORD_BYTES_MAX));
    for byte in input.bytes() {
        match byte? {
            b'\r' | b'\n' => break,
            3 => return Err("interrupted: nothing was changed".into()),
            4 if typed.is_empty() => return Err("the input ended: nothing was changed".into()),
            4 => break,
            21 => typed.clear(),
            8 | 127 => {
                // One character back, which may have several bytes.
                while typed.pop_if(|last| *last & 0xC0 == 0x80).is_some() {}
                typed.pop();
            }
            byte if typed.len() < PASSWORD_BYTES_MAX => typed.push(byte),
            _ => return Err(format!("longer than {PASSWORD_BYTES_MAX} bytes").into()),
        }
    }
    match std::str::from_utf8(&typed) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err("what was typed is not UTF-8 text".into()),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::read_typed;

    #[test]
    fn typed_characters_can_be_taken_back() {
        assert_eq!(*read_typed(&b"ab\x7fc\r"[..]).unwrap(), "ac");
        assert_eq!(*read_typed("aä\u{7f}b\n".as_bytes()).unwrap(), "ab");
        assert_eq!(*read_typed(&b"wrong\x15right\n"[..]).unwrap(), "right");
        assert!(read_typed(&b"secret\x03"[..]).is_err());
        assert!(read_typed(&[0xFF, b'\n'][..]).is_err());
    }
}
