//! The evidence bundle: one file with everything that a verifier needs from the box. `FORMAT.md` documents it.
//!
//! Builder and parser are here side by side. The parser accepts exactly what the builder writes.

use crate::claims::{BoundKey, Claims, KeyUse};
use crate::limits::{
    CERTIFICATE_BYTES_MAX, CERTIFICATES_MAX, CHECKPOINT_BYTES_MAX, EVENT_LOG_BYTES_MAX, KEYS_MAX, NAME_BYTES_MAX,
    NONCE_BYTES_MAX, NONCE_BYTES_MIN, PCRS_MAX, PUBLIC_BYTES_MAX, QUOTE_BYTES_MAX, SIGNATURE_BYTES_MAX,
};
use crate::sha256::Sha256;
use crate::text::{Reader, TextError, Writer};

/// The profile of RFC 9711 (EAT, section 6) that this format is: name and version in one.
pub const PROFILE: &str = "urn:x-lamchat:evidence:2";
/// The one without `seal`, which is still read.
pub const PROFILE_1: &str = "urn:x-lamchat:evidence:1";
/// How a file of that begins.
const BEGINS_1: &[u8] = b"{\"eat_profile\":\"urn:x-lamchat:evidence:1\"";

const BUNDLE: &[&str] = &[
    "eat_profile",
    "eat_nonce",
    "iat",
    "swname",
    "swversion",
    "server_name",
    "keys",
    "binary",
    "uki",
    "configuration",
    "audit_checkpoint",
    "null_key_name",
    "seal",
    "tpm",
];
const BUNDLE_1: &[&str] = &[
    "eat_profile",
    "eat_nonce",
    "iat",
    "swname",
    "swversion",
    "server_name",
    "keys",
    "binary",
    "uki",
    "configuration",
    "audit_checkpoint",
    "null_key_name",
    "tpm",
];
const KEY: &[&str] = &["use", "sha256"];
const TPM: &[&str] = &[
    "ek_certificates",
    "ak_public",
    "quote",
    "signature",
    "pcrs",
    "event_log",
];
const PCR: &[&str] = &["pcr", "sha256"];

/// What the box hands to a verifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The verifier's nonce, 16 to 32 bytes.
    pub nonce: Vec<u8>,
    /// What the box says of itself, bound into the quote.
    pub claims: Claims,
    /// What the TPM says.
    pub tpm: TpmEvidence,
}

/// What the TPM says, in the TPM's own structures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmEvidence {
    /// The endorsement key's certificate (DER), then its intermediates in any order.
    pub ek_certificates: Vec<Vec<u8>>,
    /// The attestation key: TPMT_PUBLIC (TCG Part 2, 12.2.4).
    pub ak_public: Vec<u8>,
    /// TPMS_ATTEST of type quote (TCG Part 2, 10.12.12), which has the clock, the counters and the exact selection.
    pub quote: Vec<u8>,
    /// TPMT_SIGNATURE over the quote (TCG Part 2, 11.3.4).
    pub signature: Vec<u8>,
    /// The values of the SHA-256 bank that the quote is over, in ascending order.
    pub pcrs: Vec<PcrValue>,
    /// The firmware's log as the kernel gives it, in the crypto-agile format.
    pub event_log: Vec<u8>,
}

/// A PCR and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PcrValue {
    /// Its number, 0 to 15.
    pub pcr: u8,
    /// Its value in the SHA-256 bank.
    pub sha256: Sha256,
}

impl Evidence {
    /// The file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer::default();
        let claims = &self.claims;
        out.open();
        out.member("eat_profile");
        out.string(if claims.seal.is_some() { PROFILE } else { PROFILE_1 });
        out.member("eat_nonce");
        out.hex(&self.nonce);
        out.member("iat");
        out.number(claims.issued_at);
        out.member("swname");
        out.string("lamchat");
        out.member("swversion");
        out.string(&claims.version);
        out.member("server_name");
        out.string(&claims.server_name);
        out.member("keys");
        out.list(&claims.keys, |out, key| {
            out.open();
            out.member("use");
            out.string(key.usage.word());
            out.member("sha256");
            out.hex(&key.sha256.0);
            out.close();
        });
        out.member("binary");
        out.hex(&claims.binary.0);
        out.member("uki");
        out.optional(claims.uki.as_ref(), |out, uki| out.hex(&uki.0));
        out.member("configuration");
        out.hex(&claims.configuration.0);
        out.member("audit_checkpoint");
        out.optional(claims.audit_checkpoint.as_ref(), |out, note| out.base64(note));
        out.member("null_key_name");
        out.optional(claims.null_key_name.as_ref(), |out, name| out.hex(name));
        if let Some(seal) = &claims.seal {
            out.member("seal");
            out.string(seal);
        }
        out.member("tpm");
        self.tpm.write(&mut out);
        out.close();
        out.finish()
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Whatever `to_bytes` would have written otherwise: see [`TextError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TextError> {
        let mut text = Reader::new(bytes)?;
        let has_seal = !bytes.starts_with(BEGINS_1);
        let mut members = text.open(if has_seal { BUNDLE } else { BUNDLE_1 })?;
        text.member(&mut members, "eat_profile")?;
        text.constant(if has_seal { PROFILE } else { PROFILE_1 })?;
        text.member(&mut members, "eat_nonce")?;
        let nonce = text.hex(NONCE_BYTES_MIN, NONCE_BYTES_MAX)?;
        text.member(&mut members, "iat")?;
        let issued_at = text.number()?;
        text.member(&mut members, "swname")?;
        text.constant("lamchat")?;
        text.member(&mut members, "swversion")?;
        let version = text.string(NAME_BYTES_MAX)?.to_owned();
        text.member(&mut members, "server_name")?;
        let server_name = text.string(NAME_BYTES_MAX)?.to_owned();
        text.member(&mut members, "keys")?;
        let keys = text.list(KEYS_MAX, read_key)?;
        ascending(&keys, "keys")?;
        text.member(&mut members, "binary")?;
        let binary = text.sha256()?;
        text.member(&mut members, "uki")?;
        let uki = text.optional(Reader::sha256)?;
        text.member(&mut members, "configuration")?;
        let configuration = text.sha256()?;
        text.member(&mut members, "audit_checkpoint")?;
        let audit_checkpoint = text.optional(|text| text.base64(CHECKPOINT_BYTES_MAX))?;
        text.member(&mut members, "null_key_name")?;
        // The name of an object: its algorithm and a digest of at most 64 bytes.
        let null_key_name = text.optional(|text| text.hex(2 + 20, 2 + 64))?;
        let seal = if has_seal {
            text.member(&mut members, "seal")?;
            Some(text.string(NAME_BYTES_MAX)?.to_owned())
        } else {
            None
        };
        text.member(&mut members, "tpm")?;
        let tpm = TpmEvidence::read(&mut text)?;
        text.close(&members)?;
        text.end()?;
        let claims = Claims {
            issued_at,
            version,
            server_name,
            keys,
            binary,
            uki,
            configuration,
            audit_checkpoint,
            null_key_name,
            seal,
        };
        Ok(Self { nonce, claims, tpm })
    }
}

impl TpmEvidence {
    fn write(&self, out: &mut Writer) {
        out.open();
        out.member("ek_certificates");
        out.list(&self.ek_certificates, |out, der| out.base64(der));
        out.member("ak_public");
        out.base64(&self.ak_public);
        out.member("quote");
        out.base64(&self.quote);
        out.member("signature");
        out.base64(&self.signature);
        out.member("pcrs");
        out.list(&self.pcrs, |out, value| {
            out.open();
            out.member("pcr");
            out.number(u64::from(value.pcr));
            out.member("sha256");
            out.hex(&value.sha256.0);
            out.close();
        });
        out.member("event_log");
        out.base64(&self.event_log);
        out.close();
    }

    fn read(text: &mut Reader<'_>) -> Result<Self, TextError> {
        let mut members = text.open(TPM)?;
        text.member(&mut members, "ek_certificates")?;
        let ek_certificates = text.list(CERTIFICATES_MAX, |text| text.base64(CERTIFICATE_BYTES_MAX))?;
        text.member(&mut members, "ak_public")?;
        let ak_public = text.base64(PUBLIC_BYTES_MAX)?;
        text.member(&mut members, "quote")?;
        let quote = text.base64(QUOTE_BYTES_MAX)?;
        text.member(&mut members, "signature")?;
        let signature = text.base64(SIGNATURE_BYTES_MAX)?;
        text.member(&mut members, "pcrs")?;
        let pcrs = text.list(PCRS_MAX, read_pcr)?;
        if !pcrs.is_sorted_by(|left, right| left.pcr < right.pcr) {
            return Err(TextError::Unsorted { member: "pcrs" });
        }
        text.member(&mut members, "event_log")?;
        let event_log = text.base64(EVENT_LOG_BYTES_MAX)?;
        text.close(&members)?;
        Ok(Self {
            ek_certificates,
            ak_public,
            quote,
            signature,
            pcrs,
            event_log,
        })
    }
}

fn read_key(text: &mut Reader<'_>) -> Result<BoundKey, TextError> {
    let mut members = text.open(KEY)?;
    text.member(&mut members, "use")?;
    let word = text.string(NAME_BYTES_MAX)?;
    let usage = KeyUse::ALL.into_iter().find(|usage| usage.word() == word);
    let usage = usage.ok_or_else(|| text.wrong())?;
    text.member(&mut members, "sha256")?;
    let sha256 = text.sha256()?;
    text.close(&members)?;
    Ok(BoundKey { usage, sha256 })
}

fn read_pcr(text: &mut Reader<'_>) -> Result<PcrValue, TextError> {
    let mut members = text.open(PCR)?;
    text.member(&mut members, "pcr")?;
    let pcr = u8::try_from(text.number()?)
        .ok()
        .filter(|pcr| usize::from(*pcr) < PCRS_MAX);
    let pcr = pcr.ok_or_else(|| text.wrong())?;
    text.member(&mut members, "sha256")?;
    let sha256 = text.sha256()?;
    text.close(&members)?;
    Ok(PcrValue { pcr, sha256 })
}

fn ascending<T: PartialOrd>(entries: &[T], member: &'static str) -> Result<(), TextError> {
    if entries.is_sorted_by(|left, right| left < right) {
        Ok(())
    } else {
        Err(TextError::Unsorted { member })
    }
}
