//! Messages to devices. The route is raw: contents are passed through as they came.

use crate::keys::{json_body, local_user};
use crate::{ApiError, App, Routes, Session};
use http::{Method, StatusCode};
use lamchat_accounts::device;
use lamchat_http::{Request, Response};
use lamchat_keys::to_device::{self, Message, SendError, Sending};
use ruma::DeviceId;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The endpoint of this file.
pub fn routes(r: &mut Routes) {
    r.raw(
        Method::PUT,
        "/_matrix/client/v3/sendToDevice/{event_type}/{txn_id}",
        send,
    );
}

async fn send(app: Arc<App>, session: Session, mut request: Request) -> Result<Response, ApiError> {
    #[derive(serde::Deserialize)]
    struct SendBody<'q> {
        #[serde(borrow)]
        messages: BTreeMap<Cow<'q, str>, BTreeMap<Cow<'q, str>, &'q RawValue>>,
    }
    let bytes = json_body(&mut request).await?;
    let SendBody { messages } = serde_json::from_slice(&bytes)?;
    let event_type = request.params.value("event_type");
    let messages = {
        let read = app.store.read();
        let mut resolved = Vec::new();
        for (user_id, contents) in messages {
            // There is no federation: what is for other servers goes nowhere.
            let Some(user) = local_user(&app, &read, &user_id, &mut BTreeSet::new())? else {
                continue;
            };
            for (device_id, content) in contents {
                if !content.get().starts_with('{') {
                    return Err(ApiError::bad_json("A message to a device must be an object"));
                }
                let event = to_device::event(event_type, &session.user_id, content)?;
                // "The device ID may also be `*`, meaning all known devices for the user."
                let devices = if device_id == "*" {
                    device::all(&read, user)?.into_iter().map(|device| device.num).collect()
                } else {
                    device::num(&read, user, <&DeviceId>::from(device_id.as_ref()))?
                        .into_iter()
                        .collect()
                };
                resolved.push(Message {
                    to: user,
                    devices,
                    event,
                });
            }
        }
        resolved
    };
    let sending = Sending {
        sender: session.user,
        device: session.device,
        transaction_id: request.params.value("txn_id").to_owned(),
        now_ms: app.now_ms(),
    };
    app.store
        .write(move |txn| to_device::send(txn, &sending, &messages))
        .await?;
    Ok(Response::json(StatusCode::OK, &b"{}"[..]))
}

impl From<SendError> for ApiError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::TooLarge | SendError::TooManyRecipients => Self::too_large(error.to_string()),
            SendError::NameTooLong => Self::invalid_param(error.to_string()),
            SendError::Read(error) => error.into(),
            SendError::Commit(error) => error.into(),
        }
    }
}
