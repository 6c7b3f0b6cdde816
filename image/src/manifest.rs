//! The manifest of a release: what it consists of, what it will be measured as, and what an auditor compares with.

use crate::guid::Guid;
use crate::release::{PRODUCT, Release};
use lamchat_attestation::{Image, Manifest as Reference, PcrReference, Sha256};
use serde::Serialize;

/// The value of `format`.
const FORMAT: &str = "lamchat-release-manifest-1";
/// The PCRs that an auditor asks for: programs, Secure Boot, the image, what the boot loader and the stub take from
/// beside it.
const QUOTED: [u8; 5] = [4, 7, 11, 12, 13];
/// The format of the part that `lamchat attest verify` reads.
const REFERENCE_FORMAT: &str = "lamchat-reference-manifest-1";

/// Something that is in the release.
#[derive(Debug, Clone, Serialize)]
pub struct Component {
    /// What it is.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Its digest.
    pub sha256: Sha256,
}

impl Component {
    /// A component with this content.
    pub fn of(name: impl Into<String>, content: &[u8]) -> Self {
        Self {
            name: name.into(),
            bytes: content.len() as u64,
            sha256: Sha256::of(content),
        }
    }
}

/// An event that the release leads to: what it is, and its digest.
#[derive(Debug, Clone, Serialize)]
pub struct PredictedEvent {
    /// What is measured.
    pub what: &'static str,
    /// The digest that the log shows.
    pub sha256: Sha256,
}

/// What can be known before a box starts. Firmware, its settings and its list of revoked programs move PCR 4 and 7, so
/// of them there are only the events that the release contributes.
#[derive(Debug, Clone, Serialize)]
pub struct Predictions {
    /// The value of PCR 11 while the program runs.
    pub pcr11: Vec<Sha256>,
    /// Events of PCR 4: the Authenticode digests of what the firmware starts.
    pub pcr4_events: Vec<PredictedEvent>,
    /// Events of PCR 7: the operator's variables, and the certificate by which programs are accepted.
    pub pcr7_events: Vec<PredictedEvent>,
    /// The only event of PCR 12: the command line, as the boot loader has it.
    pub pcr12_events: Vec<PredictedEvent>,
    /// The value of PCR 12: nothing lies beside the image. PCR 13 is zero for the same reason.
    pub pcr12: Vec<Sha256>,
}

/// The manifest.
#[derive(Debug, Clone, Serialize)]
pub struct Manifest {
    format: &'static str,
    product: &'static str,
    version: String,
    epoch: u64,
    commit: String,
    built_at: u64,
    kernel: String,
    inputs: Vec<Component>,
    components: Vec<Component>,
    files: Vec<Component>,
    predictions: Predictions,
}

/// What a manifest lists beside the release itself.
pub struct Lists {
    /// The kernel's version.
    pub kernel: String,
    /// The pinned packages.
    pub inputs: Vec<Component>,
    /// What the images are made of.
    pub components: Vec<Component>,
    /// The files of the release.
    pub files: Vec<Component>,
    /// What will be measured.
    pub predictions: Predictions,
}

impl Manifest {
    /// The manifest of a release.
    pub fn new(release: &Release, lists: Lists) -> Self {
        Self {
            format: FORMAT,
            product: PRODUCT,
            version: release.version.clone(),
            epoch: release.epoch,
            commit: release.commit.clone(),
            built_at: release.built_at,
            kernel: lists.kernel,
            inputs: lists.inputs,
            components: lists.components,
            files: lists.files,
            predictions: lists.predictions,
        }
    }

    /// JSON with a line per member, for people and for `diff`.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        Ok(format!("{}\n", serde_json::to_string_pretty(self)?))
    }
}

/// What `lamchat attest verify` compares evidence with. `pcr12` are the values that PCR 12 may have.
pub fn reference(
    release: &Release,
    image: Image,
    loader: Sha256,
    pcr12: Vec<Sha256>,
) -> Result<String, serde_json::Error> {
    let reference = Reference {
        format: REFERENCE_FORMAT.to_owned(),
        product: PRODUCT.to_owned(),
        release: release.version.clone(),
        pcrs: QUOTED.to_vec(),
        secure_boot: true,
        images: vec![image],
        binaries: Vec::new(),
        pcr4_events: vec![loader],
        pcr7_events: Vec::new(),
        values: vec![PcrReference { pcr: 12, sha256: pcr12 }],
    };
    Ok(format!("{}\n", serde_json::to_string_pretty(&reference)?))
}

/// The digest of an event of PCR 7: UEFI_VARIABLE_DATA (TCG PC Client Platform Firmware Profile, 10.4.2).
pub fn variable_event(vendor: Guid, name: &str, content: &[u8]) -> Sha256 {
    let wide: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let characters = (wide.len() as u64 / 2).to_le_bytes();
    let length = (content.len() as u64).to_le_bytes();
    Sha256::of_parts(&[&vendor.0, &characters, &length, &wide, content])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secure_boot::GLOBAL;

    /// What every PC with Secure Boot shows for its variable SecureBoot.
    #[test]
    fn events_of_variables_are_the_firmwares() {
        assert_eq!(
            variable_event(GLOBAL, "SecureBoot", &[1]).to_string(),
            "ccfc4bb32888a345bc8aeadaba552b627d99348c767681ab3141f5b01e40a40e"
        );
    }

    #[test]
    fn auditors_read_the_reference_and_people_the_manifest() {
        let release = Release {
            version: "1.2.3".into(),
            epoch: 4,
            commit: "abc".into(),
            built_at: 5,
        };
        let image = Image {
            uki: Sha256([1; 32]),
            authenticode: Sha256([2; 32]),
            binary: Sha256([3; 32]),
            pcr11: vec![Sha256([4; 32])],
        };
        let text = reference(&release, image, Sha256([5; 32]), vec![Sha256([6; 32])]).unwrap_or_default();
        let parsed = Reference::from_bytes(text.as_bytes());
        assert!(parsed.is_ok_and(|parsed| parsed.release == "1.2.3" && parsed.secure_boot));
        let lists = Lists {
            kernel: "6.1".into(),
            inputs: vec![Component::of("a.deb", b"a")],
            components: Vec::new(),
            files: Vec::new(),
            predictions: Predictions {
                pcr11: vec![Sha256([4; 32])],
                pcr4_events: Vec::new(),
                pcr7_events: Vec::new(),
                pcr12_events: Vec::new(),
                pcr12: Vec::new(),
            },
        };
        let text = Manifest::new(&release, lists).to_json().unwrap_or_default();
        let parsed: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        let at = |pointer: &str| parsed.pointer(pointer).cloned().unwrap_or_default();
        assert_eq!(at("/format"), FORMAT);
        assert_eq!(at("/epoch"), 4);
        assert_eq!(at("/predictions/pcr11/0"), "04".repeat(32));
        assert_eq!(at("/inputs/0/bytes"), 1);
    }
}
