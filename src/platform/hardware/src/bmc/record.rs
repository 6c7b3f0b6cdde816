//! The list of sensors: the sensor data record repository (33), and its records (43).

use super::ask::{self, Bmc, BmcError, STORAGE};
use std::collections::BTreeSet;

/// "Reservation canceled": the list changed while it was read (5.2).
const RESERVATION_CANCELED: u8 = 0xc5;
/// How often a list is begun anew.
const ATTEMPTS: usize = 3;
/// The most records; a record number has 16 bits, real servers have some hundred.
const RECORDS_MAX: usize = 1024;
/// Bytes of a record that are asked for at once: every interface can carry these (33.12).
const CHUNK: usize = 16;
/// Bytes before what the length in the fifth counts.
const HEADER: usize = 5;
/// The last record's successor.
const LAST: u16 = 0xffff;

/// A sensor, as its record describes it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sensor {
    /// By which it is asked.
    pub number: u8,
    /// What it is called on the board.
    pub name: String,
    /// Table 42-3.
    pub kind: u8,
    /// What its states mean: 1 thresholds, 0x6f by its kind, others table 42-2.
    pub event_type: u8,
    /// How its raw value becomes a number; `None` when it has none.
    pub conversion: Option<Conversion>,
    /// Raw thresholds that are readable: upper critical, upper non-critical, lower critical, lower non-critical.
    pub thresholds: Thresholds,
}

/// Raw values, in the form of the sensor's readings.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Thresholds {
    pub upper_critical: Option<u8>,
    pub upper_warning: Option<u8>,
    pub lower_critical: Option<u8>,
    pub lower_warning: Option<u8>,
}

/// 36.3: y = L[(M·x + B·10^K1)·10^K2].
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Conversion {
    pub format: Format,
    pub m: i16,
    pub b: i16,
    pub b_exponent: i8,
    pub result_exponent: i8,
    /// Table 43-1, byte 24; 0 is linear.
    pub linearization: u8,
    /// Table 43-15.
    pub unit: u8,
    pub is_percentage: bool,
}

/// How a raw byte is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Unsigned,
    OnesComplement,
    TwosComplement,
}

impl Conversion {
    /// The number behind a raw value; `None` where the formula is the maker's own.
    pub(super) fn apply(&self, raw: u8) -> Option<f64> {
        let x = match self.format {
            Format::Unsigned => f64::from(raw),
            // A negative number in one's complement lacks one.
            Format::OnesComplement if raw & 0x80 != 0 => -f64::from(!raw),
            Format::OnesComplement => f64::from(raw),
            Format::TwosComplement => f64::from(raw.cast_signed()),
        };
        let offset = f64::from(self.b) * 10f64.powi(i32::from(self.b_exponent));
        let y = (f64::from(self.m) * x + offset) * 10f64.powi(i32::from(self.result_exponent));
        let y = match self.linearization {
            0 => y,
            1 => y.ln(),
            2 => y.log10(),
            3 => y.log2(),
            4 => y.exp(),
            5 => 10f64.powf(y),
            6 => y.exp2(),
            7 => y.recip(),
            8 => y.powi(2),
            9 => y.powi(3),
            10 => y.sqrt(),
            11 => y.cbrt(),
            _ => return None,
        };
        y.is_finite().then_some(y)
    }
}

/// "Get SDR Repository Info" (33.9): when it was added to and erased last.
pub(super) fn version(bmc: &mut Bmc<'_>) -> Result<[u8; 8], BmcError> {
    let answer = bmc.ask(STORAGE, 0x20, &[])?;
    answer
        .get(5..)
        .and_then(<[u8]>::first_chunk)
        .copied()
        .ok_or(BmcError::Short)
}

/// All sensors that can be read.
pub(super) fn list(bmc: &mut Bmc<'_>) -> Result<Vec<Sensor>, BmcError> {
    for _ in 0..ATTEMPTS {
        match read_all(bmc) {
            Err(BmcError::Refused(RESERVATION_CANCELED)) => {}
            result => return result,
        }
    }
    Err(BmcError::Restless)
}

fn read_all(bmc: &mut Bmc<'_>) -> Result<Vec<Sensor>, BmcError> {
    // "Reserve SDR Repository" (33.11).
    let reservation = *ask::first::<2>(&bmc.ask(STORAGE, 0x22, &[])?)?;
    let (mut sensors, mut seen, mut id) = (Vec::new(), BTreeSet::new(), 0);
    while id != LAST {
        if !seen.insert(id) || seen.len() > RECORDS_MAX {
            return Err(BmcError::Restless);
        }
        let (next, header) = part(bmc, reservation, id, 0, HEADER)?;
        let mut record = header;
        let length = HEADER + record.get(4).copied().map_or(0, usize::from);
        while record.len() < length {
            let (_, bytes) = part(bmc, reservation, id, record.len(), CHUNK.min(length - record.len()))?;
            record.extend(bytes);
        }
        sensors.extend(sensor(&record));
        id = next;
    }
    Ok(sensors)
}

/// "Get SDR" (33.12): the next record's number, and as many bytes as were asked for.
fn part(
    bmc: &mut Bmc<'_>,
    reservation: [u8; 2],
    id: u16,
    offset: usize,
    bytes: usize,
) -> Result<(u16, Vec<u8>), BmcError> {
    let byte = |number: usize| u8::try_from(number).map_err(|_| BmcError::Short);
    let [low, high] = id.to_le_bytes();
    let [reserved_low, reserved_high] = reservation;
    let data = [reserved_low, reserved_high, low, high, byte(offset)?, byte(bytes)?];
    let mut answer = bmc.ask(STORAGE, 0x23, &data)?;
    let next = u16::from_le_bytes(*ask::first::<2>(&answer)?);
    let read = answer.split_off(2);
    if read.len() < bytes {
        return Err(BmcError::Short);
    }
    Ok((next, read.into_iter().take(bytes).collect()))
}

/// A full (43.1) or compact (43.2) sensor record of the controller itself. Others are no sensors, or another's.
fn sensor(record: &[u8]) -> Option<Sensor> {
    // The specification counts from 1.
    let byte = |place: usize| record.get(place.checked_sub(1)?).copied();
    let name_at = match byte(4)? {
        1 => 48,
        2 => 32,
        _ => return None,
    };
    // The owner: an address, and the controller's own (0x20 as a slave address, 5.1).
    if byte(6)? != 0x20 {
        return None;
    }
    let is_full = name_at == 48;
    let readable = byte(19)?;
    let threshold = |mask: u8, place: usize| (is_full && readable & mask != 0).then(|| byte(place)).flatten();
    Some(Sensor {
        number: byte(8)?,
        name: name(record.get(name_at - 1..)?),
        kind: byte(13)?,
        event_type: byte(14)? & 0x7f,
        conversion: if is_full { conversion(record) } else { None },
        thresholds: Thresholds {
            lower_warning: threshold(0x01, 42),
            lower_critical: threshold(0x02, 41),
            upper_warning: threshold(0x08, 39),
            upper_critical: threshold(0x10, 38),
        },
    })
}

fn conversion(record: &[u8]) -> Option<Conversion> {
    let byte = |place: usize| record.get(place - 1).copied();
    let units = byte(21)?;
    let format = match units >> 6 {
        0 => Format::Unsigned,
        1 => Format::OnesComplement,
        2 => Format::TwosComplement,
        // "Does not return analog reading."
        _ => return None,
    };
    let exponents = byte(30)?;
    Some(Conversion {
        format,
        m: ten_bits(byte(25)?, byte(26)?),
        b: ten_bits(byte(27)?, byte(28)?),
        b_exponent: four_bits(exponents & 0x0f),
        result_exponent: four_bits(exponents >> 4),
        linearization: byte(24)? & 0x7f,
        unit: byte(22)?,
        is_percentage: units & 1 != 0,
    })
}

/// Two's complement of ten bits: eight, and two in the highest of the next byte.
fn ten_bits(low: u8, high: u8) -> i16 {
    (i16::from(high >> 6) << 14 | i16::from(low) << 6) >> 6
}

/// Two's complement of four bits.
fn four_bits(bits: u8) -> i8 {
    (bits << 4).cast_signed() >> 4
}

/// A type/length byte, and the name (43.15). Packed forms are rare on servers; they become their sensor's number.
fn name(bytes: &[u8]) -> String {
    let Some((head, text)) = bytes.split_first() else {
        return String::new();
    };
    let text = text.get(..usize::from(head & 0x1f)).unwrap_or(text);
    if head >> 6 != 3 {
        return String::new();
    }
    let text: String = text
        .iter()
        .map(|byte| char::from(*byte))
        .filter(|c| !c.is_control())
        .collect();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Conversion, Format, four_bits, ten_bits};

    #[test]
    fn numbers_of_few_bits_have_signs() {
        assert_eq!(
            [
                ten_bits(0x01, 0),
                ten_bits(0xff, 0xc0),
                ten_bits(0, 0x80),
                ten_bits(0xff, 0x40)
            ],
            [1, -1, -512, 511]
        );
        assert_eq!(
            [four_bits(0), four_bits(7), four_bits(8), four_bits(15)],
            [0, 7, -8, -1]
        );
    }

    #[test]
    fn raw_values_become_numbers() {
        let linear = Conversion {
            format: Format::Unsigned,
            m: 2,
            b: 5,
            b_exponent: 1,
            result_exponent: -1,
            linearization: 0,
            unit: 1,
            is_percentage: false,
        };
        // (2·100 + 5·10)·0.1
        assert_eq!(linear.apply(100), Some(25.0));
        let signed = |format| Conversion {
            format,
            m: 1,
            b: 0,
            result_exponent: 0,
            ..linear
        };
        assert_eq!(signed(Format::TwosComplement).apply(0xff), Some(-1.0));
        assert_eq!(signed(Format::OnesComplement).apply(0xfe), Some(-1.0));
        assert_eq!(signed(Format::OnesComplement).apply(0x7f), Some(127.0));
        let of = |linearization| Conversion {
            linearization,
            ..signed(Format::Unsigned)
        };
        assert_eq!(
            [of(7).apply(4), of(8).apply(4), of(10).apply(4)],
            [Some(0.25), Some(16.0), Some(2.0)]
        );
        assert_eq!([of(1).apply(0), of(7).apply(0), of(0x70).apply(4)], [None; 3]);
    }
}
