//! Administration: the JSON routes behind the command line's Unix socket, and on listeners with the resource
//! `admin` the same for who has a credential, registration by shared secret (the convention of provisioning scripts)
//! and `/metrics`.
//!
//! Promises:
//! - [`socket_routes`] are for the Unix socket only: who may open it is who may administer.
//! - Nothing here answers on a TCP listener without a credential ([`distance`]) or proof of the shared secret, except
//!   `/metrics` and, if the operator says so, the evidence of [`attestation`].
//! - Passwords and tokens are never logged; recovery keys, passphrases and PINs of the keyring never come here.
//! - What changes something is in the audit log ([`audit`]): in the transaction of the change where there is one.

pub mod alarm;
pub mod anchoring;
pub mod app;
pub mod attestation;
pub mod audit;
pub mod backup;
pub mod backup_record;
pub mod certificate;
pub mod credential;
pub mod distance;
pub mod ek_certificates;
pub mod error;
pub mod hardware;
pub mod health;
pub mod keyring;
pub mod locked;
pub mod media;
pub mod metrics;
mod mirror;
mod next_start;
mod nonce;
pub mod report;
mod route;
pub mod routes;
pub mod seal;
pub mod shared_secret;
pub mod signing_key;
pub mod site;
pub mod standing;
pub mod token;
pub mod update;
pub mod user;

#[cfg(test)]
mod tests;

pub use anchoring::Anchoring;
pub use app::{Admin, Exchange};
pub use attestation::{Attest, AttestFailure, Attestation, Endpoint};
pub use certificate::Certificates;
pub use distance::{Distance, Door};
pub use error::AdminError;
pub use locked::{Locked, locked_routes};
pub use nonce::Nonces;
pub use routes::{listener_routes, listener_table, socket_routes};
pub use signing_key::SigningKeys;
pub use standing::Standing;

/// All tables, for the store.
pub const TABLES: &[lamchat_store::Table] = &[
    credential::CREDENTIAL,
    backup_record::BACKUP,
    ek_certificates::EK_CERTIFICATES,
];
