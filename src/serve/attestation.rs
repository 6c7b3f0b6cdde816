//! Evidence of this server: what the TPM and the keyring say, and what the exchange says of itself. This file is where
//! the two meet.

use super::certificates::Certificates;
use super::tpm;
use super::{StartError, refused};
use lamchat_api_admin::{Attest, AttestFailure, Endpoint};
use lamchat_attestation::{BoundKey, KeyUse, Sha256, public_key_info};
use lamchat_attester::{AttestError, Attester, Machine, Made, Nonce, Places, Settings, Statement, fingerprints};
use lamchat_audit::AuditLog;
use lamchat_base::{Clock, Entropy};
use lamchat_config::{Config, Rate, TpmAddress};
use lamchat_seal::Keyring;
use lamchat_tpm::{Address, Tpm};
use parking_lot::Mutex;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The most that one operation may take: a firmware TPM makes an RSA key in some ten seconds.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(60);

/// The attester with everything that it asks.
pub struct Evidence {
    attester: Attester,
    address: Result<Address, String>,
    entropy: Arc<dyn Entropy>,
    clock: Arc<dyn Clock>,
    keyring: Arc<Keyring>,
    audit: Arc<AuditLog>,
    certificates: Arc<Certificates>,
    server_name: String,
    configuration: Mutex<Sha256>,
    /// A software TPM talks to one client at a time.
    busy: Mutex<()>,
}

/// What the evidence is about, beside the configuration.
pub struct Subjects<'a> {
    pub entropy: &'a Arc<dyn Entropy>,
    pub clock: &'a Arc<dyn Clock>,
    pub keyring: &'a Arc<Keyring>,
    pub audit: &'a Arc<AuditLog>,
    pub certificates: &'a Arc<Certificates>,
}

impl Evidence {
    /// Opens the machine's files and reads the operator's certificates.
    pub fn open(config: &Config, subjects: &Subjects<'_>) -> Result<Self, StartError> {
        let section = &config.attestation;
        let mut places = match &config.seal.tpm {
            TpmAddress::Auto | TpmAddress::Device(_) | TpmAddress::None => Places::of_machine(),
            TpmAddress::Tcp { .. } => Places::of_software_tpm(),
        };
        if section.event_log.is_some() {
            places.event_log.clone_from(&section.event_log);
        }
        places.uki.clone_from(&section.uki);
        let mut pcrs: Vec<u8> = section.pcrs.iter().filter_map(|pcr| u8::try_from(*pcr).ok()).collect();
        pcrs.sort_unstable();
        let settings = Settings {
            pcrs,
            ek_certificates: read_certificates(&section.ek_certificates)?,
        };
        Ok(Self {
            attester: Attester::new(Machine::open(&places), settings, crate::cli::VERSION),
            address: tpm::address(&config.seal.tpm),
            entropy: Arc::clone(subjects.entropy),
            clock: Arc::clone(subjects.clock),
            keyring: Arc::clone(subjects.keyring),
            audit: Arc::clone(subjects.audit),
            certificates: Arc::clone(subjects.certificates),
            server_name: config.server_name.to_string(),
            configuration: Mutex::new(digest(config)),
            busy: Mutex::new(()),
        })
    }

    /// Takes note of the configuration that is in use from now on.
    pub fn reconfigure(&self, config: &Config) {
        *self.configuration.lock() = digest(config);
    }

    fn with_tpm<T>(&self, operation: impl FnOnce(&mut Tpm) -> Result<T, AttestError>) -> Result<T, AttestFailure> {
        let address = self.address.as_ref();
        let address = address.map_err(|why| AttestFailure::Unavailable(format!("there is no TPM: {why}")))?;
        let busy = self.busy.lock();
        let transport = address.open().map_err(unavailable)?;
        let transport = Box::new(tpm::Deadline::new(transport, OPERATION_TIMEOUT));
        let result = operation(&mut Tpm::new(transport, Arc::clone(&self.entropy)));
        drop(busy);
        result.map_err(|error| match error {
            AttestError::Challenge(_) | AttestError::OtherBox => AttestFailure::Invalid(error.to_string()),
            error => unavailable(error),
        })
    }

    /// The keys that are under the master key, and the one that signs the audit log.
    fn own_keys(&self) -> Result<Vec<BoundKey>, AttestFailure> {
        let mut keys = fingerprints(|name| self.keyring.unseal_secret(name)).map_err(unavailable)?;
        let audit = self.audit.status().map_err(unavailable)?.key;
        keys.extend(audit.point().map(|point| BoundKey {
            usage: KeyUse::Audit,
            sha256: Sha256::of(&public_key_info(point)),
        }));
        Ok(keys)
    }
}

impl Attest for Evidence {
    fn evidence(&self, nonce: &Nonce) -> Result<Made, AttestFailure> {
        let began = Instant::now();
        let own = self.own_keys()?;
        let checkpoint = self.audit.sign().map_err(unavailable)?;
        let statement = Statement {
            server_name: self.server_name.clone(),
            configuration: *self.configuration.lock(),
            tls_files: self.certificates.file_keys().into_iter().map(Sha256).collect(),
        };
        let now = self.clock.now_ms() / 1_000;
        let checkpoint = Some(checkpoint.to_string().into_bytes());
        let made = self.with_tpm(|tpm| {
            let attester = &self.attester;
            attester.evidence(tpm, nonce, &own, checkpoint, &statement, now)
        })?;
        tracing::info!(milliseconds = began.elapsed().as_millis(), "evidence was given");
        Ok(made)
    }

    fn request(&self) -> Result<Made, AttestFailure> {
        self.with_tpm(|tpm| self.attester.request(tpm))
    }

    fn activate(&self, challenge: &[u8]) -> Result<Made, AttestFailure> {
        let answer = self.with_tpm(|tpm| self.attester.activate(tpm, challenge))?;
        Ok(Made {
            file: answer.to_bytes(),
            missing: Vec::new(),
        })
    }
}

fn unavailable(error: impl std::fmt::Display) -> AttestFailure {
    AttestFailure::Unavailable(error.to_string())
}

fn digest(config: &Config) -> Sha256 {
    Sha256::of(config.canonical().as_bytes())
}

/// Every certificate of these PEM files.
fn read_certificates(files: &[PathBuf]) -> Result<Vec<Vec<u8>>, StartError> {
    let mut certificates = Vec::new();
    for file in files {
        let named =
            |error: &dyn std::fmt::Display| refused(format!("attestation.ek_certificates {}: {error}", file.display()));
        let pem = std::fs::read(file).map_err(|error| named(&error))?;
        let found = certificates.len();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            certificates.push(certificate.map_err(|error| named(&error))?.to_vec());
        }
        if certificates.len() == found {
            return Err(named(&"there is no certificate in PEM form"));
        }
    }
    Ok(certificates)
}

/// The endpoint for everybody, as configured.
pub fn endpoint(config: &Config) -> Endpoint {
    let rate = |rate: Rate| lamchat_http::Rate {
        per_second: rate.per_second(),
        burst: rate.burst,
    };
    let section = &config.attestation;
    Endpoint {
        enabled: section.endpoint,
        rate_by_address: rate(section.rate_by_address),
        rate: rate(section.rate),
    }
}
