//! Attestation: the evidence that a box gives of itself, and the verifier that an auditor runs without network and
//! without TPM. The words are those of RFC 9334: the box is the attester, its bundle is *evidence*, the auditor's files
//! are *reference values* and *endorsements*.
//!
//! Pure: no I/O, no clock; the time and randomness come in. `FORMAT.md` documents every file byte by byte.
//!
//! What must never happen here: an event's declared type or a claim believed because it says so; a second reading of
//! the same bytes; a panic on, or unbounded time for, bytes from a stranger.

mod appraisal;
mod certificates;
mod checkpoint;
mod claims;
mod continuity;
mod credential;
mod enrolment;
mod event_log;
mod evidence;
pub mod limits;
mod manifest;
mod public;
mod quote;
mod rejection;
mod sha256;
#[cfg(feature = "simulation")]
#[expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "only in tests: a panic is the report"
)]
pub mod simulation;
mod text;
mod trust;
mod verdict;
mod verify;
mod wire;

pub use appraisal::AppraisalError;
pub use certificates::{certificate_names, certificates_from_pem};
pub use checkpoint::Checkpoint;
pub use claims::{BoundKey, Claims, KeyUse};
pub use continuity::{AuditContinuity, Continuity, Mark};
pub use credential::{Credential, CredentialError, SECRET_BYTES, make_credential};
pub use enrolment::{Answer, AuditorKey, Challenge, EnrolError, Enrolment, EnrolmentError, Request};
pub use event_log::{Event, EventLog, LogError};
pub use evidence::{Evidence, PROFILE, PcrValue, TpmEvidence};
pub use manifest::{FORMAT as MANIFEST_FORMAT, Image, Manifest, ManifestError, PcrReference};
pub use public::{AttestationKey, EndorsementAlgorithm, EndorsementKey, KeyError, Point, name};
pub use quote::{ClockInfo, Quote, QuoteError, selection_bytes};
pub use rejection::Rejection;
pub use sha256::{Sha256, from_hex, to_hex};
pub use text::TextError;
pub use trust::{CertifiedKey, CertifiedMake, ChainError, Trust, TrustError, public_key_info};
pub use verdict::{ClaimsBy, NamedKey, Since, Verdict};
pub use verify::{Policy, verify};
