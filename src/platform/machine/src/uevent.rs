//! What the kernel tells about devices that come and go: netlink's kobject events, netlink(7).

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, setsockopt, socket, sockopt,
};
use std::os::fd::{AsRawFd, OwnedFd};

/// The kernel's own group.
const GROUP_KERNEL: u32 = 1;
/// Kernel: `UEVENT_BUFFER_SIZE` is 2,048, and a path before it.
const MESSAGE_BYTES_MAX: usize = 8192;
/// What may wait in the socket while a module loads.
const QUEUE_BYTES: usize = 4 << 20;
/// Most fields of a message; kernel: `UEVENT_NUM_ENVP` is 64.
const FIELDS_MAX: usize = 128;

/// A message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uevent {
    /// `add`, `remove`, `change`, …
    pub action: String,
    /// The device's folder below /sys.
    pub path: String,
    /// `input`, `block`, `net`, …
    pub subsystem: String,
    /// What drivers are matched with.
    pub modalias: Option<String>,
}

/// The open socket.
#[derive(Debug)]
pub struct Monitor(OwnedFd);

impl Monitor {
    /// Listens from now on.
    pub fn open() -> Result<Self, Errno> {
        let protocol = SockProtocol::NetlinkKObjectUEvent;
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            protocol,
        )?;
        // The kernel grants it to root; without it events may be lost, which a second look at /sys makes good.
        setsockopt(&socket, sockopt::RcvBufForce, &QUEUE_BYTES)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUP_KERNEL))?;
        Ok(Self(socket))
    }

    /// The next message; blocks until it comes. `None`: some were lost, and /sys must be looked through again.
    pub fn next(&self) -> Result<Option<Uevent>, Errno> {
        let mut buffer = vec![0; MESSAGE_BYTES_MAX];
        loop {
            let (length, from) = match recvfrom::<NetlinkAddr>(self.0.as_raw_fd(), &mut buffer) {
                Ok(received) => received,
                Err(Errno::EINTR) => continue,
                Err(Errno::ENOBUFS) => return Ok(None),
                Err(error) => return Err(error),
            };
            // Only what the kernel itself has sent.
            if from.is_some_and(|from| from.pid() == 0) {
                return Ok(Some(parse(buffer.get(..length).unwrap_or_default())));
            }
        }
    }
}

/// Kernel documentation: `action@path`, then `KEY=value` strings, each ended by NUL.
pub fn parse(message: &[u8]) -> Uevent {
    let mut event = Uevent::default();
    for field in message.split(|byte| *byte == 0).skip(1).take(FIELDS_MAX) {
        let Ok(field) = std::str::from_utf8(field) else {
            continue;
        };
        match field.split_once('=') {
            Some(("ACTION", value)) => value.clone_into(&mut event.action),
            Some(("DEVPATH", value)) => value.clone_into(&mut event.path),
            Some(("SUBSYSTEM", value)) => value.clone_into(&mut event.subsystem),
            Some(("MODALIAS", value)) => event.modalias = Some(value.to_owned()),
            _ => {}
        }
    }
    event
}

#[cfg(test)]
mod tests {
    use super::{Uevent, parse};

    #[test]
    fn fields_are_found() {
        let message =
            b"add@/devices/pci0/x\0ACTION=add\0DEVPATH=/devices/pci0/x\0SUBSYSTEM=pci\0MODALIAS=pci:v1\0SEQNUM=1\0";
        let event = Uevent {
            action: "add".to_owned(),
            path: "/devices/pci0/x".to_owned(),
            subsystem: "pci".to_owned(),
            modalias: Some("pci:v1".to_owned()),
        };
        assert_eq!(parse(message), event);
        assert_eq!(parse(b""), Uevent::default());
        assert_eq!(parse(b"\xff\0ACTION=\xff\0="), Uevent::default());
    }
}
