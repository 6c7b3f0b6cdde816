//! What this exchange can do, and what it can not: capabilities, bridged networks, calls through a relay.

use crate::wire::json;
use crate::{ApiError, App, Routes, Session};
use http::{Method, StatusCode};
use lamchat_http::{Request, Response};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// The room versions in which events can be made here. Older ones need the first version of state resolution.
const ROOM_VERSIONS: [&str; 7] = ["6", "7", "8", "9", "10", "11", "12"];

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.raw(Method::GET, "/_matrix/client/v3/capabilities", capabilities);
    r.raw(Method::GET, "/_matrix/client/v3/thirdparty/protocols", protocols);
    for what in [
        "/_matrix/client/v3/thirdparty/protocol/{protocol}",
        "/_matrix/client/v3/thirdparty/location",
        "/_matrix/client/v3/thirdparty/location/{protocol}",
        "/_matrix/client/v3/thirdparty/user",
        "/_matrix/client/v3/thirdparty/user/{protocol}",
    ] {
        r.raw(Method::GET, what, not_bridged);
    }
    r.raw(Method::GET, "/_matrix/client/v3/voip/turnServer", turn_server);
}

/// Written out: ruma leaves out what has its default value, and not all clients know the defaults.
async fn capabilities(app: Arc<App>, session: Session, _request: Request) -> Result<Response, ApiError> {
    let versions: Map<String, Value> = ROOM_VERSIONS
        .iter()
        .map(|version| ((*version).to_owned(), json!("stable")))
        .collect();
    let default = app.settings.load().default_room_version.to_string();
    let mut body = json!({ "capabilities": {
        "m.change_password": { "enabled": true },
        "m.room_versions": { "default": default, "available": versions },
        "m.set_displayname": { "enabled": true },
        "m.set_avatar_url": { "enabled": true },
        "m.profile_fields": { "enabled": true },
        "m.3pid_changes": { "enabled": false },
        "m.get_login_token": { "enabled": true },
    }});
    // "This property should be omitted altogether if `suspend` and `lock` would be `false`." (Matrix 1.18)
    if session.is_admin
        && let Some(capabilities) = body.get_mut("capabilities").and_then(Value::as_object_mut)
    {
        let may = json!({ "suspend": true, "lock": true });
        capabilities.insert("m.account_moderation".to_owned(), may);
    }
    json(StatusCode::OK, &body)
}

/// No network is bridged.
async fn protocols(_app: Arc<App>, _session: Session, _request: Request) -> Result<Response, ApiError> {
    json(StatusCode::OK, &Map::new())
}

/// "404: The protocol is unknown", "No portal rooms were found", "The Matrix user ID was not found".
async fn not_bridged(_app: Arc<App>, _session: Session, _request: Request) -> Result<Response, ApiError> {
    Err(ApiError::not_found("No other network is bridged here"))
}

/// No relay for calls is configured. Clients take an empty object for "none" and try direct connections; an error
/// would make them ask again and again.
async fn turn_server(_app: Arc<App>, _session: Session, _request: Request) -> Result<Response, ApiError> {
    json(StatusCode::OK, &Map::new())
}

#[cfg(test)]
mod tests {
    use crate::testing::{self, call};
    use serde_json::json;

    #[tokio::test]
    async fn capabilities_are_told_to_users() {
        let app = testing::app();
        let alice = testing::register(&app, "alice").await;
        let (status, body) = call(&app, "GET", "/_matrix/client/v3/capabilities", Some(&alice), None).await;
        assert_eq!(status, 200);
        assert_eq!(
            body.pointer("/capabilities/m.room_versions/default"),
            Some(&json!("12"))
        );
        assert_eq!(
            body.pointer("/capabilities/m.room_versions/available/6"),
            Some(&json!("stable"))
        );
        assert_eq!(
            body.pointer("/capabilities/m.3pid_changes/enabled"),
            Some(&json!(false))
        );
        for path in [
            "/_matrix/client/v3/thirdparty/protocols",
            "/_matrix/client/r0/voip/turnServer",
        ] {
            assert_eq!(call(&app, "GET", path, Some(&alice), None).await, (status, json!({})));
            let (status, _) = call(&app, "GET", path, None, None).await;
            assert_eq!(status, 401);
        }
        let (status, error) = call(
            &app,
            "GET",
            "/_matrix/client/v3/thirdparty/protocol/irc",
            Some(&alice),
            None,
        )
        .await;
        assert_eq!(
            (status.as_u16(), error.get("errcode")),
            (404, Some(&json!("M_NOT_FOUND")))
        );
        // Endpoints that are not there say so as the specification wants it: Element asks for this one at start.
        let (status, error) = call(&app, "GET", "/_matrix/client/v1/auth_metadata", None, None).await;
        assert_eq!(
            (status.as_u16(), error.get("errcode")),
            (404, Some(&json!("M_UNRECOGNIZED")))
        );
    }
}
