//! Why there is no evidence, or no answer to a challenge.

use lamchat_attestation::TextError;
use lamchat_tpm::{ActivateError, QuoteError, TpmError};

/// Why there is no evidence, or no answer to a challenge.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// The TPM failed or is gone.
    #[error(transparent)]
    Tpm(#[from] TpmError),
    /// The selection cannot be quoted.
    #[error("the PCRs cannot be quoted: {0}")]
    Selection(String),
    /// Something that every evidence has cannot be told.
    #[error("{what} cannot be told: {why}")]
    Missing {
        /// What.
        what: &'static str,
        /// Why.
        why: String,
    },
    /// There is no certificate for the endorsement key, so no auditor could enrol this TPM.
    #[error(
        "the TPM has no certificate for its endorsement key, and none was brought (attestation.ek_certificates, or \
         `lamchat attest ek-certificates`): fetch it from the maker of the TPM"
    )]
    NoCertificate,
    /// Not a challenge.
    #[error("the challenge cannot be used: {0}")]
    Challenge(#[from] TextError),
    /// A challenge for another box.
    #[error("the challenge is for another TPM or another attestation key")]
    OtherBox,
    /// A name has characters that the format does not have.
    #[error("the name of the exchange or of the version has characters that evidence cannot spell")]
    Unspelled,
    /// More than a bundle can hold: the verifier would refuse it.
    #[error("the evidence would not be what the format allows: {0}")]
    Format(TextError),
}

impl From<QuoteError> for AttestError {
    fn from(error: QuoteError) -> Self {
        match error {
            QuoteError::Tpm(error) => Self::Tpm(error),
            error => Self::Selection(error.to_string()),
        }
    }
}

impl From<ActivateError> for AttestError {
    fn from(error: ActivateError) -> Self {
        match error {
            ActivateError::AnotherTpm => Self::OtherBox,
            ActivateError::Tpm(error) => Self::Tpm(error),
        }
    }
}
