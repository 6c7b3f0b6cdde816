//! Stored filters.

use crate::account_data::path_must_be_own;
use crate::wire::{body, check_json, json};
use crate::{ApiError, App, Routes, Session};
use http::{Method, StatusCode};
use lamchat_accounts::filter::{self, CreateFilterError};
use lamchat_http::{Request, Response};
use ruma::api::client::filter::FilterDefinition;
use serde_json::Value;
use std::sync::Arc;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.raw(Method::POST, "/_matrix/client/v3/user/{user_id}/filter", create);
    r.raw(
        Method::GET,
        "/_matrix/client/v3/user/{user_id}/filter/{filter_id}",
        show,
    );
}

async fn create(app: Arc<App>, session: Session, mut request: Request) -> Result<Response, ApiError> {
    path_must_be_own(&session, &request)?;
    let bytes = body(&mut request).await?;
    check_json(&bytes)?;
    serde_json::from_slice::<FilterDefinition>(&bytes)?;
    // Spaces do not make another filter.
    let filter = serde_json::to_vec(&serde_json::from_slice::<Value>(&bytes)?).map_err(ApiError::internal)?;
    let known = filter::find(&app.store.read(), session.user, &filter)?;
    let id = match known {
        Some(id) => id,
        None => {
            app.store
                .write(move |txn| filter::create(txn, session.user, &filter))
                .await?
        }
    };
    // "filter_id: … Cannot start with a { as this character is used to determine if the filter provided is inline".
    json(StatusCode::OK, &serde_json::json!({ "filter_id": id.to_string() }))
}

async fn show(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    path_must_be_own(&session, &request)?;
    let stored = match request.params.value("filter_id").parse() {
        Ok(id) => filter::one(&app.store.read(), session.user, id)?,
        Err(_) => None,
    };
    let stored = stored.ok_or_else(|| ApiError::not_found("There is no such filter"))?;
    Ok(Response::json(StatusCode::OK, stored))
}

impl From<CreateFilterError> for ApiError {
    fn from(error: CreateFilterError) -> Self {
        match error {
            CreateFilterError::TooLarge => Self::too_large(error.to_string()),
            CreateFilterError::TooMany => {
                Self::new(StatusCode::FORBIDDEN, "M_RESOURCE_LIMIT_EXCEEDED", error.to_string())
            }
            CreateFilterError::Read(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use crate::testing::{self, call, call_bytes};
    use serde_json::{Value, json};

    #[tokio::test]
    async fn filters_are_stored_and_shown_to_their_owner() {
        let app = testing::app();
        let alice = testing::register(&app, "alice").await;
        let bob = testing::register(&app, "bob").await;
        let path = "/_matrix/client/v3/user/@alice:example.org/filter";
        let filter = json!({"room": {"timeline": {"limit": 10}}, "org.example.unknown": 1});
        let (status, body) = call(&app, "POST", path, Some(&alice), Some(filter.clone())).await;
        assert_eq!(status, 200);
        let id = body.get("filter_id").and_then(Value::as_str).unwrap().to_owned();
        let (_, again) = call(&app, "POST", path, Some(&alice), Some(filter.clone())).await;
        assert_eq!(again, body);
        assert_eq!(
            call(&app, "GET", &format!("{path}/{id}"), Some(&alice), None).await,
            (status, filter.clone())
        );
        let (status, _) = call(&app, "GET", &format!("{path}/{id}"), Some(&bob), None).await;
        assert_eq!(status, 403);
        let (status, _) = call(&app, "POST", path, Some(&bob), Some(filter)).await;
        assert_eq!(status, 403);
        for wrong in ["0", "99", "-1", "x", "%7B%7D"] {
            let (status, error) = call(&app, "GET", &format!("{path}/{wrong}"), Some(&alice), None).await;
            assert_eq!(
                (status.as_u16(), error.get("errcode")),
                (404, Some(&json!("M_NOT_FOUND")))
            );
        }
        for wrong in [
            "[]",
            "{\"room\": 7}",
            "{\"room\": {\"timeline\": {\"limit\": -1}}}",
            "{",
            "null",
            "",
        ] {
            let (status, _) = call_bytes(&app, "POST", path, Some(&alice), wrong.into()).await;
            assert_eq!(status, 400, "{wrong}");
        }
    }
}
