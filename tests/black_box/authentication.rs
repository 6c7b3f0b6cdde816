//! Walks the route table: every route must have a case here for who may use it, and must keep to it.

use crate::harness::{CONFIG, Site, text};
use lamchat_http::Auth;

/// Every route that a TCP listener can offer.
pub fn routes() -> Vec<(String, String, Auth)> {
    let client = lamchat_api_client::routes::table().into_iter();
    let admin = lamchat_api_admin::listener_table().into_iter();
    client
        .chain(admin)
        .map(|(method, path, auth)| (method.to_string(), path.into_owned(), auth))
        .collect()
}

/// A pattern with values in place of its parameters.
pub fn fill(path: &str, value: impl Fn(&str) -> String) -> String {
    let filled =
        path.split('/').map(
            |segment| match segment.strip_prefix('{').and_then(|segment| segment.strip_suffix('}')) {
                Some(name) => value(name),
                None => segment.to_owned(),
            },
        );
    filled.collect::<Vec<_>>().join("/")
}

/// A plausible value for a path parameter.
pub fn plausible(name: &str) -> String {
    match name {
        "room_id" | "room_id_or_alias" => "!room:localhost",
        "room_alias" => "%23alias:localhost",
        "user_id" => "@alice:localhost",
        "event_id" => "$event",
        "device_id" => "DEVICE",
        "server_name" => "localhost",
        "txn_id" => "txn",
        "event_type" => "m.room.message",
        _ => "x",
    }
    .to_owned()
}

#[test]
fn every_route_answers_whom_it_should() {
    // The list of public rooms is for everybody only if the operator says so.
    let site = Site::with(&format!("{CONFIG}\n[rooms]\npublic_list_without_auth = true\n"));
    let server = site.start();
    server.account("alice");
    let mut stranger = server.plain_client();
    let routes = routes();
    assert!(routes.len() > 100, "the table has only {} routes", routes.len());
    let mut wrong = Vec::new();
    for (method, path, auth) in &routes {
        let target = fill(path, plausible);
        let reply = stranger
            .send(method, &target, &[("Content-Type", "application/json")], b"{}")
            .unwrap();
        let kept = match auth {
            Auth::Session => reply.refusal() == (401, "M_MISSING_TOKEN".to_owned()),
            // Others may refuse for other reasons, but never for want of a token; 401 with flows is registration.
            Auth::Open | Auth::Optional | Auth::SharedSecret => {
                reply.status < 500 && reply.refusal().1 != "M_MISSING_TOKEN"
            }
            Auth::Admin => reply.refusal() == (401, "M_MISSING_TOKEN".to_owned()),
        };
        if !kept {
            wrong.push(format!(
                "{method} {path} ({auth:?}): {} {}",
                reply.status,
                text(&reply.body)
            ));
        }
        if matches!(auth, Auth::Session | Auth::Optional | Auth::Admin) {
            stranger.token = Some("lct_nobodys".to_owned());
            let reply = stranger
                .send(method, &target, &[("Content-Type", "application/json")], b"{}")
                .unwrap();
            // Wrong credentials of administrators are few.
            let limited = *auth == Auth::Admin && reply.refusal() == (429, "M_LIMIT_EXCEEDED".to_owned());
            if reply.refusal() != (401, "M_UNKNOWN_TOKEN".to_owned()) && !limited {
                wrong.push(format!(
                    "{method} {path} with an unknown token: {} {}",
                    reply.status,
                    text(&reply.body)
                ));
            }
            stranger.token = None;
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        routes.len(),
        wrong.join("\n")
    );
}

#[test]
fn the_list_of_public_rooms_is_closed_by_default() {
    let site = Site::new();
    let server = site.start();
    let refused = server.client().get("/_matrix/client/v3/publicRooms").refusal();
    assert_eq!(refused, (401, "M_MISSING_TOKEN".to_owned()));
}

#[test]
fn the_command_lines_routes_answer_nobody_without_a_credential() {
    let site = Site::new();
    let server = site.start();
    for path in [
        "/_lamchat/admin/v1/users",
        "/_lamchat/admin/v1/health",
        "/_lamchat/admin/v1/tokens",
    ] {
        // The listener without the resource `admin` does not know them; the other one asks for a credential.
        assert_eq!(server.client().get(path).refusal(), (404, "M_UNRECOGNIZED".to_owned()));
        let refused = server.plain_client().get(path).refusal();
        assert_eq!(refused, (401, "M_MISSING_TOKEN".to_owned()));
    }
    let here = "/_lamchat/admin/v1/box/acts";
    let refused = server.plain_client().post(here, &serde_json::json!({})).refusal();
    assert_eq!(refused, (404, "M_UNRECOGNIZED".to_owned()));
}
