//! What redaction leaves of a content ("Redactions", per room version).

use crate::canonical::{self, BadJson, Object};
use crate::version::Version;
use ruma::canonical_json::redact_content_in_place;

/// What is left of `content` of an event of type `event_type`, as canonical JSON.
pub fn redacted(version: &Version, event_type: &str, content: &Object) -> String {
    if keeps_nothing(event_type) {
        return "{}".to_owned();
    }
    let mut content = content.clone();
    redact_content_in_place(&mut content, &version.rules().redaction, event_type);
    canonical::to_string(&content)
}

/// Like [`redacted`], for stored JSON.
pub fn redacted_json(version: &Version, event_type: &str, content: &str) -> Result<String, BadJson> {
    if keeps_nothing(event_type) {
        return Ok("{}".to_owned());
    }
    Ok(redacted(
        version,
        event_type,
        &canonical::parse_object(content.as_bytes())?,
    ))
}

/// Whether a type is none of those that keep parts in some room version. All of them are `m.room.` types.
fn keeps_nothing(event_type: &str) -> bool {
    !event_type.strip_prefix("m.room.").is_some_and(|name| {
        matches!(
            name,
            "member"
                | "create"
                | "join_rules"
                | "power_levels"
                | "history_visibility"
                | "redaction"
                | "aliases"
                | "server_acl"
        )
    })
}
