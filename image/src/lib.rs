//! Builds the image: from pinned packages of Debian and the static `lamchat`, without root, mounts or other programs.
//!
//! Everything here is a function of its inputs: no clock, no random numbers (but for new keys), no order of a folder or
//! of threads. So whoever has the source and the inputs gets the same bytes, and can check a release by building it.
//!
//! What must never happen here: a private key in a file of the output; a signature that two runs make differently; an
//! input that is not the pinned one.

mod approve;
mod assemble;
mod authenticode;
mod cpio;
mod deb;
mod der;
mod disk;
mod esp;
mod ext4;
mod file;
pub mod gpt;
mod guid;
mod inputs;
mod keys;
mod manifest;
mod modules;
mod pcr11;
mod pe;
mod release;
mod sbom;
mod secure_boot;
mod signer;
mod source;
mod statements;
mod uki;
mod unpack;
mod verify;

pub use approve::{ApproveError, approve, name_approvers};
pub use assemble::{AssembleError, BootFiles, Sources, assemble, boot_files};
pub use file::FileError;
pub use guid::Guid;
pub use inputs::{InputError, Package, fetch, pinned};
pub use keys::{KeyError, Keys, ReleaseKey, end_rotation, rotate};
pub use release::{EPOCH, Release};
pub use signer::{Signer, SignerError};
pub use source::{Needs, SourceError, built_at, commit, compile, needs, workspace};
pub use verify::{Verified, VerifyError, verify};
