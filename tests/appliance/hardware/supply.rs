//! An uninterruptible power supply on USB, as a process outside of QEMU that speaks the USB network redirection protocol
//! (usbredir 0.15, `usb-redirection-protocol.md`, without capabilities).

use std::io::{ErrorKind, Read, Result, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Kinds of packets.
const HELLO: u32 = 0;
const DEVICE_CONNECT: u32 = 1;
const INTERFACE_INFO: u32 = 4;
const EP_INFO: u32 = 5;
const SET_CONFIGURATION: u32 = 6;
const CONFIGURATION_STATUS: u32 = 8;
const SET_ALT_SETTING: u32 = 9;
const ALT_SETTING_STATUS: u32 = 11;
const START_INTERRUPT: u32 = 15;
const STOP_INTERRUPT: u32 = 16;
const INTERRUPT_STATUS: u32 = 17;
const CONTROL: u32 = 100;
/// "usb_redir_stall": the device does not know the request.
const STALL: u8 = 4;
/// Places for interfaces and endpoints, 0 to 15 out and 16 to 31 in.
const PLACES: usize = 32;
/// The longest packet that is taken.
const PACKET_BYTES_MAX: u32 = 1 << 20;

/// USB 2.0, table 9-8: a device of full speed, vendor and product of CyberPower's.
const DEVICE: &[u8] = &[18, 1, 0, 2, 0, 0, 0, 64, 0x64, 0x07, 0x01, 0x05, 1, 0, 1, 2, 0, 1];
/// One interface of class HID with one endpoint that is never used.
const CONFIGURATION: &[u8] = &[
    9,
    2,
    34,
    0,
    1,
    1,
    0,
    0xc0,
    1, // configuration
    9,
    4,
    0,
    0,
    1,
    3,
    0,
    0,
    0, // interface
    9,
    0x21,
    0x10,
    1,
    0x21,
    1,
    0x22,
    REPORTS.len() as u8,
    0, // HID
    7,
    5,
    0x81,
    3,
    64,
    0,
    10, // endpoint
];
/// Feature report 8: charge of 8 bits, seconds left of 16; feature report 11: six bits of status.
const REPORTS: &[u8] = &[
    0x05, 0x84, 0x09, 0x04, 0xa1, 0x01, 0x09, 0x24, 0xa1, 0x02, // UPS, PowerSummary
    0x85, 0x08, 0x75, 0x08, 0x95, 0x01, 0x15, 0x00, 0x25, 0x64, 0x05, 0x85, 0x09, 0x66, 0xb1, 0xa3, //
    0x75, 0x10, 0x27, 0xff, 0xff, 0x00, 0x00, 0x66, 0x01, 0x10, 0x55, 0x00, 0x09, 0x68, 0xb1, 0xa3, //
    0x85, 0x0b, 0x75, 0x01, 0x95, 0x06, 0x25, 0x01, 0x65, 0x00, // ACPresent, Charging, Discharging, …
    0x09, 0xd0, 0x09, 0x44, 0x09, 0x45, 0x09, 0x42, 0x09, 0x46, 0x09, 0x43, 0xb1, 0xa3, //
    0x95, 0x02, 0xb1, 0x01, 0xc0, 0xc0,
];
const CHARGE: [u8; 4] = [8, 0x64, 0xf6, 0x09];
/// Power from the wall, a full battery.
const IDLE: u8 = 0x11;
/// The battery gives it.
const DISCHARGING: u8 = 0x04;

/// The supply.
pub struct Supply {
    status: Arc<AtomicU8>,
}

impl Supply {
    /// One behind a socket that QEMU connects to.
    pub fn behind(socket: &Path) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let status = Arc::new(AtomicU8::new(IDLE));
        let told = Arc::clone(&status);
        std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            match serve(stream, &told) {
                Ok(()) => {}
                // The machine was switched off.
                Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe) => {}
                Err(error) => panic!("the supply: {error}"),
            }
        });
        Self { status }
    }

    /// The wall gives no power any more.
    pub fn lose_power(&self) {
        self.status.store(DISCHARGING, Ordering::Relaxed);
    }
}

fn serve(mut stream: UnixStream, status: &AtomicU8) -> Result<()> {
    let mut hello = b"supply".to_vec();
    hello.resize(64 + 4, 0);
    send(&mut stream, HELLO, 0, &hello)?;
    loop {
        let mut header = [0; 12];
        stream.read_exact(&mut header)?;
        let number = |at: usize| u32::from_le_bytes(*header.get(at..).unwrap().first_chunk().unwrap());
        let (kind, length, id) = (number(0), number(4), number(8));
        assert!(length <= PACKET_BYTES_MAX);
        let mut body = vec![0; length as usize];
        stream.read_exact(&mut body)?;
        let first = body.first().copied().unwrap_or_default();
        match kind {
            HELLO => connect(&mut stream)?,
            SET_CONFIGURATION => send(&mut stream, CONFIGURATION_STATUS, id, &[0, first])?,
            SET_ALT_SETTING => send(&mut stream, ALT_SETTING_STATUS, id, &[0, first, 0])?,
            START_INTERRUPT | STOP_INTERRUPT => send(&mut stream, INTERRUPT_STATUS, id, &[0, first])?,
            CONTROL => {
                let answer = control(&body, status.load(Ordering::Relaxed));
                send(&mut stream, CONTROL, id, &answer)?;
            }
            // Resets, cancellations, what concerns other kinds of devices.
            _ => {}
        }
    }
}

fn send(stream: &mut UnixStream, kind: u32, id: u32, body: &[u8]) -> Result<()> {
    let length = u32::try_from(body.len()).unwrap();
    let header = [kind, length, id].map(u32::to_le_bytes).concat();
    stream.write_all(&[&header, body].concat())
}

/// The device is plugged in.
fn connect(stream: &mut UnixStream) -> Result<()> {
    let mut interfaces = 1u32.to_le_bytes().to_vec();
    // Numbers, classes, subclasses, protocols.
    for first in [0, 3, 0, 0] {
        interfaces.push(first);
        interfaces.extend([0; PLACES - 1]);
    }
    send(stream, INTERFACE_INFO, 0, &interfaces)?;
    let (mut kinds, mut intervals) = ([255u8; PLACES], [0u8; PLACES]);
    // Control both ways, and an interrupt in.
    for (place, kind) in [(0, 0), (16, 0), (17, 3)] {
        *kinds.get_mut(place).unwrap() = kind;
    }
    *intervals.get_mut(17).unwrap() = 10;
    send(stream, EP_INFO, 0, &[kinds, intervals, [0; PLACES]].concat())?;
    // Full speed, classes by interface, vendor and product.
    send(stream, DEVICE_CONNECT, 0, &[1, 0, 0, 0, 0x64, 0x07, 0x01, 0x05])
}

/// Answers a request to the device; the packet is its own header again, with what the device says behind it.
fn control(packet: &[u8], status: u8) -> Vec<u8> {
    let byte = |at: usize| *packet.get(at).unwrap();
    let (request, kind, low, high) = (byte(1), byte(2), byte(4), byte(5));
    let wanted = usize::from(u16::from_le_bytes([byte(8), byte(9)]));
    let text = |text: &str| {
        let text: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        [&[u8::try_from(text.len() + 2).unwrap(), 3], &text[..]].concat()
    };
    let data = match (kind, request, high, low) {
        (0x80, 6, 1, _) => Some(DEVICE.to_vec()),
        (0x80, 6, 2, _) => Some(CONFIGURATION.to_vec()),
        // String 0 is the list of languages.
        (0x80, 6, 3, 0) => Some(vec![4, 3, 9, 4]),
        (0x80, 6, 3, 1) => Some(text("CPS")),
        (0x80, 6, 3, 2) => Some(text("CP900EPFCLCD")),
        (0x81, 6, 0x22, _) => Some(REPORTS.to_vec()),
        // GET_REPORT, feature.
        (0xa1, 1, 3, 8) => Some(CHARGE.to_vec()),
        (0xa1, 1, 3, 11) => Some(vec![11, status]),
        // GET_STATUS.
        (0x80, 0, ..) => Some(vec![1, 0]),
        // Out: SET_IDLE and its kin.
        (0..0x80, ..) => Some(Vec::new()),
        _ => None,
    };
    let mut answer = packet.get(..10).unwrap().to_vec();
    let data = match data {
        Some(mut data) => {
            data.truncate(wanted);
            data
        }
        None => {
            *answer.get_mut(3).unwrap() = STALL;
            Vec::new()
        }
    };
    let length = u16::try_from(data.len()).unwrap().to_le_bytes();
    answer.get_mut(8..10).unwrap().copy_from_slice(&length);
    answer.extend(data);
    answer
}
