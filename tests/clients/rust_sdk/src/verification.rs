//! Verification of two devices by a short authentication string.

use crate::{Session, text, until};
use anyhow::{Context, Result, bail};
use matrix_sdk::Client;
use matrix_sdk::encryption::verification::{
    SasState, SasVerification, Verification, VerificationRequest, VerificationRequestState,
};
use matrix_sdk::ruma::events::key::verification::VerificationMethod;
use matrix_sdk::ruma::events::key::verification::request::ToDeviceKeyVerificationRequestEvent;
use matrix_sdk::ruma::{OwnedDeviceId, UserId};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

/// Keeps the request that somebody sends.
pub fn listen(client: &Client, place: &Arc<Mutex<Option<VerificationRequest>>>) {
    let place = Arc::clone(place);
    client.add_event_handler(move |event: ToDeviceKeyVerificationRequestEvent, client: Client| {
        let place = Arc::clone(&place);
        async move {
            let request = client
                .encryption()
                .get_verification_request(&event.sender, &event.content.transaction_id)
                .await;
            if let (Some(request), Ok(mut place)) = (request, place.lock()) {
                *place = Some(request);
            }
        }
    });
}

pub async fn start(session: &mut Session, line: &Value) -> Result<Value> {
    let device = device(session, line).await?;
    let request = device
        .request_verification_with_methods(vec![VerificationMethod::SasV1])
        .await?;
    until("the other side to be ready", async || request.is_ready().then_some(())).await?;
    session.sas = Some(request.start_sas().await?.context("the other side does not know SAS")?);
    keep(session, request)?;
    Ok(json!({}))
}

pub async fn accept(session: &mut Session) -> Result<Value> {
    let place = Arc::clone(&session.request);
    let request = until("a verification request", async || place.lock().ok()?.clone()).await?;
    request.accept_with_methods(vec![VerificationMethod::SasV1]).await?;
    Ok(json!({}))
}

pub async fn follow(session: &mut Session) -> Result<Value> {
    let request = session
        .request
        .lock()
        .ok()
        .and_then(|place| place.clone())
        .context("there is no request")?;
    let sas = until("the verification", async || match request.state() {
        VerificationRequestState::Transitioned {
            verification: Verification::SasV1(sas),
        } => Some(sas),
        _ => None,
    })
    .await?;
    sas.accept().await?;
    session.sas = Some(sas);
    Ok(json!({}))
}

pub async fn show(session: &mut Session) -> Result<Value> {
    let sas = sas(session)?;
    let emoji = until("the emoji", async || sas.emoji()).await?;
    Ok(json!({"emoji": emoji.map(|symbol| symbol.description)}))
}

pub async fn confirm(session: &mut Session) -> Result<Value> {
    let sas = sas(session)?;
    sas.confirm().await?;
    let end = until("the end of the verification", async || match sas.state() {
        SasState::Done { .. } => Some(Ok(())),
        SasState::Cancelled(why) => Some(Err(why.reason().to_owned())),
        _ => None,
    });
    if let Err(why) = end.await? {
        bail!("the verification was cancelled: {why}");
    }
    session.sas = None;
    Ok(json!({}))
}

pub async fn is_verified(session: &mut Session, line: &Value) -> Result<Value> {
    let device = device(session, line).await?;
    Ok(json!({"verified": device.is_verified()}))
}

fn sas(session: &Session) -> Result<SasVerification> {
    session.sas.clone().context("no verification is under way")
}

fn keep(session: &Session, request: VerificationRequest) -> Result<()> {
    let Ok(mut place) = session.request.lock() else {
        bail!("the request is lost")
    };
    *place = Some(request);
    Ok(())
}

async fn device(session: &Session, line: &Value) -> Result<matrix_sdk::encryption::identities::Device> {
    let user = UserId::parse(text(line, "user_id")?)?;
    let device: OwnedDeviceId = text(line, "device_id")?.into();
    let encryption = session.client.encryption();
    encryption.request_user_identity(&user).await?;
    until("the device", async || {
        encryption.get_device(&user, &device).await.ok().flatten()
    })
    .await
}
