//! The policy of our image: releases that the operator's key approves, from a security epoch on, on this firmware. And
//! what of it is told of a slot.

use crate::sealer::{failure, unavailable};
use lamchat_seal::{SealerError, SealerReason, SlotInfo, SlotKind};
use lamchat_tpm::{Binding, OR_BRANCHES_MAX, PcrSelection, Point, SealedBlob, SignedPolicy, Tpm};

/// The PCR that a release approves: systemd's stub measures the image into it.
pub const IMAGE_PCR: u8 = 11;

/// Longest text of evidence.
const SENTENCE_CHARS_MAX: usize = 255;

/// What a release of the image brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// The operator's release key.
    pub key: Point,
    /// Its approvals, of several epochs or keys perhaps.
    pub approvals: Vec<SignedPolicy>,
}

impl Release {
    /// The highest epoch that the release key approves for anything at all; what is measured is not compared.
    pub fn epoch(&self) -> Option<u64> {
        let own = self
            .approvals
            .iter()
            .filter(|approval| approval.is_signed_by(&self.key));
        own.map(|approval| approval.epoch).max()
    }
}

/// The epochs that open what is sealed at this floor: as many as a policy holds, so that the releases to come open it.
pub fn epochs(floor: u64) -> Vec<u64> {
    let last = floor.saturating_add(OR_BRANCHES_MAX as u64 - 1);
    (floor..=last).collect()
}

/// What is sealed to from now on: on the image its policy, which the running release has to meet itself; else these PCRs.
/// `floor`: the lowest epoch that opens it; without one, that of the running release.
pub(crate) fn binding(
    tpm: &mut Tpm,
    release: Option<&Result<Release, String>>,
    fixed: PcrSelection,
    floor: Option<u64>,
) -> Result<Binding, SealerError> {
    let refused = |explanation: String| failure(SealerReason::Refused, explanation);
    let release = match release {
        None => return Ok(Binding::Pcrs { fixed }),
        Some(release) => release.as_ref().map_err(|why| refused(why.clone()))?,
    };
    let signed = PcrSelection::new(&[IMAGE_PCR]).map_err(|error| refused(error.to_string()))?;
    let now = tpm.read_pcrs(&signed).map_err(|error| unavailable(&error))?;
    let running = release
        .approvals
        .iter()
        .filter(|approval| approval.pcrs == now && approval.is_signed_by(&release.key));
    let Some(running) = running.map(|approval| approval.epoch).max() else {
        return Err(refused(format!(
            "the release key approves nothing that fits PCR {IMAGE_PCR} as it is: this is not the image that was released \
             (`seal.release_key` is for the image alone)"
        )));
    };
    let floor = floor.unwrap_or(running);
    let epochs = epochs(floor);
    if !epochs.contains(&running) {
        let last = epochs.last().copied().unwrap_or(floor);
        return Err(refused(format!(
            "the running release has security epoch {running}, and a floor of {floor} admits epochs {floor} to {last}"
        )));
    }
    Ok(Binding::Image {
        release_key: release.key,
        signed,
        epochs,
        fixed,
    })
}

/// What a `tpm` slot is bound to, from its blob, which nothing has authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotSeal {
    /// The slot.
    pub slot: u32,
    /// Whether it asks for a PIN.
    pub pin: bool,
    /// The PCRs that must stay as they are.
    pub pcrs: Vec<u8>,
    /// The image's policy; `None`: these PCRs only.
    pub image: Option<ImageSeal>,
}

/// The image's policy in a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSeal {
    /// SHA-256 of the release key in SubjectPublicKeyInfo.
    pub release_key: [u8; 32],
    /// The security epochs that open it, ascending; the first is the floor.
    pub epochs: Vec<u64>,
}

impl SlotSeal {
    /// Of a slot with this blob; `None` if it is damaged.
    pub(crate) fn of(slot: u32, blob: &[u8]) -> Option<Self> {
        let blob = SealedBlob::parse(blob).ok()?;
        Some(Self {
            slot,
            pin: blob.pin,
            pcrs: blob.fixed.selection().iter().collect(),
            image: blob.image.map(|image| ImageSeal {
                release_key: image.release_key.fingerprint(),
                epochs: image.epochs,
            }),
        })
    }

    /// How much it says, in few words.
    pub fn sentence(&self) -> String {
        let pcrs: Vec<String> = self.pcrs.iter().map(u8::to_string).collect();
        let (pcrs, pin) = (pcrs.join(", "), if self.pin { ", and a PIN" } else { "" });
        let Some(image) = &self.image else {
            return format!("PCR {pcrs} only{pin}");
        };
        let ends = image.epochs.first().into_iter().chain(image.epochs.last());
        let ends: Vec<String> = ends.map(u64::to_string).collect();
        format!(
            "image policy, security epochs {}: PCR {IMAGE_PCR} as the release key approves and PCR {pcrs} as it was{pin}",
            ends.join(" to ")
        )
    }

    /// The lowest epoch that opens it, under the image's policy.
    pub fn floor(&self) -> Option<u64> {
        self.image.as_ref()?.epochs.first().copied()
    }
}

/// How all slots of a keyring are sealed, for evidence: at most 255 printable characters.
pub(crate) fn sealed_like(slots: &[SlotInfo], seals: &[SlotSeal]) -> String {
    let has = |kind| slots.iter().any(|slot| slot.kind == kind);
    if has(SlotKind::File) {
        return "not at all: a file beside the keys opens them".to_owned();
    }
    if !has(SlotKind::Tpm) {
        return "to no TPM: a recovery key or a passphrase opens them".to_owned();
    }
    let mut sentences: Vec<String> = seals.iter().map(SlotSeal::sentence).collect();
    sentences.sort();
    sentences.dedup();
    let all = sentences.join("; or ");
    if all.len() <= SENTENCE_CHARS_MAX {
        return all;
    }
    format!("to a TPM in {} ways", sentences.len())
}

#[cfg(test)]
mod tests {
    use super::epochs;

    #[test]
    fn a_floor_admits_as_many_epochs_as_a_policy_holds() {
        assert_eq!(epochs(3), [3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(epochs(u64::MAX), [u64::MAX]);
        assert_eq!(epochs(u64::MAX - 1), [u64::MAX - 1, u64::MAX]);
    }
}
