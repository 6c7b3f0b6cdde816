//! The list of a backup's parts, written when all of them are durable.

/// The manifest's file.
pub const MANIFEST_FILE: &str = "manifest.json";

/// The parts of a backup and their digests, for checks without the passphrase. What keeps strangers from changing a
/// backup is not this list but the authentication of the frames.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Manifest {
    /// The version of the format: 1.
    pub format: u32,
    /// The parts in their order.
    pub parts: Vec<Part>,
}

/// A part of a backup.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Part {
    /// Its name beside the manifest.
    pub file: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
}

/// A digest in hexadecimal.
pub(crate) fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
