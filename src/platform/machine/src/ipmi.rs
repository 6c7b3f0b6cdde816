//! The way to a management controller: Linux, Documentation/driver-api/ipmi.rst, the user interface of ipmi_devintf.

use crate::ioctl;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Until an answer is there. The kernel gives up a command after five seconds by itself.
const PATIENCE: Duration = Duration::from_secs(6);
/// The longest answer: IPMI_MAX_MSG_LENGTH (include/uapi/linux/ipmi_msgdefs.h).
pub const MESSAGE_BYTES_MAX: usize = 272;
/// The most controllers that are looked for.
const CONTROLLERS_MAX: usize = 4;

/// An open controller.
#[derive(Debug)]
pub struct Controller {
    device: File,
    last: i64,
}

/// The devices that are there, `ipmi0` and so on, and their files.
pub fn find() -> Vec<(String, PathBuf)> {
    let names = (0..CONTROLLERS_MAX).map(|number| format!("ipmi{number}"));
    let devices = names.map(|name| (PathBuf::from("/dev").join(&name), name));
    devices
        .filter(|(path, _)| path.exists())
        .map(|(path, name)| (name, path))
        .collect()
}

impl Controller {
    /// Opens it. Takes root.
    pub fn open(device: &std::path::Path) -> io::Result<Self> {
        let device = OpenOptions::new().read(true).write(true).open(device)?;
        Ok(Self { device, last: 0 })
    }

    /// Sends a command to the controller itself, and returns its answer, with the completion code first.
    pub fn ask(&mut self, function: u8, command: u8, data: &[u8]) -> io::Result<Vec<u8>> {
        self.last += 1;
        ioctl::ipmi_send(&self.device, self.last, function, command, data)?;
        let end = Instant::now() + PATIENCE;
        let mut buffer = [0; MESSAGE_BYTES_MAX];
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut wanted = [PollFd::new(self.device.as_fd(), PollFlags::POLLIN)];
            match poll(&mut wanted, timeout) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            }
            match ioctl::ipmi_receive(&self.device, &mut buffer) {
                // An answer to an earlier command, which came too late.
                Ok(received) if received.id != self.last => {}
                Ok(received) => return Ok(buffer.get(..received.bytes).unwrap_or(&buffer).to_vec()),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
