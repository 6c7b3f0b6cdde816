//! What the audit log is told of the configuration: the digest that evidence has as well, and by name what another start
//! or a reload changes. Nobody who edits the file while the server is stopped goes without a trace.

use super::certificates::Certificates;
use lamchat_attestation::Sha256;
use lamchat_audit::{Actor, Entry, configuration};
use lamchat_base::{Entropy, SecretBytes};
use lamchat_config::Config;
use lamchat_store::{ReadError, WriteTxn};
use std::sync::Arc;

/// The one key that is told with its value: whether other servers are let in.
const FEDERATION: &str = "federation.enabled";

/// A configuration, as it is compared with the one that was noted last.
#[derive(Clone)]
pub struct Standing {
    digest: String,
    federation: bool,
    /// Names and values, secrets as they are; the certificates of the operator's files among them.
    values: Arc<Vec<(String, SecretBytes)>>,
    /// For the first time.
    salt: [u8; 32],
}

impl Standing {
    /// Of the configuration that is in use, and of the certificates.
    pub fn of(config: &Config, certificates: &Certificates, entropy: &dyn Entropy) -> Self {
        let mut values = config.values();
        for (file, identity) in certificates.files() {
            let shown = identity.certificate_sha256().unwrap_or_default();
            values.push((file, SecretBytes::new(shown.to_vec())));
        }
        let mut salt = [0; 32];
        entropy.fill(&mut salt);
        Self {
            digest: hex(&digest(config).0),
            federation: config.federation.enabled,
            values: Arc::new(values),
            salt,
        }
    }

    /// The entry with what is in use from now on.
    pub fn told(&self, entry: Entry) -> Entry {
        entry.fact("configuration", &self.digest)
    }

    /// The same, and whether other servers are let in if that is what `changed`.
    pub fn told_with(&self, entry: Entry, changed: &[&str]) -> Entry {
        let entry = self.told(entry);
        if changed.contains(&FEDERATION) {
            return entry.fact("federation", self.federation);
        }
        entry
    }

    /// Keeps it, and names in an entry what differs from what was noted last. At the first time nothing does.
    pub fn note_start(&self, txn: &mut WriteTxn<'_>, now_ms: u64) -> Result<(), ReadError> {
        let changed = self.keep(txn)?.unwrap_or_default();
        if changed.is_empty() {
            return Ok(());
        }
        let changed: Vec<&str> = changed.iter().map(String::as_str).collect();
        let entry = Entry::new(now_ms, Actor::Server, "config.start")
            .fact("changed", changed.join(", "))
            .fact("changed_count", changed.len());
        lamchat_audit::append(txn, &self.told_with(entry, &changed)).map(drop)
    }

    /// Keeps it, for the next start to compare with.
    pub fn keep(&self, txn: &mut WriteTxn<'_>) -> Result<Option<Vec<String>>, ReadError> {
        configuration::keep(txn, &self.values, self.salt)
    }
}

/// The digest of the configuration, secrets left out, as evidence has it.
pub fn digest(config: &Config) -> Sha256 {
    Sha256::of(config.canonical().as_bytes())
}

/// As `Sha256` is written everywhere else.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
