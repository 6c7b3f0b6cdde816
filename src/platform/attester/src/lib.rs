//! The box's half of attestation (RFC 9334: the attester): composes the evidence bundle and answers an auditor's
//! enrolment. Made to be called inside the key holder, which has the TPM and knows the keys that it released.
//!
//! A caller gives a nonce and what the exchange says of itself. What the TPM signs is always the digest of all claims in
//! their one spelling (`lamchat_attestation::Claims::qualifying_data`). What must never happen here: a quote over bytes
//! that a caller chose; a claim that could not be made and is not said to be missing.

mod attester;
mod certificates;
mod error;
mod machine;
mod nonce;
mod own;
#[cfg(test)]
mod tests;

pub use attester::{Attester, Known, Made, Settings, Statement};
pub use error::AttestError;
pub use machine::{Machine, Places};
pub use nonce::{Nonce, NonceError};
pub use own::{OwnError, SECRETS, fingerprints};
