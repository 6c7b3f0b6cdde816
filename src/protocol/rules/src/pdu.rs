//! Makes events: content hash, signature, event id (server-server API, "Signing events").
//!
//! A PDU is written piece by piece in canonical form. The bytes that are signed are the same as those whose hash is the
//! event id (redacted, with `hashes`, without `signatures`), so an event costs two hashes and one signature.

use crate::canonical::{self, Object};
use crate::redact::redacted;
use crate::sign::{SigningKey, sha256};
use crate::version::Version;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use lamchat_base::limits::{EVENT_BYTES_MAX, ID_BYTES_MAX};
use std::fmt::Write;

/// An event to be made. Identifiers are already checked to be some.
#[derive(Debug, Clone, Copy)]
pub struct Draft<'a> {
    /// The room's version.
    pub version: &'static Version,
    /// The room id; of a create event since version 12 `None`.
    pub room_id: Option<&'a str>,
    /// The sender.
    pub sender: &'a str,
    /// The type.
    pub event_type: &'a str,
    /// The state key, of state events.
    pub state_key: Option<&'a str>,
    /// The content.
    pub content: &'a Object,
    /// What a redaction redacts, in room versions that want it beside the content (before 11).
    pub redacts: Option<&'a str>,
    /// The events before it, at most 20.
    pub prev_events: &'a [String],
    /// The events that authorize it, at most 10.
    pub auth_events: &'a [String],
    /// One more than the greatest depth of the events before it.
    pub depth: u64,
    /// Milliseconds since the Unix epoch.
    pub origin_server_ts: u64,
}

/// A finished event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pdu {
    /// Its id.
    pub event_id: String,
    /// Its content in canonical form.
    pub content: String,
    /// A JSON object with `auth_events`, `hashes`, `prev_events` and `signatures`, in canonical form.
    pub rest: String,
}

/// Why an event cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Larger than 65,535 bytes, or an identifier in it larger than 255.
    #[error("the event is too large: {0}")]
    TooLarge(&'static str),
}

/// The greatest depth that canonical JSON can write ("depth ... 2^63 - 1" is capped by its integers).
const DEPTH_MAX: u64 = (1 << 53) - 1;

/// Hashes and signs an event as `server_name`.
pub fn build(draft: &Draft<'_>, server_name: &str, key: &SigningKey) -> Result<Pdu, BuildError> {
    // "sender, room_id, type, state_key [...] MUST NOT exceed 255 bytes."
    let ids = [
        ("room_id", draft.room_id),
        ("sender", Some(draft.sender)),
        ("type", Some(draft.event_type)),
        ("state_key", draft.state_key),
    ];
    for (name, id) in ids {
        if id.is_some_and(|id| id.len() > ID_BYTES_MAX) {
            return Err(BuildError::TooLarge(name));
        }
    }
    let content = canonical::to_string(draft.content);
    if content.len() > EVENT_BYTES_MAX {
        return Err(BuildError::TooLarge("content"));
    }
    let frame = Frame::new(draft);
    let hash = STANDARD_NO_PAD.encode(sha256(frame.write(&content, None, draft.redacts).as_bytes()));
    let signed = frame.write(
        &redacted(draft.version, draft.event_type, draft.content),
        Some(&hash),
        None,
    );
    let signature = key.sign_base64(signed.as_bytes());
    let event_id = format!("${}", URL_SAFE_NO_PAD.encode(sha256(signed.as_bytes())));
    let signatures = format!("{{{}:{{{}:\"{signature}\"}}}}", quoted(server_name), quoted(key.id()));

    // "The complete event MUST NOT be larger than 65536 bytes"; some peers stop at 65,535, so this exchange does.
    let full = frame.write(&content, Some(&hash), draft.redacts).len() + ",\"signatures\":".len() + signatures.len();
    if full >= EVENT_BYTES_MAX {
        return Err(BuildError::TooLarge("event"));
    }
    let rest = format!(
        "{{\"auth_events\":{},\"hashes\":{{\"sha256\":\"{hash}\"}},\"prev_events\":{},\"signatures\":{signatures}}}",
        frame.auth_events, frame.prev_events
    );
    Ok(Pdu {
        event_id,
        content,
        rest,
    })
}

/// The parts of a PDU around content, hashes and signatures, already as JSON.
struct Frame {
    auth_events: String,
    prev_events: String,
    depth: u64,
    origin_server_ts: u64,
    /// `,"room_id":…,"sender":…`
    room_and_sender: String,
    /// `,"state_key":…,"type":…}`
    key_and_type: String,
}

impl Frame {
    fn new(draft: &Draft<'_>) -> Self {
        let mut room_and_sender = String::with_capacity(128);
        if let Some(room_id) = draft.room_id {
            room_and_sender.push_str(",\"room_id\":");
            room_and_sender.push_str(&quoted(room_id));
        }
        room_and_sender.push_str(",\"sender\":");
        room_and_sender.push_str(&quoted(draft.sender));
        let mut key_and_type = String::with_capacity(64);
        if let Some(state_key) = draft.state_key {
            key_and_type.push_str(",\"state_key\":");
            key_and_type.push_str(&quoted(state_key));
        }
        key_and_type.push_str(",\"type\":");
        key_and_type.push_str(&quoted(draft.event_type));
        key_and_type.push('}');
        Self {
            auth_events: array(draft.auth_events),
            prev_events: array(draft.prev_events),
            depth: draft.depth.min(DEPTH_MAX),
            origin_server_ts: draft.origin_server_ts.min(DEPTH_MAX),
            room_and_sender,
            key_and_type,
        }
    }

    fn write(&self, content: &str, hash: Option<&str>, redacts: Option<&str>) -> String {
        let mut out = String::with_capacity(content.len() + 768);
        out.push_str("{\"auth_events\":");
        out.push_str(&self.auth_events);
        out.push_str(",\"content\":");
        out.push_str(content);
        // Writing to a `String` cannot fail.
        let _ = write!(out, ",\"depth\":{}", self.depth);
        if let Some(hash) = hash {
            out.push_str(",\"hashes\":{\"sha256\":\"");
            out.push_str(hash);
            out.push_str("\"}");
        }
        let _ = write!(out, ",\"origin_server_ts\":{}", self.origin_server_ts);
        out.push_str(",\"prev_events\":");
        out.push_str(&self.prev_events);
        if let Some(redacts) = redacts {
            out.push_str(",\"redacts\":");
            out.push_str(&quoted(redacts));
        }
        out.push_str(&self.room_and_sender);
        out.push_str(&self.key_and_type);
        out
    }
}

fn array(ids: &[String]) -> String {
    let mut out = String::with_capacity(2 + ids.len() * 48);
    out.push('[');
    for (at, id) in ids.iter().enumerate() {
        if at != 0 {
            out.push(',');
        }
        out.push_str(&quoted(id));
    }
    out.push(']');
    out
}

fn quoted(text: &str) -> String {
    // Strings always serialise.
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
#[path = "pdu_tests.rs"]
mod tests;
