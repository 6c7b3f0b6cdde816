//! The other end of the box's cables: a switch, a router, a DHCP server and a client of the tests' own, on frames that
//! QEMU hands over. No rights, no interfaces and no namespaces of this machine are needed.
//!
//! It hears every frame that leaves the box, so that what was heard is all that went out.

mod answer;
mod connection;
mod frame;
mod pcap;
mod quiet;

pub use answer::Neighbourhood;
pub use connection::Connection;
pub use frame::{Frame, Network, Transport};
pub use pcap::read as read_pcap;
pub use quiet::{PORTS, is_of_firmware, may_leave};

use frame::{ACK, SYN};
use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longest frame that is taken from QEMU.
const FRAME_BYTES_MAX: usize = 65_536;
/// How long one look at the sockets lasts.
const LOOK: Duration = Duration::from_millis(5);
/// Ports that are asked before the answers are read.
const BATCH: usize = 64;

/// A cable: QEMU connects to its socket.
pub struct Cable {
    listener: UnixListener,
    path: PathBuf,
    stream: Option<UnixStream>,
    /// What arrived of the next frame.
    part: Vec<u8>,
    is_cut: bool,
}

/// Cables that are heard all the time, by a thread of their own.
pub struct Running {
    wire: Arc<Mutex<Wire>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    /// For the test itself; nobody hears meanwhile but the wire's own functions.
    pub fn lock(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has failed the test already, at the lock.
            let _ = thread.join();
        }
    }
}

/// All cables of a box, and what is at their other end.
pub struct Wire {
    cables: Vec<Cable>,
    /// Who answers there.
    pub neighbours: Neighbourhood,
    /// Every frame that the box sent, with the number of its cable.
    pub heard: Vec<(usize, Frame)>,
    next_port: u16,
    _folder: tempfile::TempDir,
}

impl Wire {
    /// As many cables; nobody is at their other end yet.
    pub fn new(cables: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cable = |number: usize| {
            let path = folder.path().join(format!("cable{number}"));
            let listener = UnixListener::bind(&path).unwrap();
            listener.set_nonblocking(true).unwrap();
            Cable {
                listener,
                path,
                stream: None,
                part: Vec::new(),
                is_cut: false,
            }
        };
        Self {
            cables: (0..cables).map(cable).collect(),
            neighbours: Neighbourhood::default(),
            heard: Vec::new(),
            next_port: 20_000,
            _folder: folder,
        }
    }

    /// Hears from now on.
    pub fn spawn(self) -> Running {
        let (wire, stop) = (Arc::new(Mutex::new(self)), Arc::new(AtomicBool::new(false)));
        let (heard, stopped) = (Arc::clone(&wire), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                if !heard.lock().unwrap().look() {
                    std::thread::sleep(LOOK);
                }
            }
        });
        Running {
            wire,
            stop,
            thread: Some(thread),
        }
    }

    /// QEMU's arguments for a network card on each cable: `net0`, `net1`, ….
    pub fn arguments(&self) -> Vec<String> {
        let cards = self.cables.iter().enumerate().flat_map(|(number, cable)| {
            [
                "-netdev".to_owned(),
                format!(
                    "stream,id=net{number},server=off,addr.type=unix,addr.path={}",
                    cable.path.display()
                ),
                "-device".to_owned(),
                // LACP bundles only what says how fast it is.
                format!(
                    "virtio-net-pci,netdev=net{number},id=card{number},mac=52:54:00:00:00:{number:02x},speed=1000,duplex=full"
                ),
            ]
        });
        cards.collect()
    }

    /// Pulls a cable on this side, or puts it in again: nothing passes a cable that is cut.
    pub fn cut(&mut self, cable: usize, is_cut: bool) {
        self.cables.get_mut(cable).unwrap().is_cut = is_cut;
    }

    /// Hears and answers for a while.
    pub fn run(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            if !self.look() {
                std::thread::sleep(LOOK);
            }
        }
    }

    /// Hears and answers until something is so, or the time is over; whether it is so.
    pub fn until(&mut self, time: Duration, mut is_so: impl FnMut(&mut Self) -> bool) -> bool {
        let end = Instant::now() + time;
        loop {
            if is_so(self) {
                return true;
            }
            if Instant::now() > end {
                return false;
            }
            self.run(LOOK * 10);
        }
    }

    /// Whether anything was heard.
    fn look(&mut self) -> bool {
        let mut any = false;
        for number in 0..self.cables.len() {
            for bytes in self.cables.get_mut(number).unwrap().receive() {
                any = true;
                let frame = Frame::parse(&bytes).unwrap();
                for answer in self.neighbours.answer(number, &frame) {
                    self.cables.get_mut(number).unwrap().send(&answer);
                }
                self.heard.push((number, frame));
            }
        }
        any
    }

    /// Sends on every cable that is not cut: to a bond a switch sends on one, but the box takes either.
    fn send(&mut self, bytes: &[u8]) {
        let number = self
            .neighbours
            .usable(self.cables.iter().map(|cable| !cable.is_cut).collect());
        if let Some(cable) = number.and_then(|number| self.cables.get_mut(number)) {
            cable.send(bytes);
        }
    }

    /// Asks the box for an answer to an echo request; on which cable it came.
    pub fn ping(&mut self, address: IpAddr) -> Option<usize> {
        let before = self.heard.len();
        let request = self.neighbours.echo(address)?;
        self.send(&request);
        let mut found = None;
        self.until(Duration::from_secs(3), |wire| {
            let since = wire.heard.iter().skip(before);
            let mut answers = since.filter(|(_, frame)| frame.is_echo_reply_from(address));
            found = answers.next().map(|(cable, _)| *cable);
            found.is_some()
        });
        found
    }

    /// Which of these ports take a connection, asked by a lone SYN each; twice, because a frame may be lost.
    pub fn scan_tcp(&mut self, address: IpAddr, ports: impl Iterator<Item = u16> + Clone) -> BTreeSet<u16> {
        let mut open = BTreeSet::new();
        for _ in 0..2 {
            let before = self.heard.len();
            let from = self.fresh_port();
            let ports: Vec<u16> = ports.clone().filter(|port| !open.contains(port)).collect();
            for batch in ports.chunks(BATCH) {
                for port in batch {
                    let probe = self
                        .neighbours
                        .tcp(SocketAddr::new(address, *port), from, SYN, (1, 0), &[]);
                    self.send(&probe.unwrap());
                }
                self.run(LOOK);
            }
            self.run(Duration::from_secs(3));
            for (_, frame) in self.heard.iter().skip(before) {
                if let Some(Transport::Tcp { source, flags, .. }) = frame.transport_from(address)
                    && flags & (SYN | ACK) == SYN | ACK
                {
                    open.insert(source);
                }
            }
        }
        open
    }

    /// What the box answers to datagrams at these ports: the frames.
    pub fn scan_udp(&mut self, address: IpAddr, ports: &[u16]) -> Vec<Frame> {
        let before = self.heard.len();
        let from = self.fresh_port();
        for port in ports {
            let probe = self
                .neighbours
                .udp(SocketAddr::new(address, *port), from, b"\x1b probe");
            self.send(&probe.unwrap());
        }
        self.run(Duration::from_secs(4));
        let since = self.heard.iter().skip(before).map(|(_, frame)| frame.clone());
        since.filter(|frame| frame.is_answer_from(address)).collect()
    }

    fn fresh_port(&mut self) -> u16 {
        self.next_port += 1;
        self.next_port
    }
}

impl Cable {
    fn receive(&mut self) -> Vec<Vec<u8>> {
        if self.stream.is_none()
            && let Ok((stream, _)) = self.listener.accept()
        {
            stream.set_nonblocking(true).unwrap();
            self.stream = Some(stream);
        }
        let Some(stream) = &mut self.stream else {
            return Vec::new();
        };
        let mut buffer = [0; FRAME_BYTES_MAX];
        match stream.read(&mut buffer) {
            // The machine was switched off: the next one connects anew.
            Ok(0) => self.stream = None,
            Ok(length) => self.part.extend(buffer.get(..length).unwrap()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.stream = None,
        }
        if self.stream.is_none() {
            self.part.clear();
        }
        let mut frames = Vec::new();
        // QEMU, net/stream.c: a length of four bytes, big-endian, before each frame.
        while let Some(length) = self
            .part
            .first_chunk::<4>()
            .map(|bytes| u32::from_be_bytes(*bytes) as usize)
        {
            let Some(frame) = self.part.get(4..4 + length) else {
                break;
            };
            if !self.is_cut {
                frames.push(frame.to_vec());
            }
            self.part.drain(..4 + length);
        }
        frames
    }

    fn send(&mut self, frame: &[u8]) {
        let Some(stream) = self.stream.as_mut().filter(|_| !self.is_cut) else {
            return;
        };
        let mut bytes = u32::try_from(frame.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend(frame);
        let mut rest = bytes.as_slice();
        let end = Instant::now() + Duration::from_secs(20);
        while !rest.is_empty() {
            match stream.write(rest) {
                Ok(length) => rest = rest.get(length..).unwrap(),
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < end => std::thread::sleep(LOOK),
                Err(_) => return,
            }
        }
    }
}
