//! The terminals that an operator may sit at: the first virtual console and every real UART, in raw mode.

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::termios::{self, ControlModes, OptionalActions};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

/// Most UARTs that are looked for; Debian's kernel makes nodes for four, and up to 32 appear with cards.
const UARTS_MAX: u32 = 32;
/// Bits a second of a serial line: what BMCs and the kernel use.
const BAUD: u32 = 115_200;
/// Bytes that are taken at once.
const READ_BYTES: usize = 256;

/// The terminals of this machine, by their names in /dev.
pub fn find() -> Vec<String> {
    let mut found = Vec::new();
    if Path::new("/dev/tty1").exists() {
        found.push("tty1".to_owned());
    }
    for number in 0..UARTS_MAX {
        let name = format!("ttyS{number}");
        // Kernel documentation, ABI/testing/sysfs-tty: type 0 is PORT_UNKNOWN: there is no chip behind it.
        let kind = std::fs::read_to_string(format!("/sys/class/tty/{name}/type")).unwrap_or_default();
        if !matches!(kind.trim(), "" | "0") {
            found.push(name);
        }
    }
    found
}

/// An open terminal.
#[derive(Debug)]
pub struct Terminal {
    file: File,
}

impl Terminal {
    /// Opens one of [`find`]'s.
    pub fn open(name: &str) -> std::io::Result<Self> {
        let path = Path::new("/dev").join(name);
        let flags = (nix::fcntl::OFlag::O_NOCTTY | nix::fcntl::OFlag::O_NONBLOCK).bits();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open(path)?;
        let mut settings = termios::tcgetattr(&file)?;
        settings.make_raw();
        // A serial line without modem signals: three wires are enough, and nobody hangs up.
        settings.control_modes |= ControlModes::CLOCAL | ControlModes::CREAD;
        settings.control_modes &= !(ControlModes::CRTSCTS | ControlModes::HUPCL);
        if name.starts_with("ttyS") {
            settings.set_speed(BAUD)?;
        }
        termios::tcsetattr(&file, OptionalActions::Now, &settings)?;
        Ok(Self { file })
    }

    /// Bytes that were typed; none after `patience`.
    pub fn read(&mut self, patience: Duration) -> std::io::Result<Vec<u8>> {
        if !self.wait(PollFlags::POLLIN, patience)? {
            return Ok(Vec::new());
        }
        let mut buffer = [0; READ_BYTES];
        match self.file.read(&mut buffer) {
            // A line that was hung up would be readable for ever.
            Ok(0) => Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => Ok(buffer.get(..length).unwrap_or_default().to_vec()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Shows text. A line that takes nothing for `patience` (a stopped flow) loses the rest: nobody may hold up the box.
    pub fn write(&mut self, text: &str, patience: Duration) -> std::io::Result<()> {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(length) => rest = rest.get(length..).unwrap_or_default(),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    if !self.wait(PollFlags::POLLOUT, patience)? {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn wait(&self, what: PollFlags, patience: Duration) -> std::io::Result<bool> {
        let mut wanted = [PollFd::new(self.file.as_fd(), what)];
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        match poll(&mut wanted, timeout) {
            Ok(count) => Ok(count > 0),
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
