//! `/dev/tpmrm0`: the kernel's TPM resource manager, which swaps objects and sessions and cleans up after a process.

use super::{FRAME_BYTES_MAX, Transport, TransportError, declared_bytes};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};
use zeroize::Zeroize;

/// An open TPM device. The file is non-blocking: since Linux 4.20 the driver then works in the background and `poll`
/// tells when the answer is there, so that a hanging TPM does not hang the process.
#[derive(Debug)]
pub struct Device {
    file: File,
}

impl Device {
    /// Opens the device at `path`, usually `/dev/tpmrm0`.
    pub fn open(path: &Path) -> Result<Self, TransportError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits() | nix::fcntl::OFlag::O_CLOEXEC.bits())
            .open(path);
        match file {
            Ok(file) => Ok(Self { file }),
            Err(source) => Err(TransportError::Absent {
                place: format!("device:{}", path.display()),
                source,
            }),
        }
    }

    /// Takes over a device that another process opened and handed over (a key holder without access to `/dev`).
    /// It must be non-blocking.
    pub fn from_file(file: File) -> Self {
        Self { file }
    }

    fn wait(&self, flags: PollFlags, until: Instant, timeout: Duration) -> Result<(), TransportError> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(TransportError::TimedOut(timeout));
            }
            let wait = PollTimeout::try_from(left.min(Duration::from_secs(600))).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.file.as_fd(), flags)], wait) {
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(()),
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
    }
}

impl Transport for Device {
    fn exchange(&mut self, command: &[u8], timeout: Duration) -> Result<Vec<u8>, TransportError> {
        if command.len() > FRAME_BYTES_MAX {
            return Err(TransportError::CommandTooLarge(command.len()));
        }
        let until = Instant::now() + timeout;
        // The driver takes a command in one write or not at all; EBUSY means that an earlier one still runs.
        loop {
            match self.file.write(command) {
                Ok(written) if written == command.len() => break,
                Ok(written) => return Err(TransportError::Frame(written)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ResourceBusy) => {
                    self.wait(PollFlags::POLLOUT, until, timeout)?;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => return Err(error.into()),
            }
        }
        let mut answer = vec![0u8; FRAME_BYTES_MAX];
        let mut filled = 0;
        loop {
            self.wait(PollFlags::POLLIN, until, timeout)?;
            let free = answer.get_mut(filled..).unwrap_or_default();
            match self.file.read(free) {
                Ok(0) => return Err(TransportError::Frame(filled)),
                Ok(count) => filled += count,
                Err(error) if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => continue,
                Err(error) => return Err(error.into()),
            }
            let head = answer.get(..filled).unwrap_or_default();
            if filled >= super::HEADER_BYTES {
                match declared_bytes(head)?.cmp(&filled) {
                    std::cmp::Ordering::Equal => break,
                    std::cmp::Ordering::Less => return Err(TransportError::Frame(filled)),
                    std::cmp::Ordering::Greater => {}
                }
            }
        }
        let whole = answer.get(..filled).unwrap_or_default().to_vec();
        answer.zeroize();
        Ok(whole)
    }
}
