//! Public keys of notes: ECDSA P-256 of a log, Ed25519 of a witness (c2sp.org/signed-note, c2sp.org/tlog-cosignature).
//! Pure.

use crate::note::{Note, is_key_name};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use std::fmt;

/// "0x02 — ECDSA signatures as implemented by github.com/transparency-dev/witness": over the note's text, ASN.1.
pub(crate) const TYPE_ECDSA: u8 = 0x02;
/// "0x04 — Timestamped Ed25519 checkpoint cosignatures, as specified by c2sp.org/tlog-cosignature."
pub(crate) const TYPE_COSIGNATURE: u8 = 0x04;

/// What stands before the 65 bytes of a P-256 point in a SubjectPublicKeyInfo (RFC 5480): id-ecPublicKey, secp256r1.
const SPKI_P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// An uncompressed P-256 point (SEC 1, section 2.3.3): 04, x, y.
pub type Point = [u8; 65];

#[derive(Debug, Clone, PartialEq, Eq)]
enum Public {
    Ecdsa(Box<Point>),
    Cosignature([u8; 32]),
}

/// Whom to believe: a name and a public key, written as a C2SP verifier key (vkey).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    public: Public,
}

/// The text is no verifier key that this program knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a verifier key for ECDSA P-256 or Ed25519 cosignatures (name+id+base64)")]
pub struct NotAKey;

/// A signature by a known key does not verify.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the signature of {0} is wrong")]
pub struct BadSignature(pub String);

/// A signature that verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed {
    /// When a witness says that it signed, in seconds since 1970; `None` for the log's own signature.
    pub time_s: Option<u64>,
}

impl VerifierKey {
    /// The key of a log, whose name is its origin.
    pub fn of_log(origin: &str, point: &Point) -> Result<Self, NotAKey> {
        Self::new(origin, Public::Ecdsa(Box::new(*point)))
    }

    /// The key of a witness.
    pub fn of_witness(name: &str, public: [u8; 32]) -> Result<Self, NotAKey> {
        Self::new(name, Public::Cosignature(public))
    }

    fn new(name: &str, public: Public) -> Result<Self, NotAKey> {
        let is_good = is_key_name(name) && name.is_ascii();
        let name = name.to_owned();
        is_good.then_some(Self { name, public }).ok_or(NotAKey)
    }

    /// Reads `name+hex(key ID)+base64(type || public key)`.
    pub fn parse(vkey: &str) -> Result<Self, NotAKey> {
        let (name, rest) = vkey.split_once('+').ok_or(NotAKey)?;
        let (id, base64) = rest.split_once('+').ok_or(NotAKey)?;
        let bytes = BASE64_STANDARD.decode(base64).map_err(|_| NotAKey)?;
        let public = match bytes.split_first().ok_or(NotAKey)? {
            (&TYPE_ECDSA, spki) => {
                let point = spki.strip_prefix(&SPKI_P256).ok_or(NotAKey)?;
                let point: Point = point.try_into().map_err(|_| NotAKey)?;
                Public::Ecdsa(Box::new(point))
            }
            (&TYPE_COSIGNATURE, key) => Public::Cosignature(key.try_into().map_err(|_| NotAKey)?),
            _ => return Err(NotAKey),
        };
        let key = Self::new(name, public)?;
        if hex(&key.id()) == id { Ok(key) } else { Err(NotAKey) }
    }

    /// The key's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public key of a log; `None` for a witness.
    pub fn point(&self) -> Option<&Point> {
        match &self.public {
            Public::Ecdsa(point) => Some(point),
            Public::Cosignature(_) => None,
        }
    }

    /// Whether it is a log's own key, not a witness's.
    pub fn is_of_log(&self) -> bool {
        matches!(self.public, Public::Ecdsa(_))
    }

    /// The key ID of its signatures.
    pub fn id(&self) -> [u8; 4] {
        let hash = match &self.public {
            // "The key ID for these signatures is the truncated SHA-256 hash of the DER encoded public key in SPKI
            // format."
            Public::Ecdsa(point) => digest(&SHA256, &[&SPKI_P256[..], &point[..]].concat()),
            // "SHA-256(<name> || "\n" || 0x04 || 32-byte Ed25519 cosigner public key)[:4]"
            Public::Cosignature(key) => {
                let text = [self.name.as_bytes(), b"\n", &[TYPE_COSIGNATURE], key].concat();
                digest(&SHA256, &text)
            }
        };
        hash.as_ref().first_chunk().copied().unwrap_or_default()
    }

    /// Checks this key's signature under `note`; `None` if there is none. "If the key name and ID match a known key,
    /// verifiers MUST verify the signature."
    pub fn check(&self, note: &Note) -> Result<Option<Signed>, BadSignature> {
        let id = self.id();
        let mut found = None;
        for signature in &note.signatures {
            if signature.name != self.name || signature.key_id != id {
                continue;
            }
            let signed = match &self.public {
                Public::Ecdsa(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &point[..])
                    .verify(note.text.as_bytes(), &signature.bytes)
                    .ok()
                    .map(|()| Signed { time_s: None }),
                Public::Cosignature(key) => check_cosignature(key, &note.text, &signature.bytes),
            };
            found = Some(signed.ok_or_else(|| BadSignature(self.name.clone()))?);
        }
        Ok(found)
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = match &self.public {
            Public::Ecdsa(point) => [&[TYPE_ECDSA], &SPKI_P256[..], &point[..]].concat(),
            Public::Cosignature(key) => [&[TYPE_COSIGNATURE], &key[..]].concat(),
        };
        write!(f, "{}+{}+{}", self.name, hex(&self.id()), BASE64_STANDARD.encode(bytes))
    }
}

/// "u64 timestamp; … opaque ed25519_signature[64]"
fn check_cosignature(key: &[u8; 32], text: &str, bytes: &[u8]) -> Option<Signed> {
    let (time, signature) = bytes.split_first_chunk::<8>()?;
    let time_s = u64::from_be_bytes(*time);
    // "It MUST NOT exceed 2^63 - 1."
    i64::try_from(time_s).ok()?;
    let verified = UnparsedPublicKey::new(&ED25519, &key[..]).verify(cosigned(time_s, text).as_bytes(), signature);
    verified.ok().map(|()| Signed { time_s: Some(time_s) })
}

/// What a witness signs: "cosignature/v1", the time, and the whole text of the checkpoint.
pub(crate) fn cosigned(time_s: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time_s}\n{text}")
}

/// Small letters.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::VerifierKey;
    use crate::note::Note;

    #[test]
    fn keys_are_written_and_read() {
        let log = VerifierKey::of_log("example.org/audit/1", &[4; 65]).unwrap();
        let witness = VerifierKey::of_witness("auditor", [7; 32]).unwrap();
        for key in [log, witness] {
            let text = key.to_string();
            assert_eq!(VerifierKey::parse(&text), Ok(key));
            let (head, last) = text.split_at(text.len() - 1);
            let other = if last == "0" { "1" } else { "0" };
            for bad in [text.replace('+', " "), head.to_owned(), format!("{head}{other}{last}")] {
                assert!(VerifierKey::parse(&bad).is_err(), "{bad}");
            }
        }
        // The ID of a witness's key depends on its name, that of an ECDSA key on the key alone.
        let witness = VerifierKey::of_witness("auditor", [7; 32]).unwrap().to_string();
        assert!(VerifierKey::parse(&witness.replace("auditor", "author")).is_err());
        // An Ed25519 key for plain notes is another type, which logs here do not use.
        assert!(VerifierKey::parse("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k").is_err());
        let note = Note::parse("a\n1\nb\n\n\u{2014} auditor AAAAAA==\n").unwrap();
        assert_eq!(
            VerifierKey::of_witness("auditor", [7; 32]).unwrap().check(&note),
            Ok(None)
        );
    }
}
