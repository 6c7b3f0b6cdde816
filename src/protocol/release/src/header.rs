//! What a bundle says of itself: signed, so it is read before the files and decides over them.

use crate::version::Version;
use lamchat_attestation::Sha256;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Bytes of a header at most.
pub const HEADER_BYTES_MAX: usize = 65_536;
/// Files of a bundle at most.
pub const FILES_MAX: usize = 16;
/// Bytes of all files at most.
pub const TOTAL_BYTES_MAX: u64 = 1 << 30;
/// The files without which nothing can be installed.
const NEEDED: [&str; 2] = ["uki", "boot-loader"];
/// The product of this program.
const PRODUCT: &str = "lamchat";
/// Characters of a name or commit at most.
const NAME_CHARS_MAX: usize = 64;

/// One file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its digest.
    pub sha256: Sha256,
}

/// The header of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// What it updates.
    pub product: String,
    /// The release.
    pub version: Version,
    /// Its security epoch.
    pub epoch: u64,
    /// The source.
    pub commit: String,
    /// The time of the source, in seconds since 1970.
    pub built_at: u64,
    /// The files in their order.
    pub files: Vec<File>,
}

/// A header that is signed, and still cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// Not the JSON that the format asks for.
    #[error("the update's header is not what the format asks for: {0}")]
    Json(#[from] serde_json::Error),
    /// It is for something else.
    #[error("the update is for another product: {0}")]
    Product(String),
    /// It breaks a rule.
    #[error("the update's header cannot be used: {0}")]
    Rule(&'static str),
}

impl Header {
    /// A header for the files, in their order.
    ///
    /// # Errors
    /// It would break a rule of the format.
    pub fn to_bytes(&self) -> Result<Vec<u8>, HeaderError> {
        self.check()?;
        let bytes = serde_json::to_vec(self)?;
        if bytes.len() > HEADER_BYTES_MAX {
            return Err(HeaderError::Rule("it is too long"));
        }
        Ok(bytes)
    }

    /// Reads and checks a header whose signature was verified.
    ///
    /// # Errors
    /// Not the right JSON, another product, or it breaks a rule of the format.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, HeaderError> {
        let header: Self = serde_json::from_slice(bytes)?;
        header.check()?;
        Ok(header)
    }

    /// The length of all files.
    pub fn total(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).fold(0, u64::saturating_add)
    }

    fn check(&self) -> Result<(), HeaderError> {
        if self.product != PRODUCT {
            return Err(HeaderError::Product(
                self.product.chars().take(NAME_CHARS_MAX).collect(),
            ));
        }
        let plain = |text: &str| {
            (1..=NAME_CHARS_MAX).contains(&text.len())
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'))
        };
        let names: BTreeSet<&str> = self.files.iter().map(|file| file.name.as_str()).collect();
        let rules = [
            (plain(&self.commit), "`commit` is no name"),
            (self.files.len() <= FILES_MAX, "it has too many files"),
            (
                self.files.iter().all(|file| plain(&file.name)),
                "a file has no proper name",
            ),
            (names.len() == self.files.len(), "a file is there twice"),
            (
                NEEDED.iter().all(|name| names.contains(name)),
                "a file that is needed is missing",
            ),
            (self.files.iter().all(|file| file.bytes > 0), "a file is empty"),
            (self.total() <= TOTAL_BYTES_MAX, "its files are too long"),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(HeaderError::Rule(rule)),
            None => Ok(()),
        }
    }
}
