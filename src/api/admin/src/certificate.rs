//! The certificates of the listeners: until when they are valid, and one of an authority outside:
//! `lamchat certificate`.

use crate::audit::{actor, noted};
use crate::route::parse;
use crate::{Admin, AdminError};
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use lamchat_audit::Entry;
use lamchat_http::{Request, Response};
use serde_json::{Value, json};
use std::sync::Arc;

/// A certificate that listeners show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Whose it is: "the server's own authority", "an authority outside", or a file's name.
    pub from: String,
    /// When it ends, in milliseconds since 1970.
    pub not_after_ms: u64,
    /// SHA-256 of its public key, in hex: by what administrators far away know the server.
    pub pin: String,
}

/// The server's own authority: public, and what a client has to trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority {
    /// Its certificate, in PEM.
    pub pem: String,
    /// The certificate's SHA-256, as people compare it: `AB:CD:…`.
    pub fingerprint: String,
    /// From when it is valid, in milliseconds since 1970.
    pub not_before_ms: u64,
    /// When it ends, in milliseconds since 1970.
    pub not_after_ms: u64,
    /// Whether listeners show what it vouches for; `false`: an authority outside vouches for them.
    pub is_used: bool,
}

/// A certificate that was installed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// The names that it stands for.
    pub names: Vec<String>,
    /// When it ends, in milliseconds since 1970.
    pub not_after_ms: u64,
    /// Its SHA-256, as people compare it.
    pub fingerprint: String,
}

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum CertificateFailure {
    /// What was sent cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// Something of the server's own.
    #[error("{0}")]
    Internal(String),
}

impl From<CertificateFailure> for AdminError {
    fn from(error: CertificateFailure) -> Self {
        match error {
            CertificateFailure::Invalid(sentence) => Self::invalid(sentence),
            CertificateFailure::Internal(_) => Self::internal(error),
        }
    }
}

/// The certificates, which the rest of the server has. Everything here may block.
pub trait Certificates: Send + Sync + 'static {
    /// What the listeners show now.
    fn shown(&self) -> Vec<Shown>;
    /// The server's own authority; `None`: no listener uses it.
    fn authority(&self) -> Result<Option<Authority>, CertificateFailure>;
    /// A request for a certificate, in PEM. Its key is made when there is none yet, and kept.
    fn request(&self) -> Result<String, CertificateFailure>;
    /// Shows this chain from now on, where the server's own authority's was shown. Durable on return.
    fn install(&self, chain_pem: &str) -> Result<Installed, CertificateFailure>;
    /// Goes back to the server's own authority, and forgets the key. Durable on return.
    fn remove(&self) -> Result<(), CertificateFailure>;
}

/// What is shown.
pub async fn show(admin: Arc<Admin>, _request: Request) -> Result<Value, AdminError> {
    Ok(json!({"certificates": describe(&admin)}))
}

/// The same, for `lamchat health`.
pub(crate) fn describe(admin: &Admin) -> Vec<Value> {
    let now_ms = admin.now_ms();
    let shown = admin.certificates.shown();
    shown
        .iter()
        .map(|shown| {
            json!({
                "from": shown.from,
                "not_after_ms": shown.not_after_ms,
                "days_left": days_left(shown.not_after_ms, now_ms),
                "pin": shown.pin,
            })
        })
        .collect()
}

/// The server's own authority, for whoever is to trust it.
pub async fn authority(admin: Arc<Admin>, _request: Request) -> Result<Value, AdminError> {
    let authority = own(&admin)?;
    Ok(json!({
        "pem": authority.pem,
        "fingerprint": authority.fingerprint,
        "not_before_ms": authority.not_before_ms,
        "not_after_ms": authority.not_after_ms,
        "is_used": authority.is_used,
    }))
}

/// Its certificate for everybody: whoever fetches it compares the fingerprint with what the server's console shows.
pub async fn public_authority(admin: Arc<Admin>, _request: Request) -> Result<Response, AdminError> {
    let mut response = Response::text(StatusCode::OK, own(&admin)?.pem);
    let headers = &mut response.headers;
    // By this type browsers and phones offer to install it.
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-x509-ca-cert"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    Ok(response)
}

fn own(admin: &Admin) -> Result<Authority, AdminError> {
    admin.certificates.authority()?.ok_or_else(|| {
        AdminError::not_found("No listener uses an authority of the server's own: trust whoever made its certificates")
    })
}

/// Whole days until then; 0 when it is over.
pub(crate) fn days_left(not_after_ms: u64, now_ms: u64) -> u64 {
    not_after_ms.saturating_sub(now_ms) / 86_400_000
}

/// A request for a certificate.
pub async fn request(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let entry = Entry::new(admin.now_ms(), actor(&request)?, "certificate.request");
    let certificates = Arc::clone(&admin.certificates);
    let asked = Arc::new(std::sync::OnceLock::new());
    let kept = Arc::clone(&asked);
    let ask = move || {
        let pem = certificates.request()?;
        kept.get_or_init(|| pem);
        Ok(Vec::new())
    };
    noted(&admin, entry, ask).await?;
    Ok(json!({"request": asked.get()}))
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Chain {
    chain: String,
}

/// The answer to a request.
pub async fn install(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let entry = Entry::new(admin.now_ms(), actor(&request)?, "certificate.install");
    let Chain { chain } = parse(&request)?;
    let certificates = Arc::clone(&admin.certificates);
    let installed = Arc::new(std::sync::OnceLock::new());
    let kept = Arc::clone(&installed);
    let install = move || {
        let done = certificates.install(&chain)?;
        let facts = vec![
            ("fingerprint", done.fingerprint.clone()),
            ("names", done.names.join(" ")),
            ("until_ms", done.not_after_ms.to_string()),
        ];
        kept.get_or_init(|| done);
        Ok(facts)
    };
    noted(&admin, entry, install).await?;
    let done = installed.get();
    Ok(json!({
        "names": done.map(|done| &done.names),
        "not_after": done.map(|done| done.not_after_ms),
        "fingerprint": done.map(|done| &done.fingerprint),
        "certificates": describe(&admin),
    }))
}

/// Back to the server's own authority.
pub async fn remove(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let entry = Entry::new(admin.now_ms(), actor(&request)?, "certificate.remove");
    let certificates = Arc::clone(&admin.certificates);
    let remove = move || {
        certificates.remove()?;
        Ok(Vec::new())
    };
    noted(&admin, entry, remove).await?;
    show(admin, request).await
}
