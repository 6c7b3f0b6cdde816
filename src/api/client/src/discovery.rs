//! What clients ask before anything else: versions, the well-knowns, whether somebody is there.

use crate::{ApiError, App, Routes};
use http::{Method, StatusCode, Uri};
use lamchat_http::{Request, Response};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The versions whose client-server API is covered as far as people talking to each other need it.
/// A version is listed when clients that rely on what it brought find it here. Features are listed that clients ask for by an
/// unstable name, or that came with later versions.
pub const VERSIONS: &str = r#"{"versions":["r0.5.0","r0.6.0","r0.6.1","v1.1","v1.2","v1.3","v1.4","v1.5","v1.6","v1.7","v1.8","v1.9","v1.10","v1.11","v1.12","v1.13","v1.14","v1.15","v1.16"],"unstable_features":{"org.matrix.simplified_msc3575":true,"org.matrix.msc4222":true,"org.matrix.msc4140":true,"uk.tcpip.msc4133":true,"uk.tcpip.msc4133.stable":true,"uk.half-shot.msc2666.query_mutual_rooms":true,"uk.half-shot.msc2666.query_mutual_rooms.stable":true,"com.beeper.msc4169":true,"org.matrix.msc4380":true,"org.matrix.msc4380.stable":true}}"#;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.raw_open(Method::GET, "/_matrix/client/versions", versions);
    r.raw_open(Method::GET, "/.well-known/matrix/client", well_known_client);
    r.raw_open(Method::GET, "/.well-known/matrix/server", well_known_server);
    r.raw_open(Method::GET, "/.well-known/matrix/support", well_known_support);
    r.raw_open(Method::GET, "/health", health);
}

async fn versions(_app: Arc<App>, _request: Request) -> Result<Response, ApiError> {
    Ok(Response::json(
        StatusCode::OK,
        bytes::Bytes::from_static(VERSIONS.as_bytes()),
    ))
}

async fn well_known_client(app: Arc<App>, _request: Request) -> Result<Response, ApiError> {
    let settings = app.settings.load();
    let base_url = settings.public_baseurl.as_deref().ok_or_else(not_set)?;
    crate::wire::json(
        StatusCode::OK,
        &serde_json::json!({ "m.homeserver": { "base_url": base_url } }),
    )
}

async fn well_known_server(app: Arc<App>, _request: Request) -> Result<Response, ApiError> {
    let settings = app.settings.load();
    if !settings.federation {
        return Err(ApiError::not_found("This server does not federate"));
    }
    let base_url = settings.public_baseurl.as_deref().ok_or_else(not_set)?;
    let address = host_and_port(base_url).ok_or_else(not_set)?;
    crate::wire::json(StatusCode::OK, &serde_json::json!({ "m.server": address }))
}

/// "At least one of `contacts` or `support_page` is required." – "404: No server support information available."
async fn well_known_support(app: Arc<App>, _request: Request) -> Result<Response, ApiError> {
    let settings = app.settings.load();
    let mut contact = Map::new();
    if let Some(matrix_id) = &settings.support.matrix_id {
        contact.insert("matrix_id".to_owned(), matrix_id.as_str().into());
    }
    if let Some(email_address) = &settings.support.email_address {
        contact.insert("email_address".to_owned(), email_address.as_str().into());
    }
    let mut answer = Map::new();
    if !contact.is_empty() {
        contact.insert("role".to_owned(), "m.role.admin".into());
        answer.insert("contacts".to_owned(), vec![Value::Object(contact)].into());
    }
    if let Some(page) = &settings.support.page {
        answer.insert("support_page".to_owned(), page.as_str().into());
    }
    if answer.is_empty() {
        return Err(ApiError::not_found(
            "[support] is not set in this server's configuration",
        ));
    }
    crate::wire::json(StatusCode::OK, &answer)
}

/// 200 as soon as requests are answered; for load balancers and watchdogs. Its first line is `OK`; the second one says
/// whether the keys open on this machine only.
async fn health(app: Arc<App>, _request: Request) -> Result<Response, ApiError> {
    let text = if app.hardware_sealed.load(Ordering::Relaxed) {
        "OK\nkeys: hardware-sealed\n"
    } else {
        "OK\nkeys: not hardware-sealed\n"
    };
    Ok(Response::text(StatusCode::OK, text))
}

fn not_set() -> ApiError {
    ApiError::not_found("public_baseurl is not set in this server's configuration")
}

/// "m.server: The server name to delegate server-server communications to, with optional port."
/// Without a port other servers would try 8448, so the port is always there.
fn host_and_port(base_url: &str) -> Option<String> {
    let uri: Uri = base_url.parse().ok()?;
    let standard = if uri.scheme_str() == Some("http") { 80 } else { 443 };
    Some(format!("{}:{}", uri.host()?, uri.port_u16().unwrap_or(standard)))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::host_and_port;
    use crate::{Settings, testing};
    use serde_json::{Value, json};

    #[test]
    fn the_port_is_always_told() {
        assert_eq!(
            host_and_port("https://chat.example.org/").as_deref(),
            Some("chat.example.org:443")
        );
        assert_eq!(
            host_and_port("https://chat.example.org:8448/").as_deref(),
            Some("chat.example.org:8448")
        );
        assert_eq!(host_and_port("http://[::1]:8008").as_deref(), Some("[::1]:8008"));
        assert_eq!(host_and_port("not a url"), None);
    }

    #[tokio::test]
    async fn discovery_answers_strangers() {
        let app = testing::app();
        let (status, versions) = testing::call(&app, "GET", "/_matrix/client/versions", None, None).await;
        assert_eq!(status, 200);
        assert!(
            versions
                .get("versions")
                .and_then(Value::as_array)
                .is_some_and(|list| list.last() == Some(&json!("v1.16")))
        );

        let (status, error) = testing::call(&app, "GET", "/.well-known/matrix/client", None, None).await;
        assert_eq!(
            (status.as_u16(), error.get("errcode")),
            (404, Some(&json!("M_NOT_FOUND")))
        );

        app.settings.store(std::sync::Arc::new(Settings {
            public_baseurl: Some("https://chat.example.org/".to_owned()),
            ..Settings::default()
        }));
        let (_, client) = testing::call(&app, "GET", "/.well-known/matrix/client", None, None).await;
        assert_eq!(
            client,
            json!({"m.homeserver": {"base_url": "https://chat.example.org/"}})
        );
        let (_, server) = testing::call(&app, "GET", "/.well-known/matrix/server", None, None).await;
        assert_eq!(server, json!({"m.server": "chat.example.org:443"}));
        let (status, _) = testing::call(&app, "GET", "/health", None, None).await;
        assert_eq!(status, 200);

        let support = "/.well-known/matrix/support";
        let (status, error) = testing::call(&app, "GET", support, None, None).await;
        assert_eq!(
            (status.as_u16(), error.get("errcode")),
            (404, Some(&json!("M_NOT_FOUND")))
        );
        app.settings.store(std::sync::Arc::new(Settings {
            support: crate::Support {
                matrix_id: Some("@admin:example.org".try_into().unwrap()),
                email_address: None,
                page: Some("https://example.org/help".to_owned()),
            },
            ..Settings::default()
        }));
        let (_, answer) = testing::call(&app, "GET", support, None, None).await;
        let contact = json!({"matrix_id": "@admin:example.org", "role": "m.role.admin"});
        assert_eq!(
            answer,
            json!({"contacts": [contact], "support_page": "https://example.org/help"})
        );
    }
}
