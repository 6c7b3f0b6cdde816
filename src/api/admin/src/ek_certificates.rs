//! Certificates that complete the endorsement key's chain, where the TPM does not keep all of it: brought by an operator,
//! kept in the database, told to the key holder at every start. Nobody here trusts them; a verifier follows the chain to
//! a root of its own.

use crate::audit::actor;
use crate::route::parse;
use crate::{Admin, AdminError};
use lamchat_attestation::limits::CERTIFICATES_MAX;
use lamchat_attestation::{Sha256, certificate_names, certificates_from_pem};
use lamchat_audit::Entry;
use lamchat_http::Request;
use lamchat_store::{Read, ReadError, ReadExt, Table, WriteTxn};
use serde_json::{Value, json};
use std::sync::Arc;

/// `kept` → the certificates as a JSON list of lists of bytes, in the order in which they were brought.
pub(crate) const EK_CERTIFICATES: Table = Table::new(194, "admin.ek_certificates");
const KEPT: &[u8] = b"kept";

/// The certificates that are kept (DER).
pub fn kept(read: &dyn Read) -> Result<Vec<Vec<u8>>, ReadError> {
    Ok(read.get_json(EK_CERTIFICATES, KEPT)?.unwrap_or_default())
}

fn describe(certificates: &[Vec<u8>]) -> Value {
    let described = certificates.iter().map(|der| {
        let names = certificate_names(der);
        let (subject, issuer) = names.unwrap_or_default();
        json!({"sha256": Sha256::of(der).to_string(), "subject": subject, "issuer": issuer})
    });
    json!({"certificates": described.collect::<Vec<_>>()})
}

/// `lamchat attest ek-certificates`.
pub async fn show(admin: Arc<Admin>, _request: Request) -> Result<Value, AdminError> {
    Ok(describe(&kept(&admin.store.read())?))
}

#[derive(serde::Deserialize)]
struct Bring {
    /// All of them in PEM; they take the place of those that were kept. Empty: none from now on.
    pem: String,
}

/// `lamchat attest ek-certificates FILE…`: nothing is kept unless all of it can be read.
pub async fn bring(admin: Arc<Admin>, request: Request) -> Result<Value, AdminError> {
    let actor = actor(&request)?;
    let Bring { pem } = parse(&request)?;
    let certificates = if pem.is_empty() {
        Vec::new()
    } else {
        certificates_from_pem(pem.as_bytes()).map_err(|error| {
            AdminError::invalid(format!(
                "Nothing was kept: {error}. It has to be the certificates of the TPM's maker"
            ))
        })?
    };
    if certificates.len() > CERTIFICATES_MAX {
        return Err(AdminError::invalid(format!(
            "Nothing was kept: these are {} certificates, and a chain has {CERTIFICATES_MAX} at most. Leave out those that \
             are not this TPM's",
            certificates.len()
        )));
    }
    let mut entry = Entry::new(admin.now_ms(), actor, "attestation.ek-certificates").fact("count", certificates.len());
    if !certificates.is_empty() {
        entry = entry.fact("sha256", Sha256::of(&certificates.concat()));
    }
    let rows = certificates.clone();
    let change = move |txn: &mut WriteTxn<'_>| {
        txn.put_json(EK_CERTIFICATES, KEPT, &rows)?;
        lamchat_audit::append(txn, &entry).map(drop)
    };
    admin.store.write::<_, ReadError>(change).await?;
    let attest = Arc::clone(&admin.attestation.attest);
    let told = certificates.clone();
    let told = tokio::task::spawn_blocking(move || attest.complete(told)).await;
    told.map_err(AdminError::internal)??;
    tracing::info!(
        certificates = certificates.len(),
        "an administrator brought certificates for the endorsement key's chain"
    );
    Ok(describe(&certificates))
}
