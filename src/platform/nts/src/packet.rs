//! NTP packets with the extension fields of NTS: RFC 8915, section 5; RFC 7822 for the fields' shape.

use crate::record::{COOKIE_BYTES_MAX, COOKIES_MAX};
use aes_siv::KeyInit;
use aes_siv::siv::Aes128Siv;
use lamchat_machine::time::{self, PACKET_BYTES, TimeError};

/// RFC 8915, section 7.6.
const UNIQUE_IDENTIFIER: u16 = 0x0104;
const COOKIE: u16 = 0x0204;
const COOKIE_PLACEHOLDER: u16 = 0x0304;
const AUTHENTICATOR: u16 = 0x0404;
/// RFC 8915, section 5.3: "at least 32 octets".
pub const IDENTIFIER_BYTES: usize = 32;
/// RFC 8915, section 5.6: with a nonce as long as the algorithm's longest one no padding is needed.
pub const NONCE_BYTES: usize = 16;
/// Longest answer.
pub const ANSWER_BYTES_MAX: usize = PACKET_BYTES + 256 + (COOKIES_MAX + 1) * (COOKIE_BYTES_MAX + 4);
/// Fields that are looked at.
const FIELDS_MAX: usize = 32;
/// RFC 5905, figure 13: where the reference identifier stands, which has the code of a kiss-o'-death.
const REFERENCE_AT: usize = 12;
/// RFC 8915, section 5.7: "NTSN", the server does not know the cookie's key any more.
const NTS_NAK: &[u8] = b"NTSN";

/// What makes a question and its answer belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// The transmit timestamp of the question, which says nothing about our clock.
    pub nonce: u64,
    /// RFC 8915, section 5.3.
    pub identifier: [u8; IDENTIFIER_BYTES],
}

/// Why an answer is not taken.
#[derive(Debug, thiserror::Error)]
pub enum PacketError {
    /// It is not an answer to our question.
    #[error("{0}")]
    Time(#[from] TimeError),
    /// Nobody with the key wrote it.
    #[error("the answer is not authentic")]
    NotAuthentic,
    /// The server has new keys.
    #[error("the server does not know the cookie any more")]
    Nak,
}

fn field(kind: u16, body: &[u8]) -> Vec<u8> {
    let padded = body.len().next_multiple_of(4);
    let mut bytes = kind.to_be_bytes().to_vec();
    bytes.extend(u16::try_from(padded + 4).unwrap_or_default().to_be_bytes());
    bytes.extend(body);
    bytes.resize(4 + padded, 0);
    bytes
}

/// A question with a cookie, and placeholders for `wanted` more than the one that comes back for it.
pub fn question(
    key: &[u8; 32],
    mark: &Mark,
    cookie: &[u8],
    wanted: usize,
    nonce: &[u8; NONCE_BYTES],
) -> Option<Vec<u8>> {
    let mut packet = time::question(mark.nonce).to_vec();
    packet.extend(field(UNIQUE_IDENTIFIER, &mark.identifier));
    packet.extend(field(COOKIE, cookie));
    for _ in 0..wanted {
        packet.extend(field(COOKIE_PLACEHOLDER, &vec![0; cookie.len()]));
    }
    let sealed = Aes128Siv::new(key.into())
        .encrypt([packet.as_slice(), nonce], &[])
        .ok()?;
    let mut body = u16::try_from(NONCE_BYTES).ok()?.to_be_bytes().to_vec();
    body.extend(u16::try_from(sealed.len()).ok()?.to_be_bytes());
    body.extend(nonce);
    body.extend(&sealed);
    packet.extend(field(AUTHENTICATOR, &body));
    Some(packet)
}

/// An extension field: type, body, and where the next one begins.
fn next(packet: &[u8], at: usize) -> Option<(u16, &[u8], usize)> {
    let [k0, k1, l0, l1] = *packet.get(at..)?.first_chunk()?;
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let end = at + length;
    Some((u16::from_be_bytes([k0, k1]), packet.get(at + 4..end)?, end))
}

/// The time of an answer, in milliseconds since 1970, and new cookies.
pub fn answer(packet: &[u8], key: &[u8; 32], mark: &Mark) -> Result<(u64, Vec<Vec<u8>>), PacketError> {
    let header = packet.get(..PACKET_BYTES).ok_or(TimeError::Malformed)?;
    let (mut at, mut is_marked) = (PACKET_BYTES, false);
    for _ in 0..FIELDS_MAX {
        let Some((kind, body, end)) = next(packet, at) else {
            break;
        };
        match kind {
            UNIQUE_IDENTIFIER => is_marked = body == mark.identifier,
            AUTHENTICATOR if is_marked => {
                let signed = packet.get(..at).unwrap_or_default();
                let inner = open(key, signed, body).ok_or(PacketError::NotAuthentic)?;
                return Ok((time::answer(header, mark.nonce)?, cookies(&inner)));
            }
            _ => {}
        }
        at = end;
    }
    // RFC 8915, section 5.7: a NAK has our identifier, and no authenticator. Whoever can hear us can forge it: it only
    // makes us agree on keys again.
    let refuses = header.get(1) == Some(&0) && header.get(REFERENCE_AT..REFERENCE_AT + 4) == Some(NTS_NAK);
    Err(if is_marked && refuses {
        PacketError::Nak
    } else {
        PacketError::NotAuthentic
    })
}

/// RFC 8915, section 5.6: lengths of nonce and ciphertext, then both, each padded to four bytes.
fn open(key: &[u8; 32], signed: &[u8], body: &[u8]) -> Option<Vec<u8>> {
    let [n0, n1, c0, c1] = *body.first_chunk()?;
    let (nonce_bytes, sealed_bytes) = (
        usize::from(u16::from_be_bytes([n0, n1])),
        usize::from(u16::from_be_bytes([c0, c1])),
    );
    let nonce = body.get(4..4 + nonce_bytes)?;
    let at = 4 + nonce_bytes.next_multiple_of(4);
    let sealed = body.get(at..at + sealed_bytes)?;
    Aes128Siv::new(key.into()).decrypt([signed, nonce], sealed).ok()
}

/// The cookies among the fields that were encrypted.
fn cookies(fields: &[u8]) -> Vec<Vec<u8>> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some((kind, body, end)) = next(fields, at)
        && end > at
        && found.len() < COOKIES_MAX
    {
        if kind == COOKIE && (1..=COOKIE_BYTES_MAX).contains(&body.len()) {
            found.push(body.to_vec());
        }
        at = end;
    }
    found
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn mark() -> Mark {
        Mark {
            nonce: 7,
            identifier: [9; IDENTIFIER_BYTES],
        }
    }

    /// As a server answers: stratum 1, a time, cookies.
    fn answered(key: &[u8; 32], mark: &Mark, cookies: &[&[u8]]) -> Vec<u8> {
        let mut packet = vec![0; PACKET_BYTES];
        packet.get_mut(..2).unwrap().copy_from_slice(&[4 << 3 | 4, 1]);
        packet
            .get_mut(24..32)
            .unwrap()
            .copy_from_slice(&mark.nonce.to_be_bytes());
        packet
            .get_mut(40..44)
            .unwrap()
            .copy_from_slice(&4_000_000_000_u32.to_be_bytes());
        packet.extend(field(UNIQUE_IDENTIFIER, &mark.identifier));
        let inner: Vec<u8> = cookies.iter().flat_map(|cookie| field(COOKIE, cookie)).collect();
        let nonce = [3; NONCE_BYTES];
        let sealed = Aes128Siv::new(key.into())
            .encrypt([packet.as_slice(), &nonce], &inner)
            .unwrap();
        let mut body = vec![0, 16, 0, u8::try_from(sealed.len()).unwrap()];
        body.extend(nonce);
        body.extend(sealed);
        packet.extend(field(AUTHENTICATOR, &body));
        packet
    }

    #[test]
    fn only_authentic_answers_to_our_question_count() {
        let (key, mark) = ([1; 32], mark());
        let right = answered(&key, &mark, &[b"cook", b"ies!"]);
        let (ms, cookies) = answer(&right, &key, &mark).unwrap();
        assert_eq!(ms, (4_000_000_000 - 2_208_988_800) * 1000);
        assert_eq!(cookies, [b"cook".to_vec(), b"ies!".to_vec()]);
        assert!(answer(&right, &[2; 32], &mark).is_err());
        for (nonce, identifier) in [(8, [9; 32]), (7, [8; 32])] {
            assert!(answer(&right, &key, &Mark { nonce, identifier }).is_err());
        }
        // Every byte counts.
        for at in 0..right.len() {
            let mut wrong = right.clone();
            *wrong.get_mut(at).unwrap() ^= 1;
            assert!(answer(&wrong, &key, &mark).is_err(), "byte {at}");
        }
        // Without its end it is nothing.
        let plain = right.get(..PACKET_BYTES + 36).unwrap();
        assert!(matches!(answer(plain, &key, &mark), Err(PacketError::NotAuthentic)));
    }

    #[test]
    fn a_nak_is_told_apart() {
        let mut packet = vec![0; PACKET_BYTES];
        packet.get_mut(12..16).unwrap().copy_from_slice(b"NTSN");
        assert!(matches!(
            answer(&packet, &[1; 32], &mark()),
            Err(PacketError::NotAuthentic)
        ));
        packet.extend(field(UNIQUE_IDENTIFIER, &mark().identifier));
        assert!(matches!(answer(&packet, &[1; 32], &mark()), Err(PacketError::Nak)));
    }

    #[test]
    fn questions_open_with_the_key() {
        let packet = question(&[1; 32], &mark(), b"cookie", 2, &[3; NONCE_BYTES]).unwrap();
        let (mut at, mut kinds) = (PACKET_BYTES, Vec::new());
        while let Some((kind, body, end)) = next(&packet, at) {
            kinds.push(kind);
            if kind == AUTHENTICATOR {
                assert_eq!(open(&[1; 32], packet.get(..at).unwrap(), body), Some(Vec::new()));
            }
            at = end;
        }
        assert_eq!(
            kinds,
            [
                UNIQUE_IDENTIFIER,
                COOKIE,
                COOKIE_PLACEHOLDER,
                COOKIE_PLACEHOLDER,
                AUTHENTICATOR
            ]
        );
        assert_eq!(at, packet.len());
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(answer(&bytes, &[1; 32], &mark()).is_err());
            let mut packet = answered(&[1; 32], &mark(), &[b"c"]);
            packet.truncate(PACKET_BYTES + 36);
            packet.extend(bytes);
            prop_assert!(answer(&packet, &[1; 32], &mark()).is_err());
        }
    }
}
