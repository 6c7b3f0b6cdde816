//! Evidence of a real software TPM (swtpm, driven by tpm2-tools), forged in every way that has a reason of its own.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests: a panic is the report"
)]

mod continuity;
mod enrolment;
mod forged;
mod forgeries;
mod manifest;
mod order;
mod ovmf;
mod swtpm;
