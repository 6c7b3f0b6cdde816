//! The TPM: sealing under a policy, counters and anchors in its memory, quotes, and a key that signs. The only user of
//! the TPM.
//!
//! [`Tpm`] sends commands through a [`Transport`]. Every secret goes through a session that is salted to the storage
//! root, authenticated and encrypted in both directions; no function here puts a secret on the wire in the clear.
//! Whatever an operation opens in the TPM is flushed when it ends. `FORMAT.md` beside this crate documents the sealed
//! blob byte by byte. "Part 1" to "Part 3" are those of the TPM 2.0 Library Specification, with the sections of revision
//! 1.59.
//!
//! What must never happen here: a secret in an error, in `Debug` or in the clear on the wire; a handle that stays open;
//! a wait without end.

mod anchor;
mod approvals;
mod blob;
mod bytes;
mod capability;
mod credential;
mod crypto;
mod error;
mod explain;
mod nv;
mod pcr;
mod policy;
mod quote;
mod seal;
mod session;
mod signer;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod tpm;
mod transport;
mod wire;

pub use anchor::{ANCHOR_BYTES, Anchor, AnchorError, Standing, WriteBudget};
pub use approvals::{APPROVALS_BYTES_MAX, APPROVALS_MAX, ApprovalsError, parse_approvals};
pub use blob::{BLOB_BYTES_MAX, ImageBinding, SealedBlob};
pub use bytes::MalformedError;
pub use capability::{Clock, Identity, LockoutState};
pub use credential::{ActivateError, CHALLENGE_BYTES_MAX, Credential, make_credential};
pub use crypto::{KeyError, Point};
pub use error::{Exhausted, NvFault, TpmError};
pub use explain::{PcrMeaning, Reason, meaning};
pub use nv::{Counter, CounterError, NV_READ_BYTES_MAX};
pub use pcr::{NoSuchPcr, PCRS, PcrSelection, PcrValues};
pub use policy::{Binding, OR_BRANCHES_MAX, Policy, SignedPolicy, Step, policy_ref};
pub use quote::{Endorsement, EndorsementCertificates, EndorsementKind, QUALIFYING_BYTES_MAX, Quote, QuoteError};
pub use seal::{SealError, UnsealError};
pub use signer::SigningKey;
pub use tpm::{Patience, STORAGE_ROOT, Tpm};
pub use transport::{Address, AddressError, Device, FRAME_BYTES_MAX, HEADER_BYTES, Socket, Transport, TransportError};
pub use wire::{PublicArea, Template};
