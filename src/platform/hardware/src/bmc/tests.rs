//! A controller that is played, with records as the specification lays them out.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::BmcSurveyor;
use crate::health::{Part, Reading, State};
use std::collections::BTreeMap;
use std::io;

const REFUSED: u8 = 0xcc;
const RESERVATION_CANCELED: u8 = 0xc5;

/// What the played controller is like.
struct Board {
    records: Vec<Vec<u8>>,
    /// Sensor number → the answer's data.
    readings: BTreeMap<u8, Vec<u8>>,
    lan_mode: u8,
    address: [u8; 4],
    suites: Vec<u8>,
    privileges: Vec<u8>,
    log_flags: u8,
    /// The entries of its log, and its clock; without entries it has seven that it does not show.
    log: Vec<[u8; 16]>,
    clock: u32,
    entries_read: usize,
    /// How many more reservations are cancelled.
    restless: usize,
    version: u8,
    records_read: usize,
}

impl Board {
    fn new(records: Vec<Vec<u8>>) -> Self {
        Self {
            records,
            readings: BTreeMap::new(),
            lan_mode: 0,
            address: [0; 4],
            suites: Vec::new(),
            privileges: Vec::new(),
            log_flags: 0,
            log: Vec::new(),
            clock: 0,
            entries_read: 0,
            restless: 0,
            version: 1,
            records_read: 0,
        }
    }

    fn answer(&mut self, function: u8, command: u8, data: &[u8]) -> Vec<u8> {
        let done = |data: &[u8]| [&[0], data].concat();
        match (function, command) {
            (0x06, 0x01) => done(&[0x20, 1, 3, 0x45, 2, 0xbf, 0x7c, 0x2a, 0, 0x05, 0x10]),
            (0x06, 0x42) if data == [1] => done(&[1, 4, 1, 0, 0, 0, 0, 0, 0]),
            (0x06, 0x41) => {
                assert_eq!(data, [1, 0x80]);
                done(&[self.lan_mode, 4])
            }
            (0x0c, 0x02) => match data[1] {
                3 => done(&[&[0x11], &self.address[..]].concat()),
                22 => done(&[0x11, self.suites.len() as u8]),
                23 => done(&[&[0x11, 0], &self.suites[..]].concat()),
                24 => done(&[&[0x11, 0], &self.privileges[..]].concat()),
                _ => vec![REFUSED],
            },
            (0x0a, 0x40) if !self.log.is_empty() => {
                let added = self.log.len() as u8;
                done(&[0x51, added, 0, 0x00, 0x10, added, 0, 0, 0, 0, 0, 0, 0, self.log_flags])
            }
            (0x0a, 0x43) if !self.log.is_empty() => {
                assert_eq!((data[..2].to_vec(), data[4..].to_vec()), (vec![0, 0], vec![0, 0xff]));
                let id = u16::from_le_bytes([data[2], data[3]]);
                let place = self.log.iter().position(|entry| entry[..2] == id.to_le_bytes());
                let Some(place) = place.or((id == 0).then_some(0)) else {
                    return vec![0xcb];
                };
                self.entries_read += 1;
                let next = self
                    .log
                    .get(place + 1)
                    .map_or([0xff, 0xff], |entry| [entry[0], entry[1]]);
                done(&[&next[..], &self.log[place]].concat())
            }
            (0x0a, 0x48) if self.clock > 0 => done(&self.clock.to_le_bytes()),
            (0x0a, 0x40) => done(&[0x51, 7, 0, 0x00, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, self.log_flags]),
            (0x0a, 0x20) => done(&[0x51, 1, 0, 0, 0, self.version, 0, 0, 0, 0, 0, 0, 0, 0]),
            (0x0a, 0x22) => done(&[0x34, 0x12]),
            (0x0a, 0x23) => {
                assert_eq!(data[..2], [0x34, 0x12]);
                if self.restless > 0 {
                    self.restless -= 1;
                    return vec![RESERVATION_CANCELED];
                }
                let id = usize::from(u16::from_le_bytes([data[2], data[3]]));
                let (offset, length) = (usize::from(data[4]), usize::from(data[5]));
                if offset == 0 {
                    self.records_read += 1;
                }
                let record = &self.records[id];
                let next = if id + 1 == self.records.len() {
                    0xffff
                } else {
                    id as u16 + 1
                };
                done(&[&next.to_le_bytes()[..], &record[offset..offset + length]].concat())
            }
            (0x04, 0x2d) => self.readings.get(&data[0]).map_or(vec![0xcb], |reading| done(reading)),
            _ => vec![REFUSED],
        }
    }
}

/// A full record (43.1) of 48 bytes and a name; M is 1, B is 0.
fn full(number: u8, kind: u8, unit: u8, name: &str) -> Vec<u8> {
    let mut record = vec![0; 48];
    record[2..8].copy_from_slice(&[0x51, 1, 0, 0x20, 0, number]);
    record[4] = (43 + name.len()) as u8;
    record[12..14].copy_from_slice(&[kind, 1]);
    record[18] = 0x3f;
    record[21] = unit;
    record[24] = 1;
    record[36..42].copy_from_slice(&[110, 100, 90, 1, 5, 10]);
    record[47] = 0xc0 | name.len() as u8;
    record.extend(name.bytes());
    record
}

/// A compact record (43.2).
fn compact(number: u8, kind: u8, event_type: u8, name: &str) -> Vec<u8> {
    let mut record = vec![0; 32];
    record[2..8].copy_from_slice(&[0x51, 2, 0, 0x20, 0, number]);
    record[4] = (27 + name.len()) as u8;
    record[12..14].copy_from_slice(&[kind, event_type]);
    record[31] = 0xc0 | name.len() as u8;
    record.extend(name.bytes());
    record
}

fn survey(surveyor: &mut BmcSurveyor, board: &mut Board) -> Vec<Reading> {
    surveyor.survey(&mut |function, command, data| Ok(board.answer(function, command, data)))
}

fn lines(readings: &[Reading]) -> Vec<String> {
    readings
        .iter()
        .map(|reading| format!("{} {reading}", reading.state.word()))
        .collect()
}

#[test]
fn sensors_with_limits_and_states_are_read() {
    let mut board = Board::new(vec![
        full(1, 0x01, 1, "CPU Temp"),
        full(2, 0x04, 18, "FAN1"),
        compact(3, 0x08, 0x6f, "PS1 Status"),
        compact(4, 0x08, 0x0b, "PS Redundancy"),
        compact(5, 0x05, 0x6f, "Lid"),
        full(6, 0x02, 4, "gone"),
        compact(7, 0x08, 0x70, "maker's own"),
        vec![0, 0, 0x51, 0x12, 3, 0, 0, 0],
    ]);
    board.readings = BTreeMap::from([
        (1, vec![95, 0xc0, 0x08]),
        (2, vec![4, 0xc0, 0x03]),
        (3, vec![0, 0xc0, 0x09, 0x80]),
        (4, vec![0, 0xc0, 0x02, 0x80]),
        (5, vec![0, 0xc0, 0x00, 0x80]),
        (6, vec![0, 0xe0, 0]),
        (7, vec![0, 0xc0, 1, 0]),
    ]);
    let mut surveyor = BmcSurveyor::new("ipmi0");
    assert_eq!(
        lines(&survey(&mut surveyor, &mut board)),
        [
            "well ipmi0: a management controller, IPMI 2.0, firmware 3.45, maker 10876, product 4101",
            "well ipmi0 LAN 1: it is off",
            "well ipmi0 event log: 7 : entries",
            "warning ipmi0 CPU Temp: 95 °C (limit 90): above its limit",
            "failed ipmi0 FAN1: 4 rpm (limit 5): below its critical limit",
            "failed ipmi0 PS1 Status: the power supply gets no power",
            "warning ipmi0 PS Redundancy: redundancy is lost",
            "well ipmi0 Lid",
        ]
    );
    assert_eq!(board.records_read, 8);

    // The list is read again only after it changed.
    board.readings.insert(1, vec![40, 0xc0, 0]);
    board.readings.insert(5, vec![0, 0xc0, 0x01, 0x80]);
    let again = lines(&survey(&mut surveyor, &mut board));
    assert_eq!(again[3], "well ipmi0 CPU Temp: 40 °C (limit 90)");
    assert_eq!(again[7], "warning ipmi0 Lid: the chassis was opened");
    assert_eq!(board.records_read, 8);
    board.version = 2;
    survey(&mut surveyor, &mut board);
    assert_eq!(board.records_read, 16);
}

#[test]
fn a_network_that_reaches_the_controller_is_told() {
    let mut board = Board::new(vec![compact(1, 0x29, 0x6f, "Battery")]);
    let mut surveyor = BmcSurveyor::new("ipmi0");
    let mut lan = |board: &mut Board| {
        let readings = survey(&mut surveyor, board);
        let lan = readings
            .into_iter()
            .find(|reading| reading.name.contains("LAN"))
            .unwrap();
        (lan.state, lan.sentence)
    };
    board.lan_mode = 2;
    let (state, sentence) = lan(&mut board);
    assert_eq!(state, State::Warning);
    assert!(sentence.starts_with("it is on and waits for an address"), "{sentence}");
    board.address = [192, 0, 2, 7];
    board.suites = vec![3, 0, 17];
    board.privileges = vec![0x04, 0x04, 0, 0, 0, 0, 0, 0];
    let (state, sentence) = lan(&mut board);
    assert_eq!(state, State::Warning, "suite 0 has no privilege");
    assert!(sentence.starts_with("it is on at 192.0.2.7: whoever"), "{sentence}");
    board.privileges = vec![0x44, 0x04, 0, 0, 0, 0, 0, 0];
    let (state, sentence) = lan(&mut board);
    assert_eq!(state, State::Failed);
    assert!(sentence.contains("cipher suite 0"), "{sentence}");
}

/// An entry of the log (32.1): of a sensor of this kind, by its event type and state.
fn entry(id: u16, time: u32, kind: u8, number: u8, event: u8, data: u8) -> [u8; 16] {
    let mut entry = [0; 16];
    entry[..2].copy_from_slice(&id.to_le_bytes());
    entry[2] = 0x02;
    entry[3..7].copy_from_slice(&time.to_le_bytes());
    entry[7..10].copy_from_slice(&[0x20, 0, 4]);
    entry[10..14].copy_from_slice(&[kind, number, event, data]);
    entry
}

#[test]
fn the_last_bad_event_is_told_and_is_news_for_a_day() {
    const NOW: u32 = 1_795_000_000;
    let mut board = Board::new(vec![compact(3, 0x08, 0x6f, "PS1 Status")]);
    let mut surveyor = BmcSurveyor::new("ipmi0");
    let mut log = |board: &mut Board| {
        let readings = survey(&mut surveyor, board);
        let log = readings
            .into_iter()
            .find(|reading| reading.name == "ipmi0 event log")
            .unwrap();
        lines(&[log]).remove(0)
    };
    board.clock = NOW;
    board.log = vec![
        entry(5, NOW - 9 * 86_400, 0x08, 3, 0x6f, 0x03),
        // It has power again, somebody's own kind of entry, and what says nothing of health.
        entry(6, NOW - 9 * 86_400, 0x08, 3, 0xef, 0x03),
        [0xc0; 16],
        entry(9, NOW - 3_600, 0x12, 9, 0x6f, 0x05),
    ];
    board.log[2][..2].copy_from_slice(&[7, 0]);
    assert_eq!(
        log(&mut board),
        "well ipmi0 event log: 4 : entries; the last bad one, 9 days ago: PS1 Status: the power supply gets no power"
    );
    assert_eq!(board.entries_read, 4);
    log(&mut board);
    assert_eq!(board.entries_read, 4, "nothing is new");

    // Only what is new is read, beside the last that was.
    board.log.push(entry(12, NOW - 120, 0x01, 77, 0x01, 0x59));
    let said = log(&mut board);
    assert!(said.starts_with("warning ipmi0 event log"), "{said}");
    assert!(
        said.contains("within a day: sensor 77: above its critical limit"),
        "{said}"
    );
    assert_eq!(board.entries_read, 6);
    board.clock += 86_400;
    assert!(log(&mut board).starts_with("well ipmi0 event log"));

    // An erased log begins anew; a clock that was never set makes no news.
    board.log = vec![entry(1, 77, 0x0c, 3, 0x6f, 0x01)];
    log(&mut board);
    let said = log(&mut board);
    assert!(
        said.contains("did not know: PS1 Status: a memory error could not be corrected"),
        "{said}"
    );
    assert!(said.starts_with("well"), "{said}");
}

#[test]
fn a_full_log_is_told() {
    let mut board = Board::new(vec![compact(1, 0x29, 0x6f, "Battery")]);
    board.log_flags = 0x80;
    let readings = survey(&mut BmcSurveyor::new("ipmi0"), &mut board);
    let log = readings
        .iter()
        .find(|reading| reading.name == "ipmi0 event log")
        .unwrap();
    assert_eq!((log.part, log.state), (Part::Controller, State::Warning));
}

#[test]
fn a_list_that_changes_meanwhile_is_begun_anew_but_not_for_ever() {
    let mut board = Board::new(vec![compact(1, 0x29, 0x6f, "Battery")]);
    board.readings.insert(1, vec![0, 0xc0, 0x02]);
    board.restless = 2;
    let readings = survey(&mut BmcSurveyor::new("ipmi0"), &mut board);
    assert_eq!(
        readings.last().unwrap().to_string(),
        "ipmi0 Battery: the battery has failed"
    );
    board.restless = usize::MAX;
    let readings = survey(&mut BmcSurveyor::new("ipmi0"), &mut board);
    assert!(readings.last().unwrap().sentence.contains("in one piece"));
}

#[test]
fn a_controller_that_does_not_answer_is_one_warning() {
    let silent = &mut |_: u8, _: u8, _: &[u8]| Err(io::ErrorKind::TimedOut.into());
    let readings = BmcSurveyor::new("ipmi0").survey(silent);
    assert_eq!(
        lines(&readings),
        ["warning ipmi0: it could not be read: it does not answer: timed out"]
    );
}

#[test]
fn answers_of_any_length_and_content_are_survived() {
    let mut seed = 1u64;
    for length in 0..40 {
        for _ in 0..200 {
            let answers = &mut |_: u8, _: u8, data: &[u8]| {
                seed = seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(data.len() as u64 | 1);
                let mut answer: Vec<u8> = (0..length).map(|place| (seed >> (place % 57)) as u8).collect();
                if let Some(code) = answer.first_mut() {
                    *code = 0;
                }
                Ok(answer)
            };
            let readings = BmcSurveyor::new("ipmi0").survey(answers);
            assert!(!readings.is_empty() && readings.len() < 2000);
        }
    }
}
