//! SIGHUP: certificates are read again, and the part of the configuration that may change while the server runs.

use super::wiring::Parts;
use super::{Start, attestation, audit, logging, settings, wiring};
use lamchat_config::Config;
use std::sync::Arc;

/// What a reload changes.
pub struct Reload {
    start: Start,
    log: logging::Log,
    parts: Arc<Parts>,
}

impl Reload {
    /// From the configuration that is in use.
    pub fn new(start: Start, log: logging::Log, parts: Arc<Parts>) -> Self {
        Self { start, log, parts }
    }

    /// The configuration that is in use.
    pub fn config(&self) -> &Config {
        &self.start.config
    }

    /// Does it. A configuration with a mistake changes nothing.
    pub async fn run(&mut self) {
        self.read_certificates().await;
        self.parts.certificates.renew(&self.parts.clock);
        let Some(file) = &self.start.place.config else {
            tracing::info!("reloaded: there is no configuration file");
            return;
        };
        let mut newer = match lamchat_config::load(file) {
            Ok(config) => config,
            Err(error) => {
                tracing::error!(%error, "the configuration was not reloaded; the old one stays in use");
                return;
            }
        };
        if let Some(dir) = &self.start.place.data_dir {
            newer.data_dir.clone_from(dir);
        }
        self.apply(newer).await;
    }

    /// Shows what is in the files of the operator's now; another certificate is noted before.
    async fn read_certificates(&self) {
        for read in self.parts.certificates.read_again() {
            match audit::note_certificate(&self.parts, &read).await {
                Ok(()) => read.show(),
                Err(error) => tracing::error!(
                    file = read.file,
                    error,
                    "the old certificate stays in use: the new one could not be noted in the audit log"
                ),
            }
        }
    }

    async fn apply(&mut self, newer: Config) {
        if let Err(error) = self.check_federation(&newer).await {
            tracing::error!(error, "the configuration was not reloaded; the old one stays in use");
            return;
        }
        let old = &self.start.config;
        let (live, fixed): (Vec<_>, Vec<_>) = old.changes(&newer).into_iter().partition(|change| change.live);
        // Before it is in use: a change that is not in the audit log is none.
        let in_use = after(old, &newer);
        if let Err(error) = audit::note_reload(&self.parts, &live, &fixed, &in_use).await {
            tracing::error!(
                error,
                "the configuration was not reloaded: it could not be noted in the audit log"
            );
            return;
        }
        if let Err(error) = self.log.set_level(&newer.log.level) {
            tracing::error!(%error, "the log's level stays as it was");
        }
        self.parts.admin.federation.set_enabled(newer.federation.enabled);
        self.parts.app.settings.store(Arc::new(settings::client(&newer)));
        self.parts
            .admin
            .shared_secret
            .store(wiring::shared_secret(&newer).map(Arc::new));
        self.parts.pull.store(super::pull::wanted(&newer).map(Arc::new));
        let endpoint = attestation::endpoint(&newer);
        self.parts.admin.attestation.endpoint.store(Arc::new(endpoint));
        let names = |changes: Vec<lamchat_config::Change>| {
            changes
                .into_iter()
                .map(|change| change.key)
                .collect::<Vec<_>>()
                .join(", ")
        };
        let (changed, waiting) = (names(live), names(fixed));
        if waiting.is_empty() {
            tracing::info!(changed, "the configuration was reloaded");
        } else {
            tracing::warn!(
                changed,
                waiting,
                "the configuration was reloaded; some keys are used only after a restart"
            );
        }
        self.start.config = in_use;
        self.parts.evidence.reconfigure(&self.start.config);
    }

    /// Federation is not switched on while it waits for the recovery key.
    async fn check_federation(&self, newer: &Config) -> Result<(), String> {
        let holder = Arc::clone(&self.parts.admin.holder);
        let told = tokio::task::spawn_blocking(move || {
            // What people do at the key holder's own socket goes past this process.
            holder.forget_status();
            holder.status()
        });
        let told = told.await.map_err(|error| error.to_string())?;
        let slots = &told.map_err(|error| error.to_string())?.slots;
        let checked = self.parts.admin.federation.check(newer.federation.enabled, slots);
        checked.map_err(|error| error.to_string())
    }
}

/// What is in use after a reload. What needs a restart stays as it is, so that the next reload names it again.
fn after(old: &Config, newer: &Config) -> Config {
    let mut config = old.clone();
    config.public_baseurl.clone_from(&newer.public_baseurl);
    config.federation = newer.federation.clone();
    config.registration = lamchat_config::Registration {
        password_hash: old.registration.password_hash,
        ..newer.registration.clone()
    };
    config.limits = newer.limits.clone();
    config.rooms = newer.rooms.clone();
    config.presence = newer.presence.clone();
    config.support = newer.support.clone();
    config.log.level.clone_from(&newer.log.level);
    config.updates = newer.updates.clone();
    config.attestation.endpoint = newer.attestation.endpoint;
    config.attestation.rate = newer.attestation.rate;
    config.attestation.rate_by_address = newer.attestation.rate_by_address;
    config
}
