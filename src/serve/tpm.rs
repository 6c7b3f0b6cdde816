//! The TPM that the configuration names.

mod deadline;
mod sealer;

pub use deadline::Deadline;
use lamchat_api_admin::Tpm;
use lamchat_base::Entropy;
use lamchat_config::{Seal, TpmAddress};
use lamchat_seal::Sealer;
use lamchat_tpm::{Address, PcrSelection, meaning};
use sealer::TpmSealer;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

/// Where Linux has a machine's TPM, behind the kernel's resource manager.
const DEVICE: &str = "/dev/tpmrm0";

/// Finds it, without a word to it: a start without a TPM costs nothing. Without one the server runs all the same, and
/// says so everywhere.
pub fn find(seal: &Seal, entropy: &Arc<dyn Entropy>) -> Tpm {
    let (sealer, sentence) = match address(&seal.tpm).and_then(|address| Ok((pcrs(&seal.pcrs)?, address))) {
        Ok((selection, address)) => {
            let sentence = format!("the TPM at {address} is used, with {}", claim(&selection));
            let sealer = TpmSealer::new(address, selection, Arc::clone(entropy));
            (Some(Arc::new(sealer) as Arc<dyn Sealer>), sentence)
        }
        Err(why) => (None, format!("no TPM is used: {why}")),
    };
    // A software TPM knows nothing of how this machine booted.
    let software = matches!(seal.tpm, TpmAddress::Tcp { .. });
    Tpm {
        sealer,
        sentence,
        secure_boot: lamchat_host::secure_boot().filter(|_| !software),
        pcrs: seal.pcrs.clone(),
    }
}

/// Where it is; or why there is none.
pub fn address(configured: &TpmAddress) -> Result<Address, String> {
    match configured {
        TpmAddress::None => Err("the configuration says seal.tpm = \"none\"".to_owned()),
        TpmAddress::Auto if !Path::new(DEVICE).exists() => Err(format!("there is no {DEVICE}")),
        TpmAddress::Auto => Ok(Address::Device(DEVICE.into())),
        TpmAddress::Device(path) => Ok(Address::Device(path.clone())),
        TpmAddress::Tcp { host, port } => {
            // A name server has no say in which TPM this is.
            let host = match host.as_str() {
                "localhost" => Ok(IpAddr::V4(Ipv4Addr::LOCALHOST)),
                host => host.parse(),
            };
            let host = host.map_err(|_| format!("seal.tpm = \"{configured}\" names a host, write its IP address"))?;
            Ok(Address::Tcp(SocketAddr::new(host, *port)))
        }
    }
}

fn pcrs(configured: &[u32]) -> Result<PcrSelection, String> {
    // The check of the configuration refused what is out of range.
    let numbers: Result<Vec<u8>, _> = configured.iter().map(|pcr| u8::try_from(*pcr)).collect();
    let numbers = numbers.map_err(|error| error.to_string())?;
    PcrSelection::new(&numbers).map_err(|error| error.to_string())
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
    use super::{address, claim, pcrs};
    use lamchat_config::TpmAddress;

    #[test]
    fn a_name_is_no_address_of_a_tpm() {
        let tcp = |host: &str| {
            let host = host.to_owned();
            address(&TpmAddress::Tcp { host, port: 1 })
        };
        assert_eq!(tcp("localhost").unwrap().to_string(), "tcp:127.0.0.1:1");
        assert_eq!(tcp("::1").unwrap().to_string(), "tcp:[::1]:1");
        assert!(tcp("tpm.example").unwrap_err().contains("IP address"));
        assert!(address(&TpmAddress::None).unwrap_err().contains("none"));
    }

    #[test]
    fn a_claim_names_its_pcrs_and_what_they_contain() {
        assert!(claim(&pcrs(&[7]).unwrap()).starts_with("PCR 7 only"));
        let several = claim(&pcrs(&[0, 7]).unwrap());
        assert!(several.contains("0 (the firmware's code), 7 (Secure Boot"), "{several}");
        assert!(pcrs(&[24]).is_err());
        assert!(pcrs(&[263]).is_err());
    }
}
