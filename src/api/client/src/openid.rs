//! `POST /user/{userId}/openid/request_token`.

use crate::account_data::must_be_own;
use crate::limit::Limited;
use crate::{ApiError, App, Routes, Session};
use lamchat_accounts::openid;
use ruma::api::client::account::request_openid_token::v3;
use ruma::authentication::TokenType;
use std::sync::Arc;
use std::time::Duration;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.session::<v3::Request>(request_token);
}

async fn request_token(app: Arc<App>, session: Session, request: v3::Request) -> Result<v3::Response, ApiError> {
    app.limit(Limited::Other, session.user)?;
    must_be_own(&session, &request.user_id)?;
    let (token, now_ms) = (openid::generate(&*app.entropy), app.now_ms());
    let kept = token.clone();
    app.store
        .write(move |txn| openid::put(txn, session.user, &kept, now_ms))
        .await?;
    Ok(v3::Response::new(
        token,
        TokenType::Bearer,
        app.server_name.clone(),
        Duration::from_millis(openid::LIFETIME_MS),
    ))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use crate::testing::{self, call};
    use lamchat_accounts::openid;
    use serde_json::{Value, json};

    #[tokio::test]
    async fn a_token_proves_who_asked_for_it_and_opens_nothing() {
        let app = testing::app();
        let alice = testing::register(&app, "alice").await;
        let bob = testing::register(&app, "bob").await;
        let path = "/_matrix/client/v3/user/@alice:example.org/openid/request_token";
        let (status, body) = call(&app, "POST", path, Some(&alice), Some(json!({}))).await;
        assert_eq!(status, 200);
        let token = body.get("access_token").and_then(Value::as_str).unwrap();
        let expected = json!({"access_token": token, "token_type": "Bearer", "matrix_server_name": "example.org", "expires_in": 3600});
        assert_eq!(body, expected);
        let user = openid::user_of(&app.store.read(), token, app.now_ms()).unwrap();
        assert_eq!(user.unwrap(), "@alice:example.org");
        let whoami = "/_matrix/client/v3/account/whoami";
        assert_eq!(call(&app, "GET", whoami, Some(token), None).await.0, 401);
        assert_eq!(call(&app, "POST", path, Some(token), Some(json!({}))).await.0, 401);
        assert_eq!(call(&app, "POST", path, Some(&bob), Some(json!({}))).await.0, 403);
    }
}
