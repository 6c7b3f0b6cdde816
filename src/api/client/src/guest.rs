//! What guests may do: what is on a list, and nothing else (Matrix 1.16, "Guest Access").

use crate::{ApiError, App, Session};
use http::Method;

/// Method and path behind `/_matrix/client/`; a star stands for one segment.
const ALLOWED: &[(Method, &str)] = &[
    (Method::GET, "v3/rooms/*/state"),
    (Method::GET, "v3/rooms/*/context/*"),
    (Method::GET, "v3/rooms/*/event/*"),
    (Method::GET, "v3/rooms/*/state/*"),
    (Method::GET, "v3/rooms/*/state/*/*"),
    (Method::GET, "v3/rooms/*/messages"),
    (Method::GET, "v3/rooms/*/members"),
    (Method::GET, "v3/rooms/*/initialSync"),
    (Method::GET, "v3/sync"),
    (Method::GET, "v3/events"),
    (Method::GET, "v1/media/download/*/*"),
    (Method::GET, "v1/media/download/*/*/*"),
    (Method::GET, "v1/media/thumbnail/*/*"),
    (Method::POST, "v3/rooms/*/join"),
    (Method::POST, "v3/join/*"),
    (Method::POST, "v3/rooms/*/leave"),
    (Method::PUT, "v3/rooms/*/send/*/*"),
    (Method::PUT, "v3/rooms/*/state/*"),
    (Method::PUT, "v3/rooms/*/state/*/*"),
    (Method::PUT, "v3/sendToDevice/*/*"),
    // "Guest users may only modify their display name; other profile fields may not be changed."
    (Method::PUT, "v3/profile/*/displayname"),
    (Method::DELETE, "v3/profile/*/displayname"),
    (Method::GET, "v3/devices"),
    (Method::GET, "v3/devices/*"),
    (Method::PUT, "v3/devices/*"),
    (Method::GET, "v3/account/whoami"),
    (Method::POST, "v3/keys/upload"),
    (Method::POST, "v3/keys/query"),
    (Method::POST, "v3/keys/claim"),
    // Not on the specification's list: whoever goes may say so.
    (Method::POST, "v3/logout"),
];

/// Refuses a guest what guests may not do, and everything if there are no guests any more. Costs others nothing.
pub(crate) fn check(app: &App, session: &Session, method: &Method, path: &str) -> Result<(), ApiError> {
    if !session.is_guest || (app.settings.load().guests && may(method, path)) {
        Ok(())
    } else {
        Err(ApiError::guest())
    }
}

fn may(method: &Method, path: &str) -> bool {
    let Some(path) = path.strip_prefix("/_matrix/client/") else {
        return false;
    };
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    ALLOWED
        .iter()
        .any(|(allowed, pattern)| allowed == method && fits(path, pattern))
}

fn fits(path: &str, pattern: &str) -> bool {
    // A state key may be left out with the slash before it or without.
    let mut path = path.strip_suffix('/').unwrap_or(path).split('/');
    let mut pattern = pattern.split('/');
    loop {
        match (path.next(), pattern.next()) {
            (None, None) => return true,
            (Some("r0"), Some("v3")) => {}
            (Some(segment), Some(wanted)) if wanted == "*" || segment == wanted => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests;
