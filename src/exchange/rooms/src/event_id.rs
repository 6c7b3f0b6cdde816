//! From an event id to the event's position.
//!
//! In room versions 6–12 an event id is `$` and a SHA-256 hash in URL-safe base64. Its first 16 bytes are the key: two
//! events that share them would cost 2^64 hashes to find, and even then only the first one is found, for the full id is
//! compared.

use crate::event::EventRow;
use crate::log;
use crate::state::parse_position;
use crate::table::EVENT_BY_ID;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use lamchat_base::Position;
use lamchat_store::{Bytes, Read, ReadError, WriteTxn};

/// The position of the event with this id and its row, as far as clients see it; `None` if there is none.
pub fn find(read: &dyn Read, event_id: &str) -> Result<Option<(Position, Bytes)>, ReadError> {
    let Some(key) = key(event_id) else { return Ok(None) };
    let Some(bytes) = read.get(EVENT_BY_ID, &key)? else {
        return Ok(None);
    };
    let position = parse_position(&bytes)?;
    let Some(row) = log::event(read, position)? else {
        return Ok(None);
    };
    let is_same = EventRow::decode(&row)?.event_id == event_id;
    Ok(is_same.then_some((position, row)))
}

/// Enters a new event.
pub(crate) fn put(txn: &mut WriteTxn<'_>, event_id: &str, position: Position) {
    if let Some(key) = key(event_id) {
        txn.put(EVENT_BY_ID, &key, Bytes::copy_from_slice(&position.to_key()));
    }
}

fn key(event_id: &str) -> Option<[u8; 16]> {
    let mut hash = [0u8; 33];
    let length = URL_SAFE_NO_PAD
        .decode_slice(event_id.strip_prefix('$')?, &mut hash)
        .ok()?;
    if length != 32 {
        return None;
    }
    hash.first_chunk::<16>().copied()
}

#[cfg(test)]
mod tests {
    use super::key;

    #[test]
    fn only_hashes_are_keys() {
        assert_eq!(key("$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"), Some([0; 16]));
        for id in [
            "",
            "$",
            "$abc",
            "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA:x",
        ] {
            assert_eq!(key(id), None, "{id}");
        }
    }
}
