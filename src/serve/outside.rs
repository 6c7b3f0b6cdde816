//! A certificate of an authority outside instead of the server's own: its key is made here, sealed like every key, and
//! never in a request. Where it is no longer valid, the own authority's certificate is shown again.

use super::audit;
use super::certificates::{Certificates, Local, join, split};
use lamchat_api_admin::certificate::{Authority, CertificateFailure, Installed, Shown};
use lamchat_base::{Clock, SecretBytes};
use lamchat_http::Identity;
use lamchat_http::certificate::{Issued, fingerprint, validity_ms};
use lamchat_http::client::Pin;
use lamchat_http::outside::{judge, make_key, request};
use lamchat_seal::DataKeys;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The key of the request, before and after it is answered.
const KEY: &str = "tls-outside-key";
/// The chain and its key.
const PAIR: &str = "tls-outside";

/// The certificates together with the clock, as the admin API sees them.
pub struct Shop {
    pub certificates: Arc<Certificates>,
    pub clock: Arc<dyn Clock>,
}

fn internal(error: impl std::fmt::Display) -> CertificateFailure {
    CertificateFailure::Internal(error.to_string())
}

/// The certificate of an authority outside, if there is one and it is valid for this host now.
pub fn current(keys: &DataKeys, host: &str, now_ms: u64) -> Result<Option<Issued>, super::StartError> {
    let Some(both) = keys.unseal_secret(PAIR).map_err(super::refused)? else {
        return Ok(None);
    };
    let pair = split(PAIR, &both)?;
    match judge(&pair.certificate_pem, &pair.key_pem, host, now_ms) {
        Ok(_) => Ok(Some(pair)),
        Err(error) => {
            tracing::error!(%error, "the certificate of an authority outside is not used: the server's own authority's is shown");
            Ok(None)
        }
    }
}

impl Shop {
    fn local(&self) -> Result<&Local, CertificateFailure> {
        self.certificates.local().ok_or_else(|| {
            let sentence =
                "no listener uses the server's own authority: its certificate comes from files, replace those";
            CertificateFailure::Invalid(sentence.to_owned())
        })
    }
}

impl lamchat_api_admin::certificate::Certificates for Shop {
    fn shown(&self) -> Vec<Shown> {
        let shown = |from: String, identity: &Identity| {
            Some(Shown {
                from,
                not_after_ms: identity.not_after_ms()?,
                pin: Pin(identity.public_key_sha256()?).to_string(),
            })
        };
        let local = self.certificates.local().into_iter().filter_map(|local| {
            let from = if local.is_outside.load(Ordering::Relaxed) {
                "an authority outside"
            } else {
                "the server's own authority"
            };
            shown(from.to_owned(), &local.identity)
        });
        let files = self
            .certificates
            .files()
            .filter_map(|(name, identity)| shown(name, identity));
        local.chain(files).collect()
    }

    fn authority(&self) -> Result<Option<Authority>, CertificateFailure> {
        let Some(local) = self.certificates.local() else {
            return Ok(None);
        };
        let pem = local.authority_pem();
        let (not_before_ms, not_after_ms) = validity_ms(&pem).map_err(internal)?;
        Ok(Some(Authority {
            fingerprint: fingerprint(&pem).map_err(internal)?,
            pem,
            not_before_ms,
            not_after_ms,
            is_used: !local.is_outside.load(Ordering::Relaxed),
        }))
    }

    fn request(&self) -> Result<String, CertificateFailure> {
        let local = self.local()?;
        let _one = local.changing.lock();
        let key = match local.keys.unseal_secret(KEY).map_err(internal)? {
            Some(key) => key,
            None => {
                let key = make_key().map_err(internal)?;
                audit::note_key(&local.store, self.clock.now_ms(), KEY, "in requests").map_err(internal)?;
                local.keys.seal_secret(KEY, &key).map_err(internal)?;
                key
            }
        };
        request(&key, &local.host).map_err(internal)
    }

    fn install(&self, chain_pem: &str) -> Result<Installed, CertificateFailure> {
        let local = self.local()?;
        let _one = local.changing.lock();
        let key = local.keys.unseal_secret(KEY).map_err(internal)?.ok_or_else(|| {
            let sentence = "nobody has made a request here that this could answer: `lamchat certificate request`";
            CertificateFailure::Invalid(sentence.to_owned())
        })?;
        let invalid = |error: &dyn std::fmt::Display| CertificateFailure::Invalid(error.to_string());
        let judged = judge(chain_pem, &key, &local.host, self.clock.now_ms()).map_err(|error| invalid(&error))?;
        let chain = chain_pem.trim().to_owned() + "\n";
        let pair = Issued {
            certificate_pem: chain,
            key_pem: SecretBytes::new(key.expose().to_vec()),
        };
        let fingerprint = fingerprint(&pair.certificate_pem).map_err(internal)?;
        local.keys.seal_secret(PAIR, &join(&pair)).map_err(internal)?;
        local
            .identity
            .replace(pair.certificate_pem.as_bytes(), pair.key_pem.expose())
            .map_err(internal)?;
        local.is_outside.store(true, Ordering::Relaxed);
        tracing::info!(
            fingerprint,
            "the certificate of an authority outside is shown from now on"
        );
        Ok(Installed {
            names: judged.names,
            not_after_ms: judged.not_after_ms,
            fingerprint,
        })
    }

    fn remove(&self) -> Result<(), CertificateFailure> {
        let local = self.local()?;
        let _one = local.changing.lock();
        for name in [PAIR, KEY] {
            local.keys.remove_secret(name).map_err(internal)?;
        }
        local.show_own(self.clock.now_ms()).map_err(internal)
    }
}
