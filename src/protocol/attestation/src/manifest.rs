//! The reference manifest: what an auditor expects to find. The builder of the image writes it, `FORMAT.md` documents it.
//!
//! It is the auditor's own file: white space and any order of members are fine, unknown and doubled members are not.

use crate::appraisal::BESIDE_IMAGE;
use crate::limits::{FILE_BYTES_MAX, NAME_BYTES_MAX, PCRS_MAX, REFERENCES_MAX};
use crate::sha256::Sha256;
use serde::{Deserialize, Serialize};

/// The value of `format`.
pub const FORMAT: &str = "lamchat-reference-manifest-1";

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Larger than any honest one.
    #[error("the manifest has {bytes} bytes; at most {FILE_BYTES_MAX} are read")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Not the JSON that the format asks for.
    #[error("the manifest is not what the format asks for: {0}")]
    Json(#[from] serde_json::Error),
    /// It contradicts itself.
    #[error("the manifest cannot be used: {0}")]
    Rule(&'static str),
}

/// One bootable image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// SHA-256 of the file of the unified kernel image.
    pub uki: Sha256,
    /// Its Authenticode digest: what the firmware measures into PCR 4 when it starts the image.
    pub authenticode: Sha256,
    /// SHA-256 of the `lamchat` program in it.
    pub binary: Sha256,
    /// The values that PCR 11 may have when the program runs, computed when the image was built.
    pub pcr11: Vec<Sha256>,
}

/// The values that a PCR may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PcrReference {
    /// Its number.
    pub pcr: u8,
    /// The values, any of which will do.
    pub sha256: Vec<Sha256>,
}

/// What an auditor expects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// `lamchat`.
    pub product: String,
    /// The release, or a name for a set of releases.
    pub release: String,
    /// The PCRs that must be quoted, all of them and no other, in ascending order: 0 to 15.
    pub pcrs: Vec<u8>,
    /// Whether the firmware must have had Secure Boot on (PCR 7).
    pub secure_boot: bool,
    /// The images that may be running. Empty on an ordinary distribution, where nothing measures the program.
    #[serde(default)]
    pub images: Vec<Image>,
    /// Programs that may be running outside of an image.
    #[serde(default)]
    pub binaries: Vec<Sha256>,
    /// Digests of further programs that the firmware may have started (PCR 4): boot loader, kernel within the image.
    #[serde(default)]
    pub pcr4_events: Vec<Sha256>,
    /// If not empty: the digests of all events that PCR 7 may have, its separator aside.
    #[serde(default)]
    pub pcr7_events: Vec<Sha256>,
    /// Whole values of further PCRs.
    #[serde(default)]
    pub values: Vec<PcrReference>,
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// It is too large, not the right JSON, or contradicts itself.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > FILE_BYTES_MAX {
            return Err(ManifestError::TooLong { bytes: bytes.len() });
        }
        let manifest: Self = serde_json::from_slice(bytes)?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), ManifestError> {
        let quoted = |pcr: u8| self.pcrs.contains(&pcr);
        let names = [&self.product, &self.release];
        let lists = [&self.binaries, &self.pcr4_events, &self.pcr7_events];
        let nested = self.images.iter().map(|image| &image.pcr11);
        let nested = nested.chain(self.values.iter().map(|reference| &reference.sha256));
        let rules = [
            (self.format == FORMAT, "`format` is another"),
            (self.product == "lamchat", "`product` is another"),
            (
                names
                    .iter()
                    .all(|name| name.len() <= NAME_BYTES_MAX && name.chars().all(|c| !c.is_control())),
                "a name is too long or has control characters",
            ),
            (!self.pcrs.is_empty(), "`pcrs` is empty"),
            (
                self.pcrs.is_sorted_by(|left, right| left < right)
                    && self.pcrs.iter().all(|pcr| usize::from(*pcr) < PCRS_MAX),
                "`pcrs` must be ascending numbers from 0 to 15",
            ),
            (!self.secure_boot || quoted(7), "`secure_boot` needs PCR 7 in `pcrs`"),
            (
                self.images.is_empty() || [4, 11].into_iter().chain(BESIDE_IMAGE).all(quoted),
                "`images` need PCR 4, 11, 12 and 13 in `pcrs`",
            ),
            (
                !self.images.is_empty() || !self.binaries.is_empty(),
                "neither `images` nor `binaries` are there",
            ),
            (
                self.pcr4_events.is_empty() || quoted(4),
                "`pcr4_events` need PCR 4 in `pcrs`",
            ),
            (
                self.pcr7_events.is_empty() || quoted(7),
                "`pcr7_events` need PCR 7 in `pcrs`",
            ),
            (
                self.values.iter().all(|reference| quoted(reference.pcr)),
                "`values` has a PCR that is not in `pcrs`",
            ),
            (
                lists.into_iter().chain(nested).all(|list| list.len() <= REFERENCES_MAX)
                    && self.images.len() <= REFERENCES_MAX
                    && self.values.len() <= PCRS_MAX,
                "a list is too long",
            ),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err(ManifestError::Rule(rule)),
            None => Ok(()),
        }
    }
}
