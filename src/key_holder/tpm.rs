//! The TPM that the configuration names.

use super::release;
use lamchat_base::Entropy;
use lamchat_config::{Seal, TpmAddress};
use lamchat_holder::Tpm;
use lamchat_tpm::{Address, PcrSelection};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

/// Where Linux has a machine's TPM, behind the kernel's resource manager.
const DEVICE: &str = "/dev/tpmrm0";

/// Finds it, without a word to it: a start without a TPM costs nothing. Without one the server runs all the same, and
/// says so everywhere.
pub fn find(seal: &Seal, entropy: &Arc<dyn Entropy>) -> Tpm {
    // The check of the configuration refused what is out of range.
    let pcrs: Vec<u8> = seal.pcrs.iter().filter_map(|pcr| u8::try_from(*pcr).ok()).collect();
    let selection = PcrSelection::new(&pcrs).map_err(|error| error.to_string());
    // A TPM in software knows nothing of how this machine booted.
    let software = matches!(seal.tpm, TpmAddress::Tcp { .. });
    let secure_boot = lamchat_host::secure_boot().filter(|_| !software);
    match address(&seal.tpm).and_then(|address| Ok((selection?, address))) {
        Ok((selection, address)) => {
            let release = seal
                .release_key
                .as_deref()
                .map(|key| release::read(key, &seal.pcr_signature));
            Tpm::at(address, selection, seal.pin, secure_boot, release, Arc::clone(entropy))
        }
        Err(why) => Tpm::none(&why, &pcrs, secure_boot),
    }
}

/// Where it is; or why there is none.
fn address(configured: &TpmAddress) -> Result<Address, String> {
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::address;
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
}
