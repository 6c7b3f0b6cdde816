//! The headers of downloads: what browsers may do with files of strangers.

use http::header::{CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use ruma::http_headers::{ContentDisposition, ContentDispositionType};
use std::ops::Range;

/// On every file: "When serving content, the server SHOULD provide a Content-Security-Policy header", and
/// "Cross-Origin-Resource-Policy: cross-origin" (Matrix 1.4).
pub(crate) const CONTENT_HEADERS: [(HeaderName, &str); 3] = [
    (
        CONTENT_SECURITY_POLICY,
        "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf; style-src 'unsafe-inline'; object-src 'self';",
    ),
    (HeaderName::from_static("cross-origin-resource-policy"), "cross-origin"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
];

/// "Servers SHOULD restrict Content-Type headers to one of the following values when serving content with
/// Content-Disposition: inline" (Matrix 1.16)
const INLINE_TYPES: [&str; 26] = [
    "text/css",
    "text/plain",
    "text/csv",
    "application/json",
    "application/ld+json",
    "image/jpeg",
    "image/gif",
    "image/png",
    "image/apng",
    "image/webp",
    "image/avif",
    "video/mp4",
    "video/webm",
    "video/ogg",
    "video/quicktime",
    "audio/mp4",
    "audio/webm",
    "audio/aac",
    "audio/mpeg",
    "audio/ogg",
    "audio/wave",
    "audio/wav",
    "audio/x-wav",
    "audio/x-pn-wav",
    "audio/flac",
    "audio/x-flac",
];

/// `inline` for the types above, `attachment` for all others, with the file name quoted or encoded (RFC 6266).
pub(crate) fn content_disposition(content_type: &str, filename: Option<String>) -> String {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    let inline = INLINE_TYPES.iter().any(|known| known.eq_ignore_ascii_case(essence));
    let disposition = if inline {
        ContentDispositionType::Inline
    } else {
        ContentDispositionType::Attachment
    };
    ContentDisposition::new(disposition).with_filename(filename).to_string()
}

/// A header of text that was cleaned before; what still cannot stand in a header becomes an unknown type.
pub(crate) fn header(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("application/octet-stream"))
}

/// What a `Range` header asks for (RFC 9110, section 14.2): `None` if it is to be ignored (another unit, several
/// ranges, malformed), an error if no byte of it is there.
pub(crate) fn byte_range(text: &str, size: u64) -> Option<Result<Range<u64>, ()>> {
    let (first, last) = text.trim().strip_prefix("bytes=")?.split_once('-')?;
    let range = if first.is_empty() {
        let suffix: u64 = last.parse().ok()?;
        size.saturating_sub(suffix)..size
    } else {
        let first: u64 = first.parse().ok()?;
        let last: u64 = if last.is_empty() { u64::MAX } else { last.parse().ok()? };
        if last < first {
            return None;
        }
        first..last.saturating_add(1).min(size)
    };
    Some(if range.start < range.end { Ok(range) } else { Err(()) })
}

#[cfg(test)]
mod tests {
    use super::{byte_range, content_disposition, header};

    #[test]
    fn only_safe_types_are_inline() {
        let named = |content_type, name: &str| content_disposition(content_type, Some(name.to_owned()));
        assert_eq!(named("image/png", "a.png"), "inline; filename=a.png");
        assert_eq!(
            named("Text/Plain; charset=utf-8", "a b.txt"),
            "inline; filename=\"a b.txt\""
        );
        assert_eq!(content_disposition("text/html", None), "attachment");
        assert_eq!(content_disposition("image/svg+xml", None), "attachment");
        assert_eq!(content_disposition("", None), "attachment");
        assert!(named("image/png", "ä\"; filename=x.html").starts_with("inline; filename*=utf-8''%C3%A4"));
        assert!(!named("image/png", "a\r\nSet-Cookie: x").contains('\n'));
        assert_eq!(header("a\nb".to_owned()), "application/octet-stream");
    }

    #[test]
    fn ranges_follow_the_rfc() {
        assert_eq!(byte_range("bytes=0-0", 10), Some(Ok(0..1)));
        assert_eq!(byte_range("bytes=5-", 10), Some(Ok(5..10)));
        assert_eq!(byte_range("bytes=5-99", 10), Some(Ok(5..10)));
        assert_eq!(byte_range("bytes=-3", 10), Some(Ok(7..10)));
        assert_eq!(byte_range("bytes=-30", 10), Some(Ok(0..10)));
        for unsatisfiable in ["bytes=10-", "bytes=99-100", "bytes=-0"] {
            assert_eq!(byte_range(unsatisfiable, 10), Some(Err(())), "{unsatisfiable}");
        }
        assert_eq!(byte_range("bytes=0-", 0), Some(Err(())));
        for ignored in [
            "items=0-1",
            "bytes=5-4",
            "bytes=0-1,3-4",
            "bytes=",
            "bytes=a-b",
            "bytes=--1",
        ] {
            assert_eq!(byte_range(ignored, 10), None, "{ignored}");
        }
    }
}
