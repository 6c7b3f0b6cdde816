//! The records of NTS Key Establishment: RFC 8915, section 4.

use std::collections::VecDeque;

/// Longest answer that is read, in bytes: eight cookies of some hundred bytes and some numbers.
pub const ANSWER_BYTES_MAX: usize = 16 << 10;
/// RFC 8915, section 7.7: NTPv4.
pub const NTPV4: u16 = 0;
/// RFC 5297, section 6, and RFC 8915, section 5.1: AEAD_AES_SIV_CMAC_256, which everybody has to have.
pub const AEAD_AES_SIV_CMAC_256: u16 = 15;
/// Most cookies that are kept: RFC 8915, section 4.1.6, "SHOULD … eight".
pub const COOKIES_MAX: usize = 8;
/// Longest cookie; with it and its placeholders a question still fits into one packet.
pub const COOKIE_BYTES_MAX: usize = 512;
/// RFC 8915, section 4: the bit that says "whoever does not know this must give up".
const CRITICAL: u16 = 0x8000;
const END_OF_MESSAGE: u16 = 0;
const NEXT_PROTOCOL: u16 = 1;
const ERROR: u16 = 2;
const WARNING: u16 = 3;
const AEAD: u16 = 4;
const NEW_COOKIE: u16 = 5;
const SERVER: u16 = 6;
const PORT: u16 = 7;

/// Why an answer is none.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RecordError {
    /// It is malformed or ends too early.
    #[error("the server's answer about keys is malformed")]
    Malformed,
    /// The server refuses: RFC 8915, section 4.1.3.
    #[error("the server refuses, with error {0} of NTS")]
    Refused(u16),
    /// A warning, none of which is known: RFC 8915, section 4.1.4.
    #[error("the server warns, with code {0} of NTS")]
    Warned(u16),
    /// It has something that must be known and is not.
    #[error("the server's answer needs record {0}, which is not known")]
    Unknown(u16),
    /// It does not take what was offered.
    #[error("the server offers neither NTPv4 nor AES-SIV-CMAC-256")]
    NothingInCommon,
    /// It gives no cookie.
    #[error("the server gives no cookie")]
    NoCookie,
}

/// What a server answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// For one question each.
    pub cookies: VecDeque<Vec<u8>>,
    /// Where to ask, if it is elsewhere: an address or a name.
    pub server: Option<String>,
    /// The port to ask at, if it is another.
    pub port: Option<u16>,
}

fn record(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend(u16::try_from(body.len()).unwrap_or_default().to_be_bytes());
    bytes.extend(body);
    bytes
}

/// RFC 8915, section 4: NTPv4 by AES-SIV-CMAC-256, and nothing else.
pub fn request() -> Vec<u8> {
    [
        record(NEXT_PROTOCOL | CRITICAL, &NTPV4.to_be_bytes()),
        record(AEAD | CRITICAL, &AEAD_AES_SIV_CMAC_256.to_be_bytes()),
        record(END_OF_MESSAGE | CRITICAL, &[]),
    ]
    .concat()
}

/// Reads an answer; `None`: its end has not arrived yet.
pub fn read(bytes: &[u8]) -> Result<Option<Answer>, RecordError> {
    let mut answer = Answer::default();
    let (mut protocol, mut aead) = (None, None);
    let mut rest = bytes;
    loop {
        let [k0, k1, l0, l1, ..] = *rest else { return Ok(None) };
        let (kind, length) = (u16::from_be_bytes([k0, k1]), usize::from(u16::from_be_bytes([l0, l1])));
        let Some(body) = rest.get(4..4 + length) else {
            return Ok(None);
        };
        rest = rest.get(4 + length..).unwrap_or_default();
        match kind & !CRITICAL {
            END_OF_MESSAGE => break,
            NEXT_PROTOCOL => protocol = Some(number(body)),
            AEAD => aead = Some(number(body)),
            ERROR => return Err(RecordError::Refused(number(body).ok_or(RecordError::Malformed)?)),
            WARNING => return Err(RecordError::Warned(number(body).ok_or(RecordError::Malformed)?)),
            NEW_COOKIE if body.is_empty() || body.len() > COOKIE_BYTES_MAX => return Err(RecordError::Malformed),
            NEW_COOKIE => answer.cookies.push_back(body.to_vec()),
            SERVER => {
                let text = std::str::from_utf8(body).ok().filter(|text| text.is_ascii());
                answer.server = Some(text.ok_or(RecordError::Malformed)?.to_owned());
            }
            PORT => answer.port = Some(number(body).ok_or(RecordError::Malformed)?),
            other if kind & CRITICAL != 0 => return Err(RecordError::Unknown(other)),
            _ => {}
        }
    }
    // RFC 8915, sections 4.1.2 and 4.1.5: an empty list says that nothing fits.
    if protocol != Some(Some(NTPV4)) || aead != Some(Some(AEAD_AES_SIV_CMAC_256)) {
        return Err(RecordError::NothingInCommon);
    }
    answer.cookies.truncate(COOKIES_MAX);
    if answer.cookies.is_empty() {
        return Err(RecordError::NoCookie);
    }
    Ok(Some(answer))
}

/// A body that is one number.
fn number(body: &[u8]) -> Option<u16> {
    body.try_into().ok().map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn answer(records: &[(u16, &[u8])]) -> Result<Option<Answer>, RecordError> {
        let bytes: Vec<u8> = records.iter().flat_map(|(kind, body)| record(*kind, body)).collect();
        read(&bytes)
    }

    #[test]
    fn answers_are_read_and_checked() {
        let head: [(u16, &[u8]); 2] = [(0x8001, &[0, 0]), (4, &[0, 15])];
        let with = |more: &[(u16, &[u8])]| answer(&[&head[..], more].concat());
        let end = (0x8000, &[][..]);
        let right = with(&[(5, b"cookie"), (7, &[1, 200]), (6, b"10.0.0.1"), (99, b"x"), end]);
        let right = right.unwrap().unwrap();
        assert_eq!(right.cookies, [b"cookie".to_vec()]);
        assert_eq!((right.port, right.server.as_deref()), (Some(456), Some("10.0.0.1")));
        assert_eq!(with(&[(5, b"cookie")]), Ok(None), "no end yet");
        assert_eq!(with(&[end]), Err(RecordError::NoCookie));
        assert_eq!(with(&[(0x8063, b"x"), end]), Err(RecordError::Unknown(99)));
        assert_eq!(with(&[(0x8002, &[0, 1]), end]), Err(RecordError::Refused(1)));
        assert_eq!(with(&[(0x8003, &[0, 1]), end]), Err(RecordError::Warned(1)));
        assert_eq!(with(&[(5, b""), end]), Err(RecordError::Malformed));
        assert_eq!(with(&[(5, &[1; 513]), end]), Err(RecordError::Malformed));
        let nothing = answer(&[(0x8001, &[]), (4, &[0, 15]), (5, b"c"), end]);
        assert_eq!(nothing, Err(RecordError::NothingInCommon));
        let many: Vec<(u16, &[u8])> = std::iter::repeat_n((5, &b"c"[..]), 20).chain([end]).collect();
        assert_eq!(with(&many).unwrap().unwrap().cookies.len(), COOKIES_MAX);
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }
    }
}
