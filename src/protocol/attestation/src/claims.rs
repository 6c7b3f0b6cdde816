//! What the box says of itself beside the quote, and the qualifying data that binds it to the quote.
//!
//! The key holder composes the qualifying data from what it knows itself: the verifier's nonce, the keys that it
//! released, the head of the audit log, digests. It never quotes bytes that a caller chose. `FORMAT.md` has the bytes.

use crate::sha256::Sha256;

/// What stands before the qualifying data's fields, so that no other use of SHA-256 yields the same digest.
const DOMAIN: &[u8] = b"lamchat attestation: qualifying data, version 1";

/// What a key that the key holder released is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyUse {
    /// Signs the server's events and answers: SHA-256 of the 32 bytes of the ed25519 public key.
    Signing,
    /// Opens TLS connections: SHA-256 of the SubjectPublicKeyInfo.
    Tls,
    /// Signs heads of the audit log: SHA-256 of the SubjectPublicKeyInfo.
    Audit,
    /// Opens TLS connections and is in a file of the operator's: the key holder only hears of it. SHA-256 of the
    /// SubjectPublicKeyInfo.
    TlsFile,
}

impl KeyUse {
    /// Every use, in the order of the format.
    pub const ALL: [Self; 4] = [Self::Signing, Self::Tls, Self::Audit, Self::TlsFile];

    /// The word of the format.
    pub fn word(self) -> &'static str {
        match self {
            Self::Signing => "signing",
            Self::Tls => "tls",
            Self::Audit => "audit",
            Self::TlsFile => "tls-file",
        }
    }

    fn code(self) -> u8 {
        match self {
            Self::Signing => 1,
            Self::Tls => 2,
            Self::Audit => 3,
            Self::TlsFile => 4,
        }
    }
}

/// A key that the key holder released, or heard of, when it made the quote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BoundKey {
    /// What it is for.
    pub usage: KeyUse,
    /// Its fingerprint.
    pub sha256: Sha256,
}

/// What the box says of itself. All of it is bound into the quote; a PCR proves only some of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The box's own clock, in seconds since 1970 (EAT `iat`).
    pub issued_at: u64,
    /// The version of the software (EAT `swversion`).
    pub version: String,
    /// The name of the exchange.
    pub server_name: String,
    /// The keys that were released, in ascending order, each once.
    pub keys: Vec<BoundKey>,
    /// Digest of the running program.
    pub binary: Sha256,
    /// Digest of the unified kernel image that was booted, where there is one.
    pub uki: Option<Sha256>,
    /// Digest of the configuration without its secrets.
    pub configuration: Sha256,
    /// The newest checkpoint of the audit log, a signed note of C2SP `tlog-checkpoint`, where there is one.
    pub audit_checkpoint: Option<Vec<u8>>,
    /// The name of the key in the null hierarchy that the kernel found at start (Linux 6.10 and later).
    pub null_key_name: Option<Vec<u8>>,
    /// What the box's own keys are sealed to, in words of the key holder's: a stolen disk opens as far as this says.
    /// Evidence of before has none.
    pub seal: Option<String>,
}

impl Claims {
    /// The 32 bytes that the TPM signs as qualifying data: SHA-256 of the domain, the nonce and every claim, each with
    /// its tag (one byte) and length (32 bits, big-endian). A claim that is absent has no field.
    pub fn qualifying_data(&self, nonce: &[u8]) -> Sha256 {
        let mut fields = Fields(Vec::with_capacity(1024));
        fields.push(0, DOMAIN);
        fields.push(1, nonce);
        fields.push(2, &self.issued_at.to_be_bytes());
        fields.push(3, self.version.as_bytes());
        fields.push(4, self.server_name.as_bytes());
        for key in &self.keys {
            let mut bytes = vec![key.usage.code()];
            bytes.extend_from_slice(&key.sha256.0);
            fields.push(5, &bytes);
        }
        fields.push(6, &self.binary.0);
        if let Some(uki) = &self.uki {
            fields.push(7, &uki.0);
        }
        fields.push(8, &self.configuration.0);
        if let Some(checkpoint) = &self.audit_checkpoint {
            fields.push(9, checkpoint);
        }
        if let Some(name) = &self.null_key_name {
            fields.push(10, name);
        }
        if let Some(seal) = &self.seal {
            fields.push(11, seal.as_bytes());
        }
        Sha256::of(&fields.0)
    }
}

struct Fields(Vec<u8>);

impl Fields {
    fn push(&mut self, tag: u8, bytes: &[u8]) {
        self.0.push(tag);
        // Every claim is bounded by a few kilobytes.
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::{BoundKey, Claims, KeyUse};
    use crate::sha256::Sha256;

    fn claims() -> Claims {
        let key = |usage, byte| BoundKey {
            usage,
            sha256: Sha256([byte; 32]),
        };
        Claims {
            issued_at: 1_795_000_000,
            version: "1.0.0".into(),
            server_name: "example.org".into(),
            keys: vec![key(KeyUse::Signing, 1), key(KeyUse::Tls, 2)],
            binary: Sha256([3; 32]),
            uki: Some(Sha256([4; 32])),
            configuration: Sha256([5; 32]),
            audit_checkpoint: Some(b"o\n1\nx\n".to_vec()),
            null_key_name: None,
            seal: None,
        }
    }

    #[test]
    fn every_claim_and_the_nonce_move_the_qualifying_data() {
        let honest = claims().qualifying_data(&[7; 32]);
        // The test vector of FORMAT.md.
        assert_eq!(honest.to_string(), VECTOR);
        let mut seen = vec![honest, claims().qualifying_data(&[7; 31])];
        let changes: [fn(&mut Claims); 12] = [
            |c| c.issued_at += 1,
            |c| c.version.push('0'),
            // A byte that moves from one claim to the next.
            |c| {
                c.version.push('e');
                c.server_name.remove(0);
            },
            |c| c.keys.truncate(1),
            |c| {
                c.keys
                    .iter_mut()
                    .for_each(|key| key.sha256 = Sha256([3 - key.sha256.0[0]; 32]))
            },
            |c| c.binary = Sha256::ZERO,
            |c| c.uki = None,
            |c| c.uki = Some(Sha256::ZERO),
            |c| c.configuration = Sha256::ZERO,
            |c| c.audit_checkpoint = Some(Vec::new()),
            |c| c.null_key_name = Some(vec![0, 11]),
            |c| c.seal = Some("PCR 7 only".into()),
        ];
        for change in changes {
            let mut claims = claims();
            change(&mut claims);
            let changed = claims.qualifying_data(&[7; 32]);
            assert!(!seen.contains(&changed));
            seen.push(changed);
        }
    }

    const VECTOR: &str = "2f7da110c4ee473b436e9f1d4b0a41f5a638fa53a6fc6b10f21e4ee55f46f78a";
}
