//! The TPM that the configuration names.

use lamchat_api_admin::Tpm;
use lamchat_config::{Seal, TpmAddress};
use std::path::Path;

/// Where Linux has a machine's TPM, behind the kernel's resource manager.
const DEVICE: &str = "/dev/tpmrm0";

/// Finds it. Without one the server runs all the same, and says so everywhere.
pub fn find(seal: &Seal) -> Tpm {
    let sentence = match &seal.tpm {
        TpmAddress::None => "no TPM is used: the configuration says seal.tpm = \"none\"".to_owned(),
        TpmAddress::Auto if !Path::new(DEVICE).exists() => format!("no TPM is used: there is no {DEVICE}"),
        TpmAddress::Auto => format!("no TPM is used: this version cannot use {DEVICE} yet"),
        address => format!("no TPM is used: this version cannot use {address} yet"),
    };
    Tpm {
        sealer: None,
        sentence,
        secure_boot: lamchat_host::secure_boot(),
        pcrs: seal.pcrs.clone(),
    }
}
