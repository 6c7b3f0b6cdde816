//! Where a human interface device keeps what it tells: its report descriptor (Device Class Definition for HID 1.11, section
//! 6.2.2), read as far as single values go. Bounded: a descriptor has 4 KiB, and a field for each bit of a report at most.

use std::collections::BTreeMap;
use std::ops::Range;

/// The most fields of a descriptor.
const FIELDS_MAX: usize = 1024;
/// The most fields that one item makes.
const COUNT_MAX: u32 = 256;
/// The longest report, in bits.
const REPORT_BITS_MAX: u32 = 8 * 1024;
/// How deep collections and saved states may lie in each other.
const DEPTH_MAX: usize = 16;
/// The usage "UPS" of the page "Power Device".
const UPS: u32 = 0x0084_0004;
/// The collection "PowerSummary", which stands for all of the supply.
const POWER_SUMMARY: u32 = 0x0084_0024;

/// Which of a device's reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReportKind {
    /// It answers with this when it is asked.
    Feature,
    /// It sends this by itself as well.
    Input,
}

/// One value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// The report that it is in.
    pub kind: ReportKind,
    /// That report's number; 0: the device has but one.
    pub report: u8,
    /// Where in the report, behind the number, in bits.
    bits: Range<u32>,
    /// What it is: the usage page in the upper half.
    pub usage: u32,
    /// Whether it is of the supply as a whole.
    pub is_summary: bool,
    /// The smallest and the largest value that the device gives.
    pub logical: (i64, i64),
    /// Its unit (section 6.2.2.7): 0 without one.
    pub unit: u32,
    /// Its unit's power of ten.
    pub exponent: i8,
}

impl Field {
    /// The value in a report's bytes; `None`: the report is too short.
    pub fn value(&self, report: &[u8]) -> Option<i64> {
        let mut value: i64 = 0;
        for (place, bit) in self.bits.clone().enumerate() {
            let byte = report.get(usize::try_from(bit / 8).ok()?)?;
            value |= i64::from(byte >> (bit % 8) & 1) << place;
        }
        let length = self.bits.end - self.bits.start;
        let is_negative = self.logical.0 < 0 && length > 0 && value >> (length - 1) & 1 == 1;
        Some(if is_negative { value - (1 << length) } else { value })
    }
}

/// What is known of a device by its descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Whether it is an uninterruptible power supply.
    pub is_ups: bool,
    /// Its values, in the order of the descriptor.
    fields: Vec<Field>,
    /// How long each report is, in bits.
    lengths: BTreeMap<(ReportKind, u8), u32>,
}

impl Layout {
    /// Bytes of a report, without its number.
    pub fn report_bytes(&self, kind: ReportKind, report: u8) -> usize {
        self.lengths
            .get(&(kind, report))
            .map_or(0, |bits| bits.div_ceil(8) as usize)
    }

    /// The field of a usage: of the supply as a whole rather than of a part of it, and one that can be asked for rather than
    /// one that is sent.
    pub fn find(&self, usage: u32) -> Option<&Field> {
        let of = self.fields.iter().filter(|field| field.usage == usage);
        of.min_by_key(|field| (!field.is_summary, field.kind))
    }
}

/// Global items: they stay until they change.
#[derive(Debug, Clone, Copy, Default)]
struct Global {
    page: u32,
    logical: (i64, i64),
    unit: u32,
    exponent: i8,
    size: u32,
    count: u32,
    report: u8,
}

/// Reads a descriptor; `None`: it is malformed, or larger than any that makes sense.
pub fn parse(descriptor: &[u8]) -> Option<Layout> {
    let mut parser = Parser::default();
    let mut rest = descriptor;
    while let Some((prefix, behind)) = rest.split_first() {
        if *prefix == 0xfe {
            // A long item; none are defined.
            let (length, _) = behind.split_first()?;
            rest = behind.get(2 + usize::from(*length)..)?;
            continue;
        }
        let length = [0, 1, 2, 4].get(usize::from(prefix & 3)).copied()?;
        let (data, behind) = behind.split_at_checked(length)?;
        rest = behind;
        parser.item(prefix >> 2 & 3, prefix >> 4, data)?;
    }
    Some(Layout {
        is_ups: parser.is_ups,
        fields: parser.fields,
        lengths: parser.lengths,
    })
}

#[derive(Default)]
struct Parser {
    global: Global,
    saved: Vec<Global>,
    usages: Vec<u32>,
    usage_min: u32,
    collections: Vec<u32>,
    lengths: BTreeMap<(ReportKind, u8), u32>,
    is_ups: bool,
    fields: Vec<Field>,
}

impl Parser {
    fn item(&mut self, kind: u8, tag: u8, data: &[u8]) -> Option<()> {
        let mut bytes = [0; 4];
        bytes.get_mut(..data.len())?.copy_from_slice(data);
        let number = u32::from_le_bytes(bytes);
        let signed = match data {
            [byte] => i64::from(i8::from_le_bytes([*byte])),
            [one, two] => i64::from(i16::from_le_bytes([*one, *two])),
            _ => i64::from(i32::from_le_bytes(bytes)),
        };
        match (kind, tag) {
            (0, _) => {
                self.main(tag, number)?;
                self.usages.clear();
            }
            (1, 0x0) => self.global.page = number,
            (1, 0x1) => self.global.logical.0 = signed,
            // Many devices mean 255 by FFh where the smallest value is not negative.
            (1, 0x2) if self.global.logical.0 >= 0 => self.global.logical.1 = i64::from(number),
            (1, 0x2) => self.global.logical.1 = signed,
            // Four bits, of which the highest is the sign.
            (1, 0x5) => {
                self.global.exponent =
                    i8::try_from((number & 0xf) as i32 - if number & 8 == 0 { 0 } else { 16 }).ok()?
            }
            (1, 0x6) => self.global.unit = number,
            (1, 0x7) => self.global.size = number,
            (1, 0x8) => self.global.report = u8::try_from(number).ok()?,
            (1, 0x9) => self.global.count = number,
            (1, 0xa) if self.saved.len() < DEPTH_MAX => self.saved.push(self.global),
            (1, 0xa) => return None,
            (1, 0xb) => self.global = self.saved.pop()?,
            (2, 0x0) if self.usages.len() < COUNT_MAX as usize => self.usages.push(self.usage(number, data.len())),
            (2, 0x1) => self.usage_min = self.usage(number, data.len()),
            (2, 0x2) => {
                let all = self.usage_min..=self.usage(number, data.len());
                let room = (COUNT_MAX as usize).saturating_sub(self.usages.len());
                self.usages.extend(all.take(room));
            }
            _ => {}
        }
        Some(())
    }

    /// Four bytes have their own page (section 6.2.2.8).
    fn usage(&self, number: u32, length: usize) -> u32 {
        if length == 4 {
            number
        } else {
            self.global.page << 16 | number
        }
    }

    fn main(&mut self, tag: u8, flags: u32) -> Option<()> {
        match tag {
            0x8 => self.values(ReportKind::Input, flags),
            0xb => self.values(ReportKind::Feature, flags),
            0xa => {
                let usage = self.usages.first().copied().unwrap_or_default();
                self.is_ups |= usage == UPS;
                self.collections.push(usage);
                (self.collections.len() <= DEPTH_MAX).then_some(())
            }
            0xc => self.collections.pop().map(drop),
            _ => Some(()),
        }
    }

    /// An input or feature item: so many values of so many bits.
    fn values(&mut self, kind: ReportKind, flags: u32) -> Option<()> {
        let Global {
            size, count, report, ..
        } = self.global;
        let length = self.lengths.entry((kind, report)).or_default();
        let start = *length;
        *length = size.checked_mul(count).and_then(|bits| bits.checked_add(start))?;
        if *length > REPORT_BITS_MAX {
            return None;
        }
        // What has no usage fills up to a byte. A list of usages that are on is none of the values that are looked for.
        let is_variable = flags & 2 != 0;
        if !is_variable || size == 0 || size > 32 {
            return Some(());
        }
        for (place, bit) in (0..count.min(COUNT_MAX)).zip((start..).step_by(size as usize)) {
            // The last usage goes for all that are left.
            let usage = self.usages.get(place as usize).or(self.usages.last());
            let Some(usage) = usage.copied() else { break };
            if self.fields.len() == FIELDS_MAX {
                return None;
            }
            self.fields.push(Field {
                kind,
                report,
                bits: bit..bit + size,
                usage,
                is_summary: self.collections.contains(&POWER_SUMMARY),
                logical: self.global.logical,
                unit: self.global.unit,
                exponent: self.global.exponent,
            });
        }
        Some(())
    }
}
