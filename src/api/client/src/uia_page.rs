//! Stages of user-interactive authentication in a browser, for clients that do not know them.
//!
//! "Clients cannot be expected to be able to know how to process every single login type. (…) it can direct the user to a web
//! browser with the URL of a fallback page (…) This MUST return an HTML page which can perform this authentication stage."
//! (Matrix 1.16)

use crate::limit::Limited;
use crate::{ApiError, App, Routes, session};
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Method, StatusCode};
use lamchat_accounts::user;
use lamchat_http::{Body, Request, Response, query_value};
use lamchat_identity::registration_token;
use lamchat_identity::uia::{Operation, Stage};
use lamchat_store::ReadError;
use std::sync::Arc;

const PATH: &str = "/_matrix/client/v3/auth/{auth_type}/fallback/web";
/// Nothing is loaded, nobody puts the page into theirs, and what is typed goes back here. The digest is of [`DONE`].
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; \
    script-src 'sha256-bWKz1RLHq0zPvxxxiHFG6EUpgCwLKJ6/pXtp9Y2YywY='";
/// "This page must use the following JavaScript when the authentication has been completed".
const DONE: &str = "if (window.onAuthDone) { window.onAuthDone(); } \
    else if (window.opener && window.opener.postMessage) { window.opener.postMessage(\"authDone\", \"*\"); }";

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.raw_open(Method::GET, PATH, show);
    r.raw_open(Method::POST, PATH, take);
}

/// What the page asks for.
struct Question {
    session: String,
    operation: Operation,
    stage: Stage,
}

/// The session and stage of a request, if the session is open and asks for the stage.
fn question(app: &App, request: &Request) -> Result<Question, ApiError> {
    let stage = [Stage::RegistrationToken, Stage::Dummy, Stage::Password]
        .into_iter()
        .find(|stage| stage.as_str() == request.params.value("auth_type"));
    let stage = stage.ok_or_else(|| ApiError::not_found("There is no such kind of authentication here"))?;
    let session = query_value(request.query(), "session").unwrap_or_default();
    let (operation, progress) = app
        .uia
        .open_session(&session, app.now_ms())
        .filter(|(_, progress)| progress.flows.iter().flatten().any(|known| *known == stage))
        .ok_or_else(|| ApiError::not_found("The authentication took too long: go back and do it again"))?;
    // Of the server's own making: letters and digits.
    Ok(Question {
        session: progress.session,
        operation,
        stage,
    })
}

async fn show(app: Arc<App>, request: Request) -> Result<Response, ApiError> {
    let question = question(&app, &request)?;
    Ok(page(StatusCode::OK, &form(&question, "")))
}

async fn take(app: Arc<App>, mut request: Request) -> Result<Response, ApiError> {
    app.limit(Limited::Registration, request.peer)?;
    let question = question(&app, &request)?;
    let bytes = crate::wire::body(&mut request).await?;
    let typed = std::str::from_utf8(&bytes).unwrap_or_default();
    let typed = query_value(typed, "answer").unwrap_or_default();
    let is_right = match question.stage {
        Stage::Dummy => app.uia.complete_on_page(&question.session, Stage::Dummy, app.now_ms()),
        Stage::RegistrationToken => takes_token(&app, &question.session, &typed)?,
        Stage::Password => takes_password(&app, &question, typed).await?,
    };
    Ok(if is_right {
        let done = format!("<p>That is done: go back to your client.</p><script>{DONE}</script>");
        page(StatusCode::OK, &done)
    } else {
        page(StatusCode::UNAUTHORIZED, &form(&question, "<p>That was not right.</p>"))
    })
}

fn takes_token(app: &App, session: &str, token: &str) -> Result<bool, ApiError> {
    let now_ms = app.now_ms();
    let is_valid = |pending| -> Result<(), Option<ReadError>> {
        let known = registration_token::one(&app.store.read(), token).map_err(Some)?;
        known
            .is_some_and(|known| known.is_valid(pending, now_ms))
            .then_some(())
            .ok_or(None)
    };
    match app.uia.show_token_on_page(session, token, now_ms, is_valid) {
        Some(Ok(())) => Ok(true),
        Some(Err(Some(error))) => Err(error.into()),
        Some(Err(None)) | None => Ok(false),
    }
}

async fn takes_password(app: &App, question: &Question, password: String) -> Result<bool, ApiError> {
    let caller = question.operation.caller.map(|(user, _)| user);
    let user_id = match caller {
        Some(user) => user::id(&app.store.read(), user)?,
        None => None,
    };
    let Some(user_id) = user_id else {
        return Ok(false);
    };
    let is_right = session::check_password(app, &user_id, password).await?;
    Ok(is_right
        && app
            .uia
            .complete_on_page(&question.session, Stage::Password, app.now_ms()))
}

fn form(question: &Question, note: &str) -> String {
    let (label, kind) = match question.stage {
        Stage::RegistrationToken => ("Registration token", "text"),
        Stage::Password => ("Your password", "password"),
        Stage::Dummy => ("", "hidden"),
    };
    let (stage, session) = (question.stage.as_str(), &question.session);
    format!(
        "{note}<form method=\"post\" action=\"/_matrix/client/v3/auth/{stage}/fallback/web?session={session}\">\
        <p><label>{label} <input name=\"answer\" type=\"{kind}\" autocomplete=\"off\"></label></p>\
        <p><button type=\"submit\">Go on</button></p></form>"
    )
}

fn page(status: StatusCode, content: &str) -> Response {
    let html = format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Authentication</title>\
        <meta name=\"viewport\" content=\"width=device-width\">\
        <style>body{{font:1.1em sans-serif;margin:3em auto;max-width:30em;padding:0 1em}}</style></head>\
        <body><h1>Authentication</h1>{content}</body></html>"
    );
    let mut response = Response {
        status,
        body: Body::Full(html.into()),
        ..Response::default()
    };
    for (name, value) in [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CACHE_CONTROL, "no-store"),
    ] {
        response.headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests;
