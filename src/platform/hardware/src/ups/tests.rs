#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::descriptor::{ReportKind, parse};
use super::{is_ups, ups};
use crate::health::State;
use std::collections::HashMap;
use std::io;

/// Two reports, each to be asked for and sent by itself: 8 with charge, seconds left and the limit of those, and 11 with
/// bits. The reports are those of a CyberPower CP900EPFCLCD, as users of it have published them: `08 64 f6 09 2c 01` and
/// `0b 11` on the wall's power, `0b 04` after it went.
const DESCRIPTOR: &[u8] = &[
    0x05, 0x84, 0x09, 0x04, 0xa1, 0x01, // page Power Device, UPS, collection
    0x09, 0x24, 0xa1, 0x02, // PowerSummary, collection
    0x85, 0x08, 0x75, 0x08, 0x95, 0x01, 0x15, 0x00, 0x25, 0x64, // report 8, one of 8 bits, 0 to 100
    0x05, 0x85, 0x09, 0x66, 0x81, 0xa3, 0x09, 0x66, 0xb1, 0xa3, // RemainingCapacity, input and feature
    0x75, 0x10, 0x27, 0xff, 0xff, 0x00, 0x00, 0x66, 0x01, 0x10, 0x55, 0x00, // 16 bits, seconds
    0x09, 0x68, 0x81, 0xa3, 0x09, 0x68, 0xb1, 0xa3, // RunTimeToEmpty
    0x09, 0x2a, 0x81, 0xa3, 0x09, 0x2a, 0xb1, 0xa3, // RemainingTimeLimit
    0x05, 0x84, 0x09, 0x02, 0xa1, 0x02, // PresentStatus, collection
    0x85, 0x0b, 0x75, 0x01, 0x95, 0x06, 0x25, 0x01, 0x65, 0x00, 0x05, 0x85, // report 11, six bits
    0x09, 0xd0, 0x09, 0x44, 0x09, 0x45, 0x09, 0x42, 0x09, 0x46, 0x09, 0x43, 0x81, 0xa3, //
    0x09, 0xd0, 0x09, 0x44, 0x09, 0x45, 0x09, 0x42, 0x09, 0x46, 0x09, 0x43, 0xb1, 0xa3, //
    0x95, 0x02, 0x81, 0x01, 0xb1, 0x01, // up to a byte
    0xc0, 0xc0, 0xc0,
];
const IDLE: &[u8] = &[0x64, 0xf6, 0x09, 0x2c, 0x01];

fn told(descriptor: &[u8], reports: &[(u8, &[u8])]) -> String {
    let reports: HashMap<u8, &[u8]> = reports.iter().copied().collect();
    let mut asked = Vec::new();
    let reading = ups("CPS", descriptor, &mut |kind, report, bytes| {
        asked.push((kind, report));
        let answer = *reports.get(&report).unwrap();
        assert_eq!((kind, bytes), (ReportKind::Feature, answer.len()));
        Ok(answer.to_vec())
    });
    asked.sort_unstable();
    let count = asked.len();
    asked.dedup();
    assert_eq!(asked.len(), count, "a report was asked for twice");
    let reading = reading.unwrap().unwrap();
    format!("{} {reading}", reading.state.word())
}

#[test]
fn a_supply_tells_its_charge_and_who_gives_the_power() {
    let line = |capacity: &[u8], status: u8| told(DESCRIPTOR, &[(8, capacity), (11, &[status])]);
    assert_eq!(
        line(IDLE, 0x11),
        "well UPS CPS: 100 %: the power is there, for 42 minutes by its own count"
    );
    assert_eq!(
        line(&[0x64, 0xfa, 0x05, 0x2c, 0x01], 0x04),
        "warning UPS CPS: 100 %: the machine runs on its battery, for 25 minutes by its own count"
    );
    assert_eq!(
        line(&[0x0a, 0x40, 0x00, 0x2c, 0x01], 0x2c),
        "failed UPS CPS: 10 %: its battery is nearly empty, for 1 minute by its own count: shut down, or bring the power back"
    );
    // It charges again, and is still low.
    assert_eq!(
        line(&[0x0a, 0x40, 0x00, 0x2c, 0x01], 0x0b),
        "warning UPS CPS: 10 %: its battery is nearly empty, the power is there"
    );
}

#[test]
fn charges_of_a_unit_of_its_own_are_hundredths_of_the_full_one() {
    // Without report numbers, the page in each usage: mode 0, limit, full charge and charge of 16 bits; signed.
    let mut descriptor = vec![
        0x05, 0x84, 0x09, 0x04, 0xa1, 0x01, 0x16, 0x00, 0x80, 0x26, 0xff, 0x7f, 0x75, 0x10, 0x95, 0x04,
    ];
    for usage in [0x2c, 0x29, 0x67, 0x66] {
        descriptor.extend([0x0b, usage, 0x00, 0x85, 0x00]);
    }
    descriptor.extend([0xb1, 0x02, 0xc0]);
    let report = [0u16, 2_000, 20_000, 15_000].map(u16::to_le_bytes).concat();
    assert_eq!(
        told(&descriptor, &[(0, &report)]),
        "warning UPS CPS: 75 % (limit 10): it does not tell whether the power is there"
    );
    let layout = parse(&descriptor).unwrap();
    assert_eq!(layout.find(0x0085_0066).unwrap().value(&[0xff; 8]), Some(-1));
    assert_eq!(layout.find(0x0085_0066).unwrap().value(&[0xff; 7]), None, "too short");
}

#[test]
fn other_devices_are_left_alone_and_a_silent_supply_is_asked_once() {
    // A keyboard: page Generic Desktop, usage Keyboard.
    let keyboard = [0x05, 0x01, 0x09, 0x06, 0xa1, 0x01, 0xc0];
    assert!(!is_ups(&keyboard) && is_ups(DESCRIPTOR));
    let mut asked = 0;
    let mut silent = |_, _, _| {
        asked += 1;
        Err(io::ErrorKind::TimedOut.into())
    };
    assert!(ups("keyboard", &keyboard, &mut silent).unwrap().is_none());
    assert!(ups("CPS", DESCRIPTOR, &mut silent).is_err());
    assert_eq!(asked, 1);
    // Less than it promised, or nothing of what it promised: it is not called well.
    let mut short = |_, _, _| Ok(Vec::new());
    let mut refuses = |_, _, _| Err(io::ErrorKind::BrokenPipe.into());
    let asks: [super::AskReport<'_>; 2] = [&mut short, &mut refuses];
    for ask in asks {
        let reading = ups("CPS", DESCRIPTOR, ask).unwrap().unwrap();
        assert_eq!((reading.value, reading.state), (None, State::Warning));
    }
    // One report is refused, and the other one says enough.
    let mut bits = |_, report, _| match report {
        11 => Ok(vec![0x11]),
        _ => Err(io::ErrorKind::BrokenPipe.into()),
    };
    let reading = ups("CPS", DESCRIPTOR, &mut bits).unwrap().unwrap();
    assert_eq!(reading.to_string(), "UPS CPS: the power is there");
}

#[test]
fn no_descriptor_is_too_much() {
    for end in 0..DESCRIPTOR.len() {
        let _any = parse(&DESCRIPTOR[..end]);
        for byte in [0x00, 0xfe, 0xff] {
            let mut changed = DESCRIPTOR.to_vec();
            changed[end] = byte;
            let _any = ups("CPS", &changed, &mut |_, _, bytes| Ok(vec![0xff; bytes]));
        }
    }
    // 2^32 - 1 values of 32 bits; collections without end; more to take back than was saved.
    assert_eq!(parse(&[0x75, 0x20, 0x97, 0xff, 0xff, 0xff, 0xff, 0xb1, 0x02]), None);
    assert_eq!(parse(&[0xa1, 0x01].repeat(2_048)), None);
    assert_eq!(parse(&[0xb4]), None);
    assert_eq!(parse(&[0xa4].repeat(4_096)), None);
    // As many values as a report holds bits, again and again.
    let many = [0x95, 0x80, 0x75, 0x01, 0x09, 0x01, 0xb1, 0x02].repeat(512);
    assert_eq!(parse(&many), None);
    assert!(
        parse(&[0x19, 0x00, 0x2b, 0xff, 0xff, 0xff, 0xff]).is_some(),
        "usages without an item"
    );
}
