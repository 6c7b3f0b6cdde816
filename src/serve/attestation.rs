//! Evidence of this server: the key holder makes it; here is what the exchange says of itself.

use super::certificates::Certificates;
use super::configuration::digest;
use super::{StartError, refused};
use crate::key_holder::ek_certificates;
use lamchat_api_admin::{Attest, AttestFailure, Endpoint};
use lamchat_attestation::Sha256;
use lamchat_attester::{Made, Nonce, SECRETS, Statement};
use lamchat_audit::AuditLog;
use lamchat_config::{Config, Rate};
use lamchat_holder::{AskError, Client, Reason, Sealed};
use lamchat_seal::DataKeys;
use lamchat_store::Store;
use parking_lot::Mutex;
use std::sync::Arc;

/// What the key holder is told, and the way to it.
pub struct Evidence {
    holder: Arc<Client>,
    audit: Arc<AuditLog>,
    certificates: Arc<Certificates>,
    keys: Arc<DataKeys>,
    server_name: String,
    configuration: Mutex<Sha256>,
}

impl Evidence {
    /// Refuses certificates of the operator's that cannot be read, which the key holder could only report later; and tells
    /// it those that are kept.
    pub fn open(
        config: &Config,
        holder: &Arc<Client>,
        audit: &Arc<AuditLog>,
        certificates: &Arc<Certificates>,
        keys: &Arc<DataKeys>,
        store: &Store,
    ) -> Result<Self, StartError> {
        ek_certificates(&config.attestation.ek_certificates).map_err(refused)?;
        let kept = lamchat_api_admin::ek_certificates::kept(&store.read()).map_err(refused)?;
        holder.ek_certificates(kept).map_err(refused)?;
        Ok(Self {
            holder: Arc::clone(holder),
            audit: Arc::clone(audit),
            certificates: Arc::clone(certificates),
            keys: Arc::clone(keys),
            server_name: config.server_name.to_string(),
            configuration: Mutex::new(digest(config)),
        })
    }

    /// Takes note of the configuration that is in use from now on.
    pub fn reconfigure(&self, config: &Config) {
        *self.configuration.lock() = digest(config);
    }
}

impl Attest for Evidence {
    fn evidence(&self, nonce: &Nonce) -> Result<Made, AttestFailure> {
        // The key holder has only heads that were signed: so the newest one is, now.
        self.audit
            .sign()
            .map_err(|error| AttestFailure::Unavailable(error.to_string()))?;
        let statement = Statement {
            server_name: self.server_name.clone(),
            configuration: *self.configuration.lock(),
            tls_files: self.certificates.file_keys().into_iter().map(Sha256).collect(),
        };
        let secrets = self.keys.sealed_secrets();
        let secrets = secrets.map_err(|error| AttestFailure::Unavailable(error.to_string()))?;
        let sealed = secrets
            .into_iter()
            .filter(|(name, _)| SECRETS.contains(&name.as_str()))
            .map(|(name, file)| Sealed { name, file });
        let sealed = sealed.collect();
        let made = self
            .holder
            .evidence(nonce.clone(), self.audit.origin(), statement, sealed);
        made.map_err(failure)
    }

    fn request(&self) -> Result<Made, AttestFailure> {
        self.holder.enrolment_request().map_err(failure)
    }

    fn activate(&self, challenge: &[u8]) -> Result<Made, AttestFailure> {
        self.holder.activate(challenge).map_err(failure)
    }

    fn complete(&self, certificates: Vec<Vec<u8>>) -> Result<(), AttestFailure> {
        self.holder.ek_certificates(certificates).map_err(failure)
    }
}

fn failure(error: AskError) -> AttestFailure {
    match error {
        AskError::Refused(Reason::NotAllowed, sentence) => AttestFailure::Invalid(sentence),
        error => AttestFailure::Unavailable(error.to_string()),
    }
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
