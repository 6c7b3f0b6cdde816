//! The row of one event, and its splicing into the format that clients see.
//!
//! A row keeps the bytes that were hashed and signed: `content` and what else the PDU holds (`rest`) go out exactly as they
//! came in. Nothing here parses JSON; client format is made by writing the parts one after the other.
//!
//! Layout, numbers big-endian:
//!
//! | at | bytes | part |
//! | --- | --- | --- |
//! | 0 | 1 | version of the layout, 1 |
//! | 1 | 1 | flags, see [`Flags`] |
//! | 2 | 4 | room |
//! | 6 | 8 | state group before the event |
//! | 14 | 4 | number of the key that encrypts the content, 0: none |
//! | 18 | 8 | `origin_server_ts` |
//! | 26 | 8 | depth |
//! | 34 | 8 | position of the state event that this one replaces, 0: none |
//! | 42 | 8 | position of the redaction, 0: none |
//! | 50 | 4 | device that sent it, 0: unknown or none |
//! | 54 | 12 | lengths (2 bytes each): event id, sender, type, state key, redacts, transaction id |
//! | 66 | 4 | length of the content |
//! | 70 | | event id, sender, type, state key, redacts, transaction id, content, rest |
//!
//! All but `rest` is the row's head: what clients see is made of it alone.

use crate::room::Room;
use lamchat_base::{DeviceNum, Position, RoomNum};
use lamchat_store::{Bytes, ReadError};

/// The version of the layout that [`EventRow::encode`] writes.
const LAYOUT: u8 = 1;
/// Bytes before the first length.
const LENGTHS_AT: usize = 54;
/// Bytes before the first string.
const HEADER: usize = 70;

/// What is known about an event besides its own words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u8);

impl Flags {
    /// Known only as an ancestor of others; not in the timeline.
    pub const OUTLIER: Self = Self(1);
    /// Failed authorization by its own auth events; never shown, never state.
    pub const REJECTED: Self = Self(2);
    /// Failed authorization by the current state; never shown.
    pub const SOFT_FAILED: Self = Self(4);
    /// The content is what redaction left.
    pub const REDACTED: Self = Self(8);
    /// There is a state key (it may be empty).
    const STATE: Self = Self(16);
    /// There is a `redacts`.
    const REDACTS: Self = Self(32);
    /// There is a device and a transaction id.
    const TRANSACTION: Self = Self(64);

    /// Whether all flags of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// With the flags of `other` set as well.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One event as it is stored, borrowed from the row's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventRow<'a> {
    /// What is known about it.
    pub flags: Flags,
    /// The room.
    pub room: RoomNum,
    /// The state group before the event; 0 is the empty state.
    pub state_group: u64,
    /// The key that encrypts the content; 0: none.
    pub content_key_id: u32,
    /// Milliseconds since the Unix epoch, as the sender's server says.
    pub origin_server_ts: u64,
    /// The event's depth in the graph.
    pub depth: u64,
    /// The state event that this state event replaced.
    pub replaces: Option<Position>,
    /// The redaction that redacted it.
    pub redacted_because: Option<Position>,
    /// The event id.
    pub event_id: &'a str,
    /// The sender's user id.
    pub sender: &'a str,
    /// The type, such as `m.room.message`.
    pub event_type: &'a str,
    /// The state key, of state events only.
    pub state_key: Option<&'a str>,
    /// What a redaction redacts, wherever the room version puts it.
    pub redacts: Option<&'a str>,
    /// The sending device and its transaction id, of events sent through this exchange.
    pub transaction: Option<(DeviceNum, &'a str)>,
    /// The content: a JSON object.
    pub content: &'a str,
    /// A JSON object with the keys of the PDU that have no field here: `auth_events`, `prev_events`, `hashes`, `signatures`, …
    /// No client sees it, so reading a row does not check it. Empty if only the head of the row was read.
    pub rest: &'a [u8],
}

/// Why an event cannot be made into a row: a part is longer than its length can say. (The size limits of events exclude it.)
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a part of the event is too long to be stored")]
pub struct TooLong;

impl<'a> EventRow<'a> {
    /// The row's bytes.
    pub fn encode(&self) -> Result<Bytes, TooLong> {
        let mut flags = Flags(self.flags.0 & 0x0F);
        if self.state_key.is_some() {
            flags = flags.with(Flags::STATE);
        }
        if self.redacts.is_some() {
            flags = flags.with(Flags::REDACTS);
        }
        if self.transaction.is_some() {
            flags = flags.with(Flags::TRANSACTION);
        }
        let (device, transaction_id) = self.transaction.map_or((0, ""), |(device, id)| (device.0, id));
        let short = [
            self.event_id,
            self.sender,
            self.event_type,
            self.state_key.unwrap_or(""),
            self.redacts.unwrap_or(""),
            transaction_id,
        ];
        let mut bytes = Vec::with_capacity(
            HEADER + short.iter().map(|s| s.len()).sum::<usize>() + self.content.len() + self.rest.len(),
        );
        bytes.extend_from_slice(&[LAYOUT, flags.0]);
        bytes.extend_from_slice(&self.room.0.to_be_bytes());
        bytes.extend_from_slice(&self.state_group.to_be_bytes());
        bytes.extend_from_slice(&self.content_key_id.to_be_bytes());
        bytes.extend_from_slice(&self.origin_server_ts.to_be_bytes());
        bytes.extend_from_slice(&self.depth.to_be_bytes());
        bytes.extend_from_slice(&self.replaces.map_or(0, |p| p.0).to_be_bytes());
        bytes.extend_from_slice(&self.redacted_because.map_or(0, |p| p.0).to_be_bytes());
        bytes.extend_from_slice(&device.to_be_bytes());
        for part in short {
            bytes.extend_from_slice(&u16::try_from(part.len()).map_err(|_| TooLong)?.to_be_bytes());
        }
        bytes.extend_from_slice(&u32::try_from(self.content.len()).map_err(|_| TooLong)?.to_be_bytes());
        for part in short {
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes.extend_from_slice(self.content.as_bytes());
        bytes.extend_from_slice(self.rest);
        Ok(bytes.into())
    }

    /// Reads a row of the table `rooms.event`.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, ReadError> {
        Self::parse(bytes).ok_or_else(|| ReadError::Malformed {
            table: "rooms.event",
            detail: format!("not a row of layout {LAYOUT}"),
        })
    }

    fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut at = Cursor(bytes);
        if at.array::<1>()? != [LAYOUT] {
            return None;
        }
        let flags = Flags(u8::from_be_bytes(at.array()?));
        let room = RoomNum(u32::from_be_bytes(at.array()?));
        let state_group = u64::from_be_bytes(at.array()?);
        let content_key_id = u32::from_be_bytes(at.array()?);
        let origin_server_ts = u64::from_be_bytes(at.array()?);
        let depth = u64::from_be_bytes(at.array()?);
        let replaces = position(u64::from_be_bytes(at.array()?));
        let redacted_because = position(u64::from_be_bytes(at.array()?));
        let device = DeviceNum(u32::from_be_bytes(at.array()?));
        let mut lengths = [0usize; 6];
        for length in &mut lengths {
            *length = usize::from(u16::from_be_bytes(at.array()?));
        }
        let content_length = usize::try_from(u32::from_be_bytes(at.array()?)).ok()?;
        let text_length = text_length(lengths, content_length)?;
        let (text, rest) = at.0.split_at_checked(text_length)?;
        // All text is checked at once: that takes a third of the time of checking it part by part.
        let mut text = Text(std::str::from_utf8(text).ok()?);
        let [event_id, sender, event_type, state_key, redacts, transaction_id] = lengths;
        let event_id = text.take(event_id)?;
        let sender = text.take(sender)?;
        let event_type = text.take(event_type)?;
        let state_key = text.take(state_key)?;
        let redacts = text.take(redacts)?;
        let transaction_id = text.take(transaction_id)?;
        let content = text.0;
        Some(Self {
            flags: Flags(flags.0 & 0x0F),
            room,
            state_group,
            content_key_id,
            origin_server_ts,
            depth,
            replaces,
            redacted_because,
            event_id,
            sender,
            event_type,
            state_key: flags.contains(Flags::STATE).then_some(state_key),
            redacts: flags.contains(Flags::REDACTS).then_some(redacts),
            transaction: flags.contains(Flags::TRANSACTION).then_some((device, transaction_id)),
            content,
            rest,
        })
    }

    /// Whether clients may see it at all.
    pub fn is_visible(&self) -> bool {
        self.flags.0 & (Flags::OUTLIER.0 | Flags::REJECTED.0 | Flags::SOFT_FAILED.0) == 0
    }

    /// Appends the event in client format ("ClientEvent", Matrix 1.16 section 8.2), or without `room_id` as /sync wants it.
    pub fn write_client(&self, out: &mut Vec<u8>, room_id: Option<&str>, unsigned: &Unsigned<'_>) {
        out.extend_from_slice(b"{\"content\":");
        self.write_content(out);
        out.extend_from_slice(b",\"event_id\":");
        write_string(out, self.event_id);
        out.extend_from_slice(b",\"origin_server_ts\":");
        write_number(out, self.origin_server_ts);
        // "redacts: Required for, and only present in, redaction events" of room versions before 11; "for backwards
        // compatibility with older clients, servers SHOULD add a redacts property to the top level" of newer ones.
        if let Some(redacts) = self.redacts {
            out.extend_from_slice(b",\"redacts\":");
            write_string(out, redacts);
        }
        if let Some(room_id) = room_id {
            out.extend_from_slice(b",\"room_id\":");
            write_string(out, room_id);
        }
        out.extend_from_slice(b",\"sender\":");
        write_string(out, self.sender);
        if let Some(state_key) = self.state_key {
            out.extend_from_slice(b",\"state_key\":");
            write_string(out, state_key);
        }
        out.extend_from_slice(b",\"type\":");
        write_string(out, self.event_type);
        unsigned.write(out);
        out.push(b'}');
    }

    /// Appends the event as other servers get it ("PDU", Matrix 1.16, room versions), with its id and `unsigned`, which no hash
    /// and no signature covers, for a client that asked for it so.
    pub fn write_pdu(&self, out: &mut Vec<u8>, room: &Room, unsigned: &Unsigned<'_>) {
        out.extend_from_slice(b"{\"content\":");
        out.extend_from_slice(self.content.as_bytes());
        out.extend_from_slice(b",\"depth\":");
        write_number(out, self.depth);
        out.extend_from_slice(b",\"event_id\":");
        write_string(out, self.event_id);
        out.extend_from_slice(b",\"origin_server_ts\":");
        write_number(out, self.origin_server_ts);
        if let Some(redacts) = self.redacts.filter(|_| !room.version.has_redacts_in_content()) {
            out.extend_from_slice(b",\"redacts\":");
            write_string(out, redacts);
        }
        // "The room_id field is not present in m.room.create events" since room version 12.
        if !(room.version.has_hashed_room_id() && self.event_type == "m.room.create" && self.state_key == Some("")) {
            out.extend_from_slice(b",\"room_id\":");
            write_string(out, room.id.as_str());
        }
        out.extend_from_slice(b",\"sender\":");
        write_string(out, self.sender);
        if let Some(state_key) = self.state_key {
            out.extend_from_slice(b",\"state_key\":");
            write_string(out, state_key);
        }
        out.extend_from_slice(b",\"type\":");
        write_string(out, self.event_type);
        unsigned.write(out);
        let rest = self.rest.trim_ascii();
        let rest = rest.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}"));
        if let Some(rest) = rest.filter(|rest| !rest.trim_ascii().is_empty()) {
            out.push(b',');
            out.extend_from_slice(rest);
        }
        out.push(b'}');
    }

    /// Appends the event as stripped state: content, sender, state key and type only (Matrix 1.16 section 11.4.1).
    pub fn write_stripped(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"content\":");
        out.extend_from_slice(self.content.as_bytes());
        out.extend_from_slice(b",\"sender\":");
        write_string(out, self.sender);
        out.extend_from_slice(b",\"state_key\":");
        write_string(out, self.state_key.unwrap_or(""));
        out.extend_from_slice(b",\"type\":");
        write_string(out, self.event_type);
        out.push(b'}');
    }

    fn write_content(&self, out: &mut Vec<u8>) {
        // "Similarly, servers SHOULD add a redacts property to the content of m.room.redaction events in older room
        // versions" (section 11.35): spliced in unless the content already speaks of it.
        match self.redacts {
            Some(redacts) if !self.content.contains("\"redacts\"") => {
                out.extend_from_slice(b"{\"redacts\":");
                write_string(out, redacts);
                let inner = self.content.trim_start().strip_prefix('{').unwrap_or("}");
                if !inner.trim_start().starts_with('}') {
                    out.push(b',');
                }
                out.extend_from_slice(inner.as_bytes());
            }
            _ => out.extend_from_slice(self.content.as_bytes()),
        }
    }
}

/// What the exchange adds to an event for one reader: the members of `unsigned`. What is `None` is left out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unsigned<'a> {
    /// Milliseconds since the event was sent.
    pub age: Option<u64>,
    /// The transaction id, for the device that sent the event only.
    pub transaction_id: Option<&'a str>,
    /// Of a state event: event id, sender and content (JSON) of the one that it replaced.
    pub replaced: Option<(&'a str, &'a str, &'a str)>,
    /// The redaction in client format (JSON).
    pub redacted_because: Option<&'a [u8]>,
    /// The bundled aggregations: the JSON object under `m.relations`.
    pub relations: Option<&'a [u8]>,
    /// The reader's membership at the time of the event.
    pub membership: Option<&'a str>,
}

impl Unsigned<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let open = |out: &mut Vec<u8>, key: &[u8]| {
            out.extend_from_slice(if out.len() == start {
                b",\"unsigned\":{\""
            } else {
                b",\""
            });
            out.extend_from_slice(key);
            out.extend_from_slice(b"\":");
        };
        if let Some(age) = self.age {
            open(out, b"age");
            write_number(out, age);
        }
        if let Some(relations) = self.relations {
            open(out, b"m.relations");
            out.extend_from_slice(relations);
        }
        if let Some(membership) = self.membership {
            open(out, b"membership");
            write_string(out, membership);
        }
        if let Some((event_id, sender, content)) = self.replaced {
            open(out, b"prev_content");
            out.extend_from_slice(content.as_bytes());
            open(out, b"prev_sender");
            write_string(out, sender);
            open(out, b"replaces_state");
            write_string(out, event_id);
        }
        if let Some(redaction) = self.redacted_because {
            open(out, b"redacted_because");
            out.extend_from_slice(redaction);
        }
        if let Some(transaction_id) = self.transaction_id {
            open(out, b"transaction_id");
            write_string(out, transaction_id);
        }
        if out.len() != start {
            out.push(b'}');
        }
    }
}

/// Appends `text` as a JSON string.
pub fn write_string(out: &mut Vec<u8>, text: &str) {
    let is_special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text.as_bytes();
    // Nearly every string is plain. Looking at all of its bytes without stopping lets the compiler look at many at once.
    let has_special = rest.iter().fold(false, |found, byte| found | is_special(byte));
    while has_special && let Some(at) = rest.iter().position(is_special) {
        let (plain, special) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((byte, tail)) = special.split_first() else {
            break;
        };
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            byte => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
        rest = tail;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Appends `number` in decimal.
pub fn write_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0u8; 20];
    let mut length = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
        length += 1;
        if number == 0 {
            break;
        }
    }
    out.extend(digits.iter().skip(digits.len() - length));
}

/// How many bytes of a row are its head. All of them, if it is damaged: then reading it tells so.
pub(crate) fn head_length(row: &[u8]) -> usize {
    let length = || {
        let mut at = Cursor(row.get(LENGTHS_AT..)?);
        let mut lengths = [0usize; 6];
        for length in &mut lengths {
            *length = usize::from(u16::from_be_bytes(at.array()?));
        }
        let content_length = usize::try_from(u32::from_be_bytes(at.array()?)).ok()?;
        text_length(lengths, content_length)?.checked_add(HEADER)
    };
    length().unwrap_or(row.len())
}

fn text_length(lengths: [usize; 6], content_length: usize) -> Option<usize> {
    lengths
        .iter()
        .try_fold(content_length, |sum, length| sum.checked_add(*length))
}

fn position(number: u64) -> Option<Position> {
    (number != 0).then_some(Position(number))
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, tail) = self.0.split_first_chunk::<N>()?;
        self.0 = tail;
        Some(*head)
    }
}

struct Text<'a>(&'a str);

impl<'a> Text<'a> {
    fn take(&mut self, length: usize) -> Option<&'a str> {
        let (head, tail) = self.0.split_at_checked(length)?;
        self.0 = tail;
        Some(head)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn row() -> EventRow<'static> {
        EventRow {
            flags: Flags::REDACTED,
            room: RoomNum(7),
            state_group: 12,
            content_key_id: 0,
            origin_server_ts: 1_700_000_000_123,
            depth: 5,
            replaces: Some(Position(3)),
            redacted_because: None,
            event_id: "$abc",
            sender: "@a:b",
            event_type: "m.room.\"name\"\n\u{1}",
            state_key: Some(""),
            redacts: None,
            transaction: Some((DeviceNum(4), "m1")),
            content: r#"{"name":"x"}"#,
            rest: br#"{"depth":5}"#,
        }
    }

    #[test]
    fn a_row_comes_back() {
        let row = row();
        assert_eq!(EventRow::decode(&row.encode().unwrap()).unwrap(), row);
        let bare = EventRow {
            state_key: None,
            transaction: None,
            redacts: Some("$x"),
            replaces: None,
            ..row
        };
        assert_eq!(EventRow::decode(&bare.encode().unwrap()).unwrap(), bare);
    }

    #[test]
    fn the_head_is_all_but_the_rest() {
        let bytes = row().encode().unwrap();
        let head = bytes.get(..head_length(&bytes)).unwrap();
        assert_eq!(EventRow::decode(head).unwrap(), EventRow { rest: b"", ..row() });
        assert_eq!(head_length(head), head.len());
        for end in 0..HEADER {
            assert_eq!(head_length(bytes.get(..end).unwrap()), end);
        }
    }

    #[test]
    fn every_prefix_of_the_strings_is_refused() {
        let bytes = row().encode().unwrap();
        for end in 0..bytes.len() - row().rest.len() {
            assert!(EventRow::decode(bytes.get(..end).unwrap()).is_err(), "{end}");
        }
    }

    #[test]
    fn client_format_is_json_with_all_members() {
        let mut out = Vec::new();
        let unsigned = Unsigned {
            age: Some(5),
            transaction_id: Some("m1"),
            replaced: Some(("$old", "@c:d", "{}")),
            redacted_because: Some(b"{}"),
            relations: Some(b"{}"),
            membership: Some("join"),
        };
        row().write_client(&mut out, Some("!r:b"), &unsigned);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            value,
            serde_json::json!({"content": {"name": "x"}, "event_id": "$abc", "origin_server_ts": 1_700_000_000_123u64, "room_id": "!r:b",
                "sender": "@a:b", "state_key": "", "type": "m.room.\"name\"\n\u{1}", "unsigned": {"age": 5, "transaction_id": "m1",
                "prev_content": {}, "prev_sender": "@c:d", "replaces_state": "$old", "redacted_because": {}, "m.relations": {},
                "membership": "join"}})
        );
    }

    #[test]
    fn redacts_stands_in_both_places() {
        for content in ["{}", r#"{"reason":"y"}"#, r#"{"redacts":"$x"}"#] {
            let mut out = Vec::new();
            EventRow {
                state_key: None,
                redacts: Some("$x"),
                content,
                ..row()
            }
            .write_client(&mut out, None, &Unsigned::default());
            let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(value.pointer("/redacts").unwrap(), "$x");
            assert_eq!(value.pointer("/content/redacts").unwrap(), "$x");
            assert!(value.get("unsigned").is_none());
        }
    }

    #[test]
    fn numbers() {
        for number in [0, 1, 9, 10, 12_345, u64::MAX] {
            let mut out = Vec::new();
            write_number(&mut out, number);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }
}
