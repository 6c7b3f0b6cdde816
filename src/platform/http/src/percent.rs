//! Percent-decoding of paths and queries.

use std::borrow::Cow;

/// Decodes one segment of a path. `None` for a broken escape, bytes that are not UTF-8, and NUL.
pub(crate) fn decode_segment(segment: &str) -> Option<Cow<'_, str>> {
    if !segment.contains('%') {
        return Some(Cow::Borrowed(segment));
    }
    decode(segment.as_bytes(), false).map(Cow::Owned)
}

/// The first value of `name` in a raw query (`application/x-www-form-urlencoded`).
pub fn query_value(query: &str, name: &str) -> Option<String> {
    query.split('&').find_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(key.as_bytes(), true)? == name).then(|| decode(value.as_bytes(), true))?
    })
}

fn decode(text: &[u8], plus_is_space: bool) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => (hex(*bytes.next()?)? << 4) | hex(*bytes.next()?)?,
            b'+' if plus_is_space => b' ',
            other => *other,
        };
        if byte == 0 {
            return None;
        }
        decoded.push(byte);
    }
    String::from_utf8(decoded).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::{decode_segment, query_value};

    #[test]
    fn segments() {
        assert_eq!(decode_segment("%21a%3Ab%2Fc+d").as_deref(), Some("!a:b/c+d"));
        assert_eq!(decode_segment("caf%C3%A9").as_deref(), Some("café"));
        for broken in ["%", "%2", "%zz", "%ff", "a%00b", "%c3"] {
            assert_eq!(decode_segment(broken), None, "{broken}");
        }
    }

    #[test]
    fn queries() {
        assert_eq!(
            query_value("a=1&access_token=x%2By+z&b", "access_token").as_deref(),
            Some("x+y z")
        );
        assert_eq!(query_value("access%5Ftoken=t", "access_token").as_deref(), Some("t"));
        assert_eq!(query_value("b", "b").as_deref(), Some(""));
        assert_eq!(query_value("", "b"), None);
        assert_eq!(query_value("b=%ff", "b"), None);
    }
}
