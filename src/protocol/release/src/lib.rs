//! The update bundle: written by the image's builder, checked wholly before anything of it is used.
//!
//! `FORMAT.md` beside this crate documents it byte by byte.
//!
//! What must never happen here: a file handed out before signature, lengths and digests of all files were checked.

mod bundle;
mod header;
mod version;

pub use bundle::{BundleError, Checked, check, message, write};
pub use header::{FILES_MAX, File, HEADER_BYTES_MAX, Header, HeaderError, TOTAL_BYTES_MAX};
pub use version::{Floor, Version, VersionError};
