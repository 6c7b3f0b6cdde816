//! Tests against a real software TPM.

mod policy;
mod seal;
mod transport;
