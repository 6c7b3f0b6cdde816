//! Tests against a real software TPM.

mod attest;
mod nv;
mod policy;
mod seal;
mod transport;
mod vectors;
