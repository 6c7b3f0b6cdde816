//! Attestation: endorsement keys and their certificates, the attestation key, quotes. What a quote says is judged
//! elsewhere; here it is made.

use crate::bytes::Reader;
use crate::error::TpmError;
use crate::pcr::{PcrSelection, PcrValues};
use crate::session::Auth;
use crate::tpm::Tpm;
use crate::wire::{self, Handle, Kind, PublicArea, Template};

/// NV index of the RSA-2048 endorsement certificate (TCG EK Credential Profile 2.5, 2.2.1.4).
const RSA_CERTIFICATE: u32 = 0x01c0_0002;
/// NV index of the P-256 endorsement certificate.
const ECC_CERTIFICATE: u32 = 0x01c0_000a;
/// The same in the high range (2.2.1.5.1), of keys by the templates H-1 and H-2.
const RSA_CERTIFICATE_HIGH: u32 = 0x01c0_0012;
const ECC_CERTIFICATE_HIGH: u32 = 0x01c0_0014;
/// Where the intermediate certificates begin (2.2.1.5.2), and where their range ends.
const CHAIN_FIRST: u32 = 0x01c0_0100;
const CHAIN_LAST: u32 = 0x01c0_01ff;
/// Persistent endorsement keys by TCG's guidance: RSA, and ECC as some makers put it.
const PERSISTENT_RSA: u32 = 0x8101_0001;
const PERSISTENT_ECC: u32 = 0x8101_0002;
/// Most intermediate indices that are read: makers use one to four.
const CHAIN_PARTS_MAX: usize = 16;
/// Most bytes of qualifying data (TPM2B_DATA holds a digest with its algorithm).
pub const QUALIFYING_BYTES_MAX: usize = 64;
/// How often a quote is repeated because a PCR changed between it and reading the values.
const QUOTE_ATTEMPTS: u32 = 4;

/// The kinds of endorsement keys that servers have. Those of the profile's other curves and lengths have no certificate
/// that an enrolment here could use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndorsementKind {
    /// RSA with 2,048 bits: every TPM has it.
    Rsa,
    /// P-256.
    Ecc,
    /// RSA with 2,048 bits, of the high range.
    RsaHigh,
    /// P-256, of the high range.
    EccHigh,
}

impl EndorsementKind {
    /// In the order in which they are looked for.
    pub const ALL: [Self; 4] = [Self::Rsa, Self::Ecc, Self::RsaHigh, Self::EccHigh];

    /// Where its certificate is in NV memory; `hardware/tpm.toml` has the same with their source.
    fn certificate_index(self) -> u32 {
        match self {
            Self::Rsa => RSA_CERTIFICATE,
            Self::Ecc => ECC_CERTIFICATE,
            Self::RsaHigh => RSA_CERTIFICATE_HIGH,
            Self::EccHigh => ECC_CERTIFICATE_HIGH,
        }
    }

    /// Whether the key is used with its authorization value, which is empty, and not by a policy.
    pub(crate) fn is_high(self) -> bool {
        matches!(self, Self::RsaHigh | Self::EccHigh)
    }
}

/// An endorsement key with what the maker says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endorsement {
    /// Its kind.
    pub kind: EndorsementKind,
    /// The public area.
    pub public: PublicArea,
    /// The certificate, DER, as it is in the TPM (some makers pad it with zeros or FF; the DER's length tells); `None`
    /// when the TPM has none, as Intel's and AMD's firmware TPMs often do: it is fetched from the maker's server.
    pub certificate: Option<Vec<u8>>,
    /// What the range for intermediate certificates contains, each index as it is: concatenated DER.
    pub intermediates: Vec<Vec<u8>>,
}

/// A signed statement about PCRs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// TPMS_ATTEST, exactly the signed bytes.
    pub attest: Vec<u8>,
    /// TPMT_SIGNATURE as the TPM gave it.
    pub signature: Vec<u8>,
    /// r and s of the ECDSA signature (SHA-256) over `attest`, 32 bytes each.
    pub ecdsa: [u8; 64],
    /// The values that were quoted.
    pub pcrs: PcrValues,
    /// The attestation key that signed.
    pub key: PublicArea,
}

/// The certificates that a TPM keeps for one of its endorsement keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndorsementCertificates {
    /// See [`Endorsement::certificate`].
    pub certificate: Option<Vec<u8>>,
    /// See [`Endorsement::intermediates`].
    pub intermediates: Vec<Vec<u8>>,
}

/// The qualifying data is longer than 64 bytes, or no PCR is selected.
#[derive(Debug, thiserror::Error)]
pub enum QuoteError {
    /// Longer than [`QUALIFYING_BYTES_MAX`]: put a digest there.
    #[error("qualifying data of {0} bytes; a quote carries at most 64")]
    QualifyingData(usize),
    /// A quote over nothing says nothing.
    #[error("no PCR is selected")]
    NoPcrs,
    /// The TPM refused.
    #[error(transparent)]
    Tpm(#[from] TpmError),
}

impl Tpm {
    /// The endorsement key of `kind` with its certificates.
    pub fn endorsement(&mut self, kind: EndorsementKind) -> Result<Endorsement, TpmError> {
        let public = self.scope(|tpm| tpm.endorsement_key(kind))?.1;
        let EndorsementCertificates {
            certificate,
            intermediates,
        } = self.endorsement_certificates(kind)?;
        Ok(Endorsement {
            kind,
            public,
            certificate,
            intermediates,
        })
    }

    /// The certificates alone, without making the key, which takes some TPMs many seconds.
    pub fn endorsement_certificates(&mut self, kind: EndorsementKind) -> Result<EndorsementCertificates, TpmError> {
        let certificate = self.read_index(kind.certificate_index())?;
        let mut intermediates = Vec::new();
        for index in self.indices(CHAIN_FIRST, CHAIN_LAST)?.into_iter().take(CHAIN_PARTS_MAX) {
            intermediates.extend(self.read_index(index)?);
        }
        Ok(EndorsementCertificates {
            certificate,
            intermediates,
        })
    }

    /// The endorsement key, persistent or made anew from the endorsement seed: the same key.
    pub(crate) fn endorsement_key(&mut self, kind: EndorsementKind) -> Result<(Handle, PublicArea), TpmError> {
        let (template, persistent) = match kind {
            EndorsementKind::Rsa => (Template::EndorsementRsa, PERSISTENT_RSA),
            EndorsementKind::Ecc => (Template::EndorsementEcc, PERSISTENT_ECC),
            EndorsementKind::RsaHigh => return self.primary(wire::ENDORSEMENT, Template::EndorsementRsaHigh),
            EndorsementKind::EccHigh => return self.primary(wire::ENDORSEMENT, Template::EndorsementEccHigh),
        };
        match self.persistent(persistent)? {
            Some((handle, public)) if public.follows(template) => Ok((handle, public)),
            _ => self.primary(wire::ENDORSEMENT, template),
        }
    }

    /// The attestation key's public area. The key is made from the endorsement seed whenever it is needed: it survives
    /// clearing the TPM, and in the endorsement hierarchy quotes show the true reset counters and firmware version
    /// (Part 1, 36.7).
    pub fn attestation_key(&mut self) -> Result<PublicArea, TpmError> {
        Ok(self
            .scope(|tpm| tpm.primary(wire::ENDORSEMENT, Template::Attestation))?
            .1)
    }

    /// Quotes exactly `selection` of the SHA-256 bank with `qualifying_data`, and reads the values that were quoted.
    pub fn quote(&mut self, qualifying_data: &[u8], selection: &PcrSelection) -> Result<Quote, QuoteError> {
        if qualifying_data.len() > QUALIFYING_BYTES_MAX {
            return Err(QuoteError::QualifyingData(qualifying_data.len()));
        }
        if selection.is_empty() {
            return Err(QuoteError::NoPcrs);
        }
        self.scope(|tpm| {
            let (key, signer) = tpm.primary(wire::ENDORSEMENT, Template::Attestation)?;
            let (root, public) = tpm.storage_root()?;
            let mut session = tpm.session(Kind::Hmac, &root, &public)?;
            let request = wire::quote(&key, qualifying_data, selection)?;
            for _ in 0..QUOTE_ATTEMPTS {
                let answer = tpm.run(&request, &mut [Auth::plain(&mut session, &[])])?;
                let malformed = TpmError::malformed("Quote");
                let mut reader = Reader(&answer.parameters);
                let attest = reader.sized().map_err(malformed)?;
                let signature = reader.0;
                let pcrs = tpm.read_pcrs(selection)?;
                // The quoted digest ends the structure (Part 2, 10.12.4).
                if attest.ends_with(&pcrs.digest()) {
                    return Ok(Quote {
                        attest: attest.to_vec(),
                        signature: signature.to_vec(),
                        ecdsa: wire::parse_signature(signature)?,
                        pcrs,
                        key: signer,
                    });
                }
            }
            Err(TpmError::Busy(QUOTE_ATTEMPTS).into())
        })
    }

    /// The NV indices that exist from `first` to `last`.
    fn indices(&mut self, first: u32, last: u32) -> Result<Vec<u32>, TpmError> {
        let answer = self.run(&wire::get_handles(first)?, &mut [])?;
        let mut found = wire::parse_handles(&answer.parameters)?;
        found.retain(|index| (first..=last).contains(index));
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::EndorsementKind;
    use lamchat_hardware::catalogue;

    #[test]
    fn certificates_are_read_where_the_catalogue_says() {
        let indices = &catalogue().unwrap().certificate_indices;
        for (kind, key) in [
            (EndorsementKind::Rsa, "RSA 2048, low-range"),
            (EndorsementKind::Ecc, "ECC P-256, low-range"),
            (EndorsementKind::RsaHigh, "RSA 2048, high"),
            (EndorsementKind::EccHigh, "ECC P-256, high"),
        ] {
            let listed = indices.iter().find(|listed| listed.key.starts_with(key)).unwrap();
            assert_eq!(kind.certificate_index(), listed.index, "{key}");
        }
        // And of these keys there is no other.
        let usable = |key: &str| key.starts_with("RSA 2048") || key.starts_with("ECC P-256");
        let listed = indices.iter().filter(|listed| usable(&listed.key)).count();
        assert_eq!(listed, EndorsementKind::ALL.len());
    }
}
