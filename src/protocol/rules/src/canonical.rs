//! Canonical JSON (Matrix 1.16, appendix 3.1): what contents of events must be.

use lamchat_base::limits::JSON_DEPTH_MAX;

/// A JSON object whose keys are sorted and whose numbers are integers between -2^53+1 and 2^53-1.
pub type Object = ruma::CanonicalJsonObject;
/// A value of such an object.
pub type Value = ruma::CanonicalJsonValue;

/// Why bytes are not a canonical JSON object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadJson {
    /// Not JSON at all (`M_NOT_JSON`).
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    /// JSON, but not an object, or with numbers that canonical JSON does not have (`M_BAD_JSON`).
    #[error("the body is not a canonical JSON object: {0}")]
    NotCanonical(String),
    /// Nested more than [`JSON_DEPTH_MAX`] deep (`M_BAD_JSON`).
    #[error("the body is nested too deep")]
    TooDeep,
}

/// Parses a JSON object. "Numbers that are fractions, or integers outside the range, are not allowed."
pub fn parse_object(bytes: &[u8]) -> Result<Object, BadJson> {
    if depth(bytes) > JSON_DEPTH_MAX {
        return Err(BadJson::TooDeep);
    }
    serde_json::from_slice(bytes).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => BadJson::NotCanonical(error.to_string()),
        _ => BadJson::NotJson(error.to_string()),
    })
}

/// The canonical JSON of `object`: sorted keys, no white space.
pub fn to_string(object: &Object) -> String {
    // Serialising maps of strings to a `String` has no way to fail.
    serde_json::to_string(object).unwrap_or_default()
}

/// How deep the brackets of `bytes` nest at most; strings do not count.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut max) = (0usize, 0usize);
    let (mut in_string, mut escaped) = (false, false);
    for byte in bytes {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                max = max.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    max
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn floats_and_big_integers_are_refused() {
        for bad in [
            "{\"a\":1.5}",
            "{\"a\":9007199254740992}",
            "{\"a\":-9007199254740992}",
            "{\"a\":1e3}",
            "[]",
            "1",
        ] {
            assert!(
                matches!(parse_object(bad.as_bytes()), Err(BadJson::NotCanonical(_))),
                "{bad}"
            );
        }
        for bad in ["", "{", "{\"a\":}", "{\"a\":1}x", "\u{0}"] {
            assert!(
                matches!(parse_object(bad.as_bytes()), Err(BadJson::NotJson(_))),
                "{bad}"
            );
        }
        assert!(parse_object(b"{\"a\":9007199254740991}").is_ok());
    }

    #[test]
    fn depth_is_bounded_and_strings_do_not_count() {
        let nested = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n - 1), "]".repeat(n - 1));
        assert!(parse_object(nested(JSON_DEPTH_MAX).as_bytes()).is_ok());
        assert_eq!(
            parse_object(nested(JSON_DEPTH_MAX + 1).as_bytes()),
            Err(BadJson::TooDeep)
        );
        assert_eq!(parse_object(&vec![b'['; 1 << 20]), Err(BadJson::TooDeep));
        assert!(parse_object(format!("{{\"a\":\"\\\"{}\"}}", "[".repeat(500)).as_bytes()).is_ok());
    }

    #[test]
    fn keys_are_sorted() {
        let object = parse_object(b"{ \"b\" : 1, \"a\\n\" : [ null , true ] , \"\\u00e9\":\"\\u0007\" }").unwrap();
        assert_eq!(to_string(&object), "{\"a\\n\":[null,true],\"b\":1,\"é\":\"\\u0007\"}");
    }
}
