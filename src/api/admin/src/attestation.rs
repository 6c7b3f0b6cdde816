//! Evidence for auditors: on the Unix socket for `lamchat attest`, and where the operator wants it for everybody, by
//! nonce. Whoever asks chooses the nonce and nothing else of what is signed.

use crate::audit::{actor, noted};
use crate::route::parse;
use crate::{Admin, AdminError};
use arc_swap::ArcSwap;
use http::StatusCode;
use http::header::{CACHE_CONTROL, HeaderValue, RETRY_AFTER};
use lamchat_attestation::Challenge;
use lamchat_attester::{Made, Nonce, NonceError};
use lamchat_audit::Entry;
use lamchat_http::{Rate, RateLimit, Request, Response, network, query_value};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::{Semaphore, SemaphorePermit};

/// How long somebody is asked to wait while the TPM works for somebody else, in milliseconds.
const BUSY_MS: u64 = 1_000;

/// Why there is no evidence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttestFailure {
    /// What was handed in cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// No TPM, or it failed, or something of the evidence cannot be told.
    #[error("{0}")]
    Unavailable(String),
}

/// Makes evidence and answers enrolments: the key holder, or the way to it. Calls block as long as a TPM does.
pub trait Attest: Send + Sync + 'static {
    /// The evidence bundle for a nonce.
    fn evidence(&self, nonce: &Nonce) -> Result<Made, AttestFailure>;
    /// The first file of an enrolment.
    fn request(&self) -> Result<Made, AttestFailure>;
    /// The third file of an enrolment, for a challenge.
    fn activate(&self, challenge: &[u8]) -> Result<Made, AttestFailure>;
    /// From now on these certificates (DER) complete the endorsement key's chain, instead of those before.
    fn complete(&self, certificates: Vec<Vec<u8>>) -> Result<(), AttestFailure>;
}

/// The endpoint's switch and limits; reloadable.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Endpoint {
    /// Whether it answers at all.
    pub enabled: bool,
    /// Of one address.
    pub rate_by_address: Rate,
    /// Of all together.
    pub rate: Rate,
}

/// Evidence as the API gives it.
pub struct Attestation {
    /// Who makes it.
    pub attest: Arc<dyn Attest>,
    /// The endpoint for everybody.
    pub endpoint: ArcSwap<Endpoint>,
    by_address: RateLimit,
    together: RateLimit,
    /// The endpoint occupies the TPM once at most: sealing and signing need it as well.
    strangers: Semaphore,
}

impl Attestation {
    /// Puts it together.
    pub fn new(attest: Arc<dyn Attest>, endpoint: Endpoint) -> Self {
        Self {
            attest,
            endpoint: ArcSwap::from_pointee(endpoint),
            by_address: RateLimit::default(),
            together: RateLimit::default(),
            strangers: Semaphore::new(1),
        }
    }

    /// The endpoint's turn at the TPM, until it is dropped; `None` while another has it.
    pub(crate) fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.strangers.try_acquire().ok()
    }
}

impl From<NonceError> for AdminError {
    fn from(error: NonceError) -> Self {
        Self::invalid(crate::error::capital(&error.to_string()))
    }
}

impl From<AttestFailure> for AdminError {
    fn from(failure: AttestFailure) -> Self {
        let sentence = crate::error::capital(&failure.to_string());
        match failure {
            AttestFailure::Invalid(_) => Self::invalid(sentence),
            AttestFailure::Unavailable(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "M_UNKNOWN", sentence),
        }
    }
}

fn nonce(request: &Request) -> Result<Nonce, AdminError> {
    let text = query_value(request.query(), "nonce").ok_or_else(|| {
        let message = "The query's `nonce` is missing: 32 to 64 hexadecimal digits of the verifier's choice";
        AdminError::new(StatusCode::BAD_REQUEST, "M_MISSING_PARAM", message)
    })?;
    Ok(Nonce::from_hex(&text)?)
}

/// A file and what is missing in it, as JSON.
fn described(name: &str, made: Made) -> Result<Value, AdminError> {
    let text = String::from_utf8(made.file).map_err(AdminError::internal)?;
    Ok(json!({name: text, "missing": made.missing}))
}

async fn blocking(
    admin: &Arc<Admin>,
    ask: impl FnOnce(&dyn Attest) -> Result<Made, AttestFailure> + Send + 'static,
) -> Result<Made, AdminError> {
    let attest = Arc::clone(&admin.attestation.attest);
    let made = tokio::task::spawn_blocking(move || ask(&*attest)).await;
    Ok(made.map_err(AdminError::internal)??)
}

/// `lamchat attest quote`.
pub async fn evidence(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let nonce = nonce(&request)?;
    let made = blocking(&admin, move |attest| attest.evidence(&nonce)).await?;
    described("evidence", made)
}

/// `lamchat attest enrol request`.
pub async fn request(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    actor(&request)?;
    described("request", blocking(&admin, |attest| attest.request()).await?)
}

#[derive(serde::Deserialize)]
struct Activate {
    challenge: String,
}

/// `lamchat attest enrol activate`: in the audit log, because the answer lets an auditor vouch for this box.
pub async fn activate(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let Activate { challenge } = parse(&request)?;
    let read = Challenge::from_bytes(challenge.as_bytes());
    let read = read.map_err(|error| AdminError::invalid(format!("The challenge cannot be used: {error}")))?;
    let entry = Entry::new(admin.now_ms(), actor(&request)?, "attestation.activate").subject(read.label);
    let attest = Arc::clone(&admin.attestation.attest);
    let (sender, answered) = tokio::sync::oneshot::channel();
    let act = move || {
        let made = attest.activate(challenge.as_bytes())?;
        // Whoever asked may have gone away.
        let _gone = sender.send(made);
        Ok(Vec::new())
    };
    noted(&admin, entry, act).await?;
    described("answer", answered.await.map_err(AdminError::internal)?)
}

/// `GET /_lamchat/v1/attestation?nonce=`: the bundle itself, for everybody, if the operator says so.
pub async fn public(admin: Arc<Admin>, request: Request) -> Result<Response, AdminError> {
    let endpoint = **admin.attestation.endpoint.load();
    if !endpoint.enabled {
        let message = "This endpoint is not implemented";
        return Err(AdminError::new(StatusCode::NOT_FOUND, "M_UNRECOGNIZED", message));
    }
    let nonce = nonce(&request)?;
    let (attestation, now_ms) = (&admin.attestation, admin.now_ms());
    let by_address = attestation
        .by_address
        .check(request.peer.map(network), endpoint.rate_by_address, now_ms);
    let allowed = by_address.and_then(|()| attestation.together.check((), endpoint.rate, now_ms));
    if let Err(wait_ms) = allowed {
        return Ok(too_many(wait_ms));
    }
    let Some(turn) = attestation.turn() else {
        return Ok(too_many(BUSY_MS));
    };
    let made = blocking(&admin, move |attest| attest.evidence(&nonce)).await;
    drop(turn);
    let made = made.map_err(|error| {
        // What exactly failed is the operator's business.
        tracing::error!(error = error.message, "no evidence could be made");
        let message = "No evidence can be made at the moment; the operator's log says why";
        AdminError::new(StatusCode::SERVICE_UNAVAILABLE, "M_UNKNOWN", message)
    })?;
    for missing in &made.missing {
        tracing::warn!(missing, "evidence was given that is not complete");
    }
    let mut response = Response::json(StatusCode::OK, made.file);
    response
        .headers
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// "429 … M_LIMIT_EXCEEDED … retry_after_ms" (client-server API 1.18, Rate limiting).
fn too_many(wait_ms: u64) -> Response {
    let body = json!({
        "errcode": "M_LIMIT_EXCEEDED",
        "error": "Too much evidence was asked for: wait, then try again",
        "retry_after_ms": wait_ms,
    });
    let mut response = Response::json(StatusCode::TOO_MANY_REQUESTS, body.to_string().into_bytes());
    response
        .headers
        .insert(RETRY_AFTER, HeaderValue::from(wait_ms.div_ceil(1_000)));
    response
}
