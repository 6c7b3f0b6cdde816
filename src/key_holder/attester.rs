//! What makes evidence, from the configuration.

use lamchat_attester::{Attester, Machine, Places, Settings};
use lamchat_config::{Config, TpmAddress};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::path::PathBuf;

/// Opens the machine's files, which the sandbox would keep closed later.
pub fn open(config: &Config) -> Result<Attester, String> {
    let section = &config.attestation;
    let mut places = match &config.seal.tpm {
        TpmAddress::Auto | TpmAddress::Device(_) | TpmAddress::None => Places::of_machine(),
        TpmAddress::Tcp { .. } => Places::of_software_tpm(),
    };
    if section.event_log.is_some() {
        places.event_log.clone_from(&section.event_log);
    }
    places.uki.clone_from(&section.uki);
    places.uki_sha256.clone_from(&section.uki_sha256);
    // The check of the configuration refused what is out of range.
    let mut pcrs: Vec<u8> = section.pcrs.iter().filter_map(|pcr| u8::try_from(*pcr).ok()).collect();
    pcrs.sort_unstable();
    let settings = Settings {
        pcrs,
        ek_certificates: ek_certificates(&section.ek_certificates)?,
    };
    Ok(Attester::new(Machine::open(&places), settings, crate::cli::VERSION))
}

/// Every certificate of these PEM files.
pub fn ek_certificates(files: &[PathBuf]) -> Result<Vec<Vec<u8>>, String> {
    let mut certificates = Vec::new();
    for file in files {
        let named = |why: String| format!("attestation.ek_certificates {}: {why}", file.display());
        let pem = std::fs::read(file).map_err(|error| named(error.to_string()))?;
        let known = certificates.len();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|error| named(error.to_string()))?;
            certificates.push(certificate.to_vec());
        }
        if certificates.len() == known {
            return Err(named("there is no certificate in PEM form".to_owned()));
        }
    }
    Ok(certificates)
}
