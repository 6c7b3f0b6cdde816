//! User-interactive authentication: the 401 that asks for more, and the answers to it (Matrix 1.16,
//! "User-Interactive Authentication API").

use crate::{ApiError, App, Session, session};
use bytes::Bytes;
use http::StatusCode;
use lamchat_identity::password::PasswordError;
use lamchat_identity::registration_token;
use lamchat_identity::uia::{Flows, Operation, Progress, Stage};
use lamchat_store::ReadError;
use ruma::api::client::uiaa::{AuthData, UserIdentifier};
use serde_json::{Value, json};

/// Largest body in which an old form of authentication is looked for; such requests are short.
const OLD_BODY_BYTES_MAX: usize = 65_536;

/// Makes sure that the holder of a session is the owner of the account: they type their password again.
/// `operation` names what they want to do, such as `DELETE /devices/ABC`; an authentication for one operation is good
/// for no other.
pub async fn confirm(app: &App, session: &Session, operation: &str, auth: Option<AuthData>) -> Result<(), ApiError> {
    let operation = Operation {
        name: operation.to_owned(),
        caller: Some((session.user, session.device)),
    };
    authorize(app, operation, vec![vec![Stage::Password]], auth, Some(session)).await?;
    Ok(())
}

/// Asks for the stages of one of `flows`, or takes one; answers once a flow is complete.
pub(crate) async fn authorize(
    app: &App,
    operation: Operation,
    flows: Flows,
    auth: Option<AuthData>,
    session: Option<&Session>,
) -> Result<Progress, ApiError> {
    let now_ms = app.now_ms();
    let open = || app.uia.open(operation.clone(), flows.clone(), &*app.entropy, now_ms);
    let Some(auth) = auth else {
        return Err(ask(&open(), None));
    };

    // "session: … Required if the homeserver returned a session"; some clients that know the flow send all at once.
    let progress = match auth.session() {
        None => open(),
        Some(id) => match app.uia.progress(id, &operation, now_ms) {
            Some(progress) => progress,
            None => {
                return Err(ask(
                    &open(),
                    Some(("M_UNKNOWN", "The authentication took too long: do it again")),
                ));
            }
        },
    };
    let progress = match take(app, &operation, progress, auth, session, now_ms).await? {
        Ok(progress) => progress,
        Err(refused) => return Err(refused),
    };
    if progress.is_done {
        Ok(progress)
    } else {
        Err(ask(&progress, None))
    }
}

/// Takes what the client sent for one stage. The inner error is the next question.
async fn take(
    app: &App,
    operation: &Operation,
    progress: Progress,
    auth: AuthData,
    session: Option<&Session>,
    now_ms: u64,
) -> Result<Result<Progress, ApiError>, ApiError> {
    let over = || {
        ask(
            &app.uia
                .open(operation.clone(), progress.flows.clone(), &*app.entropy, now_ms),
            None,
        )
    };
    let offered = |stage: Stage| progress.flows.iter().flatten().any(|known| *known == stage);
    match auth {
        AuthData::Password(password) if offered(Stage::Password) => {
            let is_right = match (session, whom(app, &password.identifier)) {
                (Some(session), Some(user_id)) if user_id == session.user_id => {
                    session::check_password(app, &user_id, password.password).await?
                }
                _ => false,
            };
            if !is_right {
                // "If the homeserver decides that an attempt on a stage was unsuccessful, but the client may make a
                // second attempt, it returns the same HTTP status 401 response as above, with the addition of the
                // standard `errcode` and `error` fields".
                return Ok(Err(ask(&progress, Some(("M_FORBIDDEN", "The password is wrong")))));
            }
            Ok(app
                .uia
                .complete(&progress.session, operation, Stage::Password, now_ms)
                .ok_or_else(over))
        }
        AuthData::RegistrationToken(shown) if offered(Stage::RegistrationToken) => {
            let is_valid = |pending| -> Result<(), Option<ReadError>> {
                let token = registration_token::one(&app.store.read(), &shown.token).map_err(Some)?;
                if token.is_some_and(|token| token.is_valid(pending, now_ms)) {
                    Ok(())
                } else {
                    Err(None)
                }
            };
            match app
                .uia
                .complete_token(&progress.session, operation, &shown.token, now_ms, is_valid)
            {
                None => Ok(Err(over())),
                Some(Ok(progress)) => Ok(Ok(progress)),
                Some(Err(Some(error))) => Err(error.into()),
                Some(Err(None)) => Ok(Err(ask(
                    &progress,
                    Some(("M_UNAUTHORIZED", "The registration token is not valid")),
                ))),
            }
        }
        AuthData::Dummy(_) if offered(Stage::Dummy) => Ok(app
            .uia
            .complete(&progress.session, operation, Stage::Dummy, now_ms)
            .ok_or_else(over)),
        // A client that was sent to a fallback page asks whether the stage is completed.
        AuthData::FallbackAcknowledgement(_) => {
            Ok(app.uia.resume(&progress.session, operation, now_ms).ok_or_else(over))
        }
        _ => Ok(Err(ask(
            &progress,
            Some(("M_UNRECOGNIZED", "This kind of authentication is not offered here")),
        ))),
    }
}

/// Whom an identifier means.
fn whom(app: &App, identifier: &UserIdentifier) -> Option<ruma::OwnedUserId> {
    match identifier {
        UserIdentifier::Matrix(matrix) => session::user_of(app, &matrix.user),
        _ => None,
    }
}

/// The 401 that says what is needed.
fn ask(progress: &Progress, error: Option<(&str, &str)>) -> ApiError {
    let names = |stages: &[Stage]| -> Vec<&'static str> { stages.iter().map(|stage| stage.as_str()).collect() };
    let flows: Vec<Value> = progress
        .flows
        .iter()
        .map(|flow| json!({ "stages": names(flow) }))
        .collect();
    let mut body = json!({
        "flows": flows,
        "params": {},
        "session": progress.session,
        "completed": names(&progress.completed),
    });
    if let (Some((errcode, message)), Some(body)) = (error, body.as_object_mut()) {
        body.insert("errcode".to_owned(), errcode.into());
        body.insert("error".to_owned(), message.into());
    }
    ApiError::uia(&body)
}

/// Completes what older clients send: `"user": "alice"` in place of an `identifier`, which ruma's type insists on.
///
/// "user: Deprecated in favour of identifier" (Matrix r0.4.0). And `auth` that names neither a stage nor a session,
/// with which matrix-nio begins: it is the first request, which learns the flows.
pub(crate) fn with_identifier(body: Bytes) -> Bytes {
    let contains = |part: &[u8]| body.windows(part.len()).any(|window| window == part);
    if body.len() > OLD_BODY_BYTES_MAX || !contains(b"\"auth\"") {
        return body;
    }
    let Ok(mut request) = serde_json::from_slice::<Value>(&body) else {
        return body;
    };
    let Some(auth) = request.get_mut("auth").and_then(Value::as_object_mut) else {
        return body;
    };
    if !auth.contains_key("type") && !auth.contains_key("session") {
        if let Some(request) = request.as_object_mut() {
            request.remove("auth");
        }
        return Bytes::from(request.to_string());
    }
    if auth.get("type").is_none_or(|stage| stage != "m.login.password") {
        return body;
    }
    let Some(user) = auth.get("user").filter(|user| user.is_string()).cloned() else {
        return body;
    };
    if auth.contains_key("identifier") {
        return body;
    }
    auth.insert("identifier".to_owned(), json!({ "type": "m.id.user", "user": user }));
    Bytes::from(request.to_string())
}

impl From<PasswordError> for ApiError {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::limit_exceeded(1_000),
            PasswordError::Weak => Self::new(StatusCode::BAD_REQUEST, "M_WEAK_PASSWORD", error.to_string()),
            PasswordError::TooLong => Self::invalid_param(error.to_string()),
            PasswordError::Hash(_) => Self::internal(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::with_identifier;
    use serde_json::{Value, json};

    fn completed(body: &Value) -> Value {
        serde_json::from_slice(&with_identifier(body.to_string().into())).unwrap_or_default()
    }

    #[test]
    fn the_old_form_is_completed_and_nothing_else_touched() {
        let old = json!({"new_password": "x", "auth": {"type": "m.login.password", "user": "alice", "password": "y"}});
        let identifier = json!({"type": "m.id.user", "user": "alice"});
        let first = json!({"username": "a", "auth": {"initial_device_display_name": "nio"}});
        assert_eq!(completed(&first), json!({"username": "a"}));
        assert_eq!(completed(&old).pointer("/auth/identifier"), Some(&identifier));
        for other in [
            json!({"auth": {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "a"}, "user": "b"}}),
            json!({"auth": {"type": "m.login.password", "user": 7}}),
            json!({"auth": "m.login.password"}),
            json!({"type": "m.login.password", "user": "auth"}),
            json!(["auth", "m.login.password"]),
        ] {
            assert_eq!(completed(&other), other);
        }
        assert_eq!(
            &with_identifier("{\"auth\" \"m.login.password\"".into())[..],
            b"{\"auth\" \"m.login.password\""
        );
    }
}
