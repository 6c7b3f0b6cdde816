//! The update bundle: written by the image's builder, checked wholly before anything of it is used.
//!
//! `FORMAT.md` beside this crate documents it byte by byte.
//!
//! What must never happen here: a file handed out before signature, lengths and digests of all files were checked, and the
//! approvals that the box asks for.

mod approvals;
mod bundle;
mod header;
pub mod sbom;
pub mod uki;
mod version;

pub use approvals::{APPROVERS_MAX, Approvals, ApprovalsError, Approvers, approver};
pub use bundle::{BUNDLE_BYTES_MAX, BundleError, Checked, Start, check, message, write};
pub use header::{FILES_MAX, File, HEADER_BYTES_MAX, Header, HeaderError, TOTAL_BYTES_MAX};
pub use version::{Floor, Version, VersionError};
