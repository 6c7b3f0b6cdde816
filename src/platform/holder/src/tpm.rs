//! The TPM as the holder is given it.

use crate::reply::TpmStatus;
use crate::sandbox::TpmPlace;
use crate::sealer::TpmSealer;
use lamchat_base::{Entropy, SecretBytes};
use lamchat_hardware::{TpmMake, Version};
use lamchat_seal::Sealer;
use lamchat_tpm::{Address, PcrSelection, TpmError, meaning};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

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
                pin: false,
            },
        }
    }

    /// The one at `address`, without a word to it. `secure_boot`: what the firmware says, if it says anything.
    pub fn at(
        address: Address,
        pcrs: PcrSelection,
        pin: bool,
        secure_boot: Option<bool>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let asks = if pin { "; it asks for a PIN at every start" } else { "" };
        let sentence = format!("the TPM at {address} is used, with {}{asks}", claim(&pcrs));
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
                pin,
            },
            sealer: Some(TpmSealer::new(address, pcrs, entropy)),
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
        let sealer = self.sealer.as_ref()?;
        Some(match pin {
            Some(pin) => Arc::new(sealer.with_pin(pin)),
            None => Arc::new(sealer.clone()),
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
