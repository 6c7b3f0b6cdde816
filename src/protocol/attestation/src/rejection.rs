//! Why evidence is rejected: one reason each, with a name that never changes its meaning.

use crate::appraisal::AppraisalError;
use crate::enrolment::EnrolmentError;
use crate::event_log::LogError;
use crate::public::KeyError;
use crate::quote::QuoteError;
use crate::sha256::Sha256;
use crate::text::TextError;
use crate::trust::ChainError;

/// Why evidence is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// The file is not a bundle.
    #[error("the bundle is malformed: {0}")]
    Bundle(#[from] TextError),
    /// The quote is not one, or selects other PCRs.
    #[error(transparent)]
    Quote(#[from] QuoteError),
    /// The bundle answers the nonce of the previous bundle.
    #[error("the bundle answers the nonce of the previous one: it is stale")]
    StaleNonce,
    /// The bundle answers another nonce.
    #[error("the bundle answers another nonce")]
    ForeignNonce,
    /// The quote is not bound to this nonce and these claims.
    #[error("the quote's qualifying data is not that of the nonce and the claims: one of them was changed")]
    QualifyingData,
    /// The signature is none of ECDSA with SHA-256.
    #[error("the signature is not one of ECDSA with SHA-256")]
    SignatureForm,
    /// The attestation key did not sign this quote.
    #[error("the attestation key did not sign this quote")]
    Signature,
    /// The attestation key is not one.
    #[error("the attestation key cannot vouch for a quote: {0}")]
    AttestationKey(KeyError),
    /// The endorsement key's certificate is not believed.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The enrolled endorsement key is not one.
    #[error("the enrolled endorsement key cannot be used: {0}")]
    EndorsementKey(KeyError),
    /// The enrolment is not believed.
    #[error(transparent)]
    Enrolment(#[from] EnrolmentError),
    /// Another attestation key than the enrolled one.
    #[error("the attestation key is not the one that was enrolled")]
    OtherAttestationKey,
    /// The bundle lists other PCRs than the quote selects.
    #[error("the bundle's list of PCRs is not that of the quote")]
    PcrList,
    /// The listed values do not hash to what was quoted.
    #[error("the values of the PCRs are not those that were quoted")]
    PcrValues,
    /// The event log is not one, or does not lead to the quoted values.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The event log shows something that is not acceptable.
    #[error(transparent)]
    Appraisal(#[from] AppraisalError),
    /// The previous bundle is of another box, or not sound.
    #[error("the previous bundle cannot be compared: {what}")]
    Previous {
        /// What is wrong with it.
        what: &'static str,
    },
    /// What was remembered is of another box, or of this one before it was enrolled anew.
    #[error(
        "what is remembered beside the enrolment is of another attestation key: if the box was enrolled anew, remove that file"
    )]
    OtherMemory,
    /// Fewer resets than before: the TPM was cleared, or the bundle is old.
    #[error("the TPM counts {now} resets, {before} in the previous bundle: the bundle is old, or the TPM was cleared")]
    ResetsWentBack {
        /// Before.
        before: u32,
        /// Now.
        now: u32,
    },
    /// Fewer restarts than before, with as many resets.
    #[error("the TPM counts {now} restarts, {before} in the previous bundle of the same boot")]
    RestartsWentBack {
        /// Before.
        before: u32,
        /// Now.
        now: u32,
    },
    /// The clock stands before that of the previous bundle.
    #[error("the TPM's clock stands at {now} ms, at {before} ms in the previous bundle")]
    ClockWentBack {
        /// Before, in milliseconds.
        before: u64,
        /// Now, in milliseconds.
        now: u64,
    },
    /// The audit log's checkpoint is not one.
    #[error("the audit log's checkpoint is malformed")]
    Checkpoint,
    /// The audit log is shorter than before, gone, or another one.
    #[error("the audit log does not go on from the previous bundle: {what}")]
    AuditWentBack {
        /// What is wrong.
        what: &'static str,
    },
    /// The audit log is another one than before.
    #[error(
        "the audit log is {now}, it was {before}. A backup that was restored begins a new one: if that is what happened, say --accept-new-log"
    )]
    AuditIsAnother {
        /// Its origin before.
        before: String,
        /// Its origin now.
        now: String,
    },
    /// No fingerprint of a signing key.
    #[error("the bundle does not name the server's signing key")]
    NoSigningKey,
    /// The manifest asks for an image, and the bundle names none.
    #[error("the bundle names no unified kernel image, the reference manifest asks for one")]
    UkiMissing,
    /// An image that the manifest does not have.
    #[error("the unified kernel image {uki} is not in the reference manifest")]
    UkiUnknown {
        /// Its digest.
        uki: Sha256,
    },
    /// Another image was measured than the bundle names.
    #[error("the bundle names the unified kernel image {uki}, another one was measured")]
    UkiOther {
        /// What the bundle names.
        uki: Sha256,
    },
    /// PCR 11 is not that of the image.
    #[error("PCR 11 has value {value}, which the image {uki} never has")]
    Pcr11 {
        /// The image.
        uki: Sha256,
        /// What was quoted.
        value: Sha256,
    },
    /// A program that the manifest does not have, or has in another image.
    #[error("the program {binary} is not in the reference manifest, or not in this image")]
    BinaryUnknown {
        /// Its digest.
        binary: Sha256,
    },
}

impl Rejection {
    /// The name of this reason, for programs: words with hyphens.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Bundle(error) => error.reason(),
            Self::Quote(error) => error.reason(),
            Self::StaleNonce => "nonce-stale",
            Self::ForeignNonce => "nonce-foreign",
            Self::QualifyingData => "qualifying-data",
            Self::SignatureForm => "signature-form",
            Self::Signature => "signature",
            Self::AttestationKey(error) => error.reason(),
            Self::Chain(error) => error.reason(),
            Self::EndorsementKey(_) => "ek-enrolled-malformed",
            Self::Enrolment(error) => error.reason(),
            Self::OtherAttestationKey => "ak-not-enrolled",
            Self::PcrList => "pcr-list",
            Self::PcrValues => "pcr-values",
            Self::Log(error) => error.reason(),
            Self::Appraisal(error) => error.reason(),
            Self::Previous { .. } => "previous-unusable",
            Self::OtherMemory => "memory-unusable",
            Self::ResetsWentBack { .. } => "reset-count-went-back",
            Self::RestartsWentBack { .. } => "restart-count-went-back",
            Self::ClockWentBack { .. } => "clock-went-back",
            Self::Checkpoint => "audit-checkpoint-malformed",
            Self::AuditWentBack { .. } => "audit-went-back",
            Self::AuditIsAnother { .. } => "audit-is-another",
            Self::NoSigningKey => "signing-key-missing",
            Self::UkiMissing => "uki-missing",
            Self::UkiUnknown { .. } => "uki-unknown",
            Self::UkiOther { .. } => "uki-not-measured",
            Self::Pcr11 { .. } => "pcr11-unknown",
            Self::BinaryUnknown { .. } => "binary-unknown",
        }
    }
}
