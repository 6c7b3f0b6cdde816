//! `POST /user/{userId}/openid/request_token`, and what becomes of such tokens.

use crate::account_data::must_be_own;
use crate::limit::Limited;
use crate::wire::json;
use crate::{ApiError, App, Routes, Session};
use http::{Method, StatusCode};
use lamchat_accounts::openid;
use lamchat_http::{Request, Response, query_value};
use ruma::api::client::account::request_openid_token::v3;
use ruma::authentication::TokenType;
use std::sync::Arc;
use std::time::Duration;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.session::<v3::Request>(request_token);
    r.raw_open(Method::GET, "/_matrix/federation/v1/openid/userinfo", user_info);
}

/// "Exchanges an OpenID access token for information about the user who generated the token." Whom the user showed it to asks:
/// an integration manager, a widget's server. It is of the server-server API and needs nothing else of it.
async fn user_info(app: Arc<App>, request: Request) -> Result<Response, ApiError> {
    app.limit(Limited::Other, request.peer)?;
    let token = query_value(request.query(), "access_token").filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| ApiError::missing_param("access_token is missing"))?;
    match openid::user_of(&app.store.read(), &token, app.now_ms())? {
        Some(user_id) => json(StatusCode::OK, &serde_json::json!({ "sub": user_id })),
        None => Err(ApiError::new(
            StatusCode::UNAUTHORIZED,
            "M_UNKNOWN_TOKEN",
            "The OpenID token is unknown or has expired",
        )),
    }
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
        let info = "/_matrix/federation/v1/openid/userinfo";
        let ask = async |query: String| {
            let (status, answer) = call(&app, "GET", &format!("{info}{query}"), None, None).await;
            (status.as_u16(), answer)
        };
        let sub = json!({"sub": "@alice:example.org"});
        assert_eq!(ask(format!("?access_token={token}")).await, (200, sub));
        for (query, status, errcode) in [
            ("", 400, "M_MISSING_PARAM"),
            ("?access_token=x", 401, "M_UNKNOWN_TOKEN"),
        ] {
            let (got, error) = ask(query.to_owned()).await;
            assert_eq!((got, error.get("errcode")), (status, Some(&json!(errcode))));
        }
        // An access token is none.
        let (status, _) = ask(format!("?access_token={alice}")).await;
        assert_eq!(status, 401);
    }
}
