//! The TPM as the holder is given it.

use crate::image::{IMAGE_PCR, Release};
use crate::reply::{PinUse, TpmStatus};
use crate::sandbox::TpmPlace;
use crate::sealer::TpmSealer;
use lamchat_base::{Entropy, SecretBytes};
use lamchat_hardware::{TpmMake, Version};
use lamchat_seal::Sealer;
use lamchat_tpm::{Address, PcrSelection, TpmError, meaning};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What is added to the sentence about a TPM that has a PIN.
pub(crate) const ASKS: &str = "; it asks for a PIN at every start";

/// The TPM that the configuration names, or why there is none.
#[derive(Debug)]
pub struct Tpm {
    sealer: Option<TpmSealer>,
    place: Place,
    /// What is told about it.
    pub(crate) status: TpmStatus,
}

#[derive(Debug)]
enum Place {
    Nowhere,
    Device(PathBuf),
    Network,
}

impl Tpm {
    /// None, with the reason: half a sentence. `pcrs`: those that would be sealed to.
    pub fn none(why: &str, pcrs: &[u8], secure_boot: Option<bool>) -> Self {
        Self {
            sealer: None,
            place: Place::Nowhere,
            status: TpmStatus {
                present: false,
                sentence: format!("no TPM is used: {why}"),
                secure_boot,
                pcrs: pcrs.to_vec(),
                pin: PinUse::None,
                problem: None,
            },
        }
    }

    /// The one at `address`, without a word to it. `secure_boot`: what the firmware says, if it says anything. `release`:
    /// what the image of this machine was released with, or why that cannot be used; `None` without an image.
    pub fn at(
        address: Address,
        pcrs: PcrSelection,
        pin: bool,
        secure_boot: Option<bool>,
        release: Option<Result<Release, String>>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let asks = if pin { ASKS } else { "" };
        let claim = match &release {
            None => claim(&pcrs),
            Some(Ok(release)) => image_claim(&pcrs, release.epoch()),
            Some(Err(why)) => format!("nothing to seal to: {why}"),
        };
        let problem = release.as_ref().and_then(|release| release.as_ref().err().cloned());
        let sentence = format!("the TPM at {address} is used, with {claim}{asks}");
        let place = match &address {
            Address::Device(path) => Place::Device(path.clone()),
            Address::Tcp(_) | Address::Unix(_) => Place::Network,
        };
        Self {
            place,
            status: TpmStatus {
                present: true,
                sentence,
                secure_boot,
                pcrs: pcrs.iter().collect(),
                pin: if pin { PinUse::Typed } else { PinUse::None },
                problem,
            },
            sealer: Some(match release {
                Some(release) => TpmSealer::new(address, pcrs, entropy).with_release(release),
                None => TpmSealer::new(address, pcrs, entropy),
            }),
        }
    }

    /// Where it is, for the sandbox.
    pub(crate) fn place(&self) -> TpmPlace<'_> {
        match &self.place {
            Place::Nowhere => TpmPlace::Nowhere,
            Place::Device(path) => TpmPlace::Device(path),
            Place::Network => TpmPlace::Network,
        }
    }

    /// The TPM for everything that takes no PIN.
    pub(crate) fn plain(&self) -> Option<&TpmSealer> {
        self.sealer.as_ref()
    }

    /// Does something with the TPM, which may take so long in all; `None`: there is none.
    pub(crate) fn with<T, E: From<TpmError>>(
        &self,
        limit: Duration,
        operation: impl FnOnce(&mut lamchat_tpm::Tpm) -> Result<T, E>,
    ) -> Option<Result<T, E>> {
        Some(self.sealer.as_ref()?.with_tpm_for(limit, operation))
    }

    /// What it says of itself, within a few seconds; a sentence where it says nothing.
    pub(crate) fn make(&self) -> Result<TpmMake, String> {
        let none = || self.status.sentence.clone();
        let identity = self.sealer.as_ref().ok_or_else(none)?.identity();
        let identity = identity.map_err(|error| error.to_string())?;
        Ok(TpmMake {
            manufacturer: identity.manufacturer,
            model: identity.vendor,
            firmware: Version(identity.firmware),
        })
    }

    /// What seals, with a PIN where one was typed.
    pub(crate) fn sealer(&self, pin: Option<SecretBytes>) -> Option<Arc<dyn Sealer>> {
        self.sealer_from(None, pin, &[], false)
    }

    /// The same at a floor, where the image's policy is sealed to; `former`: the blobs that slots have until then;
    /// `owns_tpm`: whether counters like ours can be nobody else's.
    pub(crate) fn sealer_from(
        &self,
        floor: Option<u64>,
        pin: Option<SecretBytes>,
        former: &[(u32, Vec<u8>)],
        owns_tpm: bool,
    ) -> Option<Arc<dyn Sealer>> {
        let sealer = self
            .sealer
            .clone()?
            .with_floor(floor)
            .with_former(former)
            .owning(owns_tpm);
        Some(match pin {
            Some(pin) => Arc::new(sealer.with_pin(pin)),
            None => Arc::new(sealer),
        })
    }
}

/// How much a seal to these PCRs says, and how little.
fn claim(pcrs: &PcrSelection) -> String {
    let numbers: Vec<u8> = pcrs.iter().collect();
    if numbers == [7] {
        return "PCR 7 only: the keys open on this machine while Secure Boot and its keys stay as they are, and for any \
                system that the same vendors signed"
            .to_owned();
    }
    let contents: Vec<String> = numbers
        .iter()
        .map(|pcr| format!("{pcr} ({})", meaning(*pcr).contains))
        .collect();
    format!(
        "PCR {} only: the keys open on this machine while these stay as they are",
        contents.join(", ")
    )
}

/// The same for our image.
fn image_claim(pcrs: &PcrSelection, epoch: Option<u64>) -> String {
    let numbers: Vec<String> = pcrs.iter().map(|pcr| pcr.to_string()).collect();
    let epoch = epoch.map_or_else(
        || "the release key signed none of its approvals".to_owned(),
        |epoch| format!("this one has security epoch {epoch}"),
    );
    format!(
        "the image's policy: the keys open for releases that the operator's key approves (PCR {IMAGE_PCR}; {epoch}) while \
         PCR {} stays as it is",
        numbers.join(", ")
    )
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::claim;
    use lamchat_tpm::PcrSelection;

    #[test]
    fn a_claim_names_its_pcrs_and_what_they_contain() {
        assert!(claim(&PcrSelection::new(&[7]).unwrap()).starts_with("PCR 7 only"));
        let several = claim(&PcrSelection::new(&[0, 7]).unwrap());
        assert!(several.contains("0 (the firmware's code), 7 (Secure Boot"), "{several}");
    }
}
