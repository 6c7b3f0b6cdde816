//! Profiles: showing them to whoever may see them, changing one's own.

use crate::account_data::must_be_own;
use crate::wire::{body, check_json, json};
use crate::{ApiError, App, Routes, Session};
use http::{Method, StatusCode};
use lamchat_accounts::account;
use lamchat_accounts::profile::{self, SetProfileError};
use lamchat_base::UserNum;
use lamchat_connections::{Reach, may_reach};
use lamchat_http::{Request, Response};
use lamchat_rooms::{AppendError, Caller};
use ruma::{OwnedUserId, UserId};
use serde_json::{Map, Value};
use std::sync::Arc;

const WHOLE: &str = "/_matrix/client/v3/profile/{user_id}";
const UNSTABLE_WHOLE: &str = "/_matrix/client/unstable/uk.tcpip.msc4133/profile/{user_id}";
const FIELD: &str = "/_matrix/client/v3/profile/{user_id}/{field}";
const UNSTABLE_FIELD: &str = "/_matrix/client/unstable/uk.tcpip.msc4133/profile/{user_id}/{field}";

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    for path in [WHOLE, UNSTABLE_WHOLE] {
        r.raw_optional(Method::GET, path, show);
    }
    for path in [FIELD, UNSTABLE_FIELD] {
        r.raw_optional(Method::GET, path, show_field);
        r.raw(Method::PUT, path, set).to_the_end();
        r.raw(Method::DELETE, path, remove).to_the_end();
    }
}

async fn show(app: Arc<App>, caller: Option<Session>, request: Request) -> Result<Response, ApiError> {
    let user = visible(&app, caller.as_ref(), &request)?;
    let fields: Map<String, Value> = profile::all(&app.store.read(), user)?.into_iter().collect();
    json(StatusCode::OK, &fields)
}

async fn show_field(app: Arc<App>, caller: Option<Session>, request: Request) -> Result<Response, ApiError> {
    let user = visible(&app, caller.as_ref(), &request)?;
    let name = request.params.value("field");
    let value = profile::field(&app.store.read(), user, name)?;
    let value = value.ok_or_else(|| ApiError::not_found("This profile has no such field"))?;
    json(StatusCode::OK, &Map::from_iter([(name.to_owned(), value)]))
}

/// The user of the path, if the caller may see their profile.
///
/// "Homeservers … may require authentication … `M_NOT_FOUND`: There is no profile information for this user or this
/// user does not exist." (Matrix 1.16)
fn visible(app: &App, caller: Option<&Session>, request: &Request) -> Result<UserNum, ApiError> {
    let user_id = user_of(request)?;
    let account = account::by_id(&app.store.read(), &user_id)?.filter(|account| !account.erased);
    let account = account.ok_or_else(|| ApiError::not_found("There is no such user here"))?;
    if caller.is_some_and(|caller| !may_reach(caller.user, account.user, Reach::Profile)) {
        return Err(ApiError::forbidden("This profile is not shown to you"));
    }
    Ok(account.user)
}

fn user_of(request: &Request) -> Result<OwnedUserId, ApiError> {
    UserId::parse(request.params.value("user_id")).map_err(|error| ApiError::invalid_param(error.to_string()))
}

async fn set(app: Arc<App>, session: Session, mut request: Request) -> Result<Response, ApiError> {
    let (user, name) = own_field(&session, &request)?;
    let bytes = body(&mut request).await?;
    check_json(&bytes)?;
    let mut fields: Map<String, Value> = serde_json::from_slice(&bytes)?;
    let value = fields
        .remove(&name)
        .ok_or_else(|| ApiError::missing_param(format!("{name} is missing")))?;
    let is_displayed = is_displayed(&name);
    // Before fields could be deleted, clients took name and avatar away with `null`.
    if is_displayed && value.is_null() {
        app.store.write(move |txn| profile::remove(txn, user, &name)).await?;
    } else {
        app.store
            .write(move |txn| profile::set(txn, user, &name, &value))
            .await?;
    }
    follow(&app, session, is_displayed).await
}

async fn remove(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    let (user, name) = own_field(&session, &request)?;
    let is_displayed = is_displayed(&name);
    app.store.write(move |txn| profile::remove(txn, user, &name)).await?;
    follow(&app, session, is_displayed).await
}

fn own_field(session: &Session, request: &Request) -> Result<(UserNum, String), ApiError> {
    must_be_own(session, &user_of(request)?)?;
    if session.is_suspended {
        return Err(ApiError::suspended());
    }
    Ok((session.user, request.params.value("field").to_owned()))
}

fn is_displayed(name: &str) -> bool {
    matches!(name, profile::DISPLAYNAME | profile::AVATAR_URL)
}

/// "The homeserver … propagates the change to the member events of the user's rooms." It is done even if the profile
/// was so already: the request may be a repetition of one that was cut short.
async fn follow(app: &App, session: Session, is_displayed: bool) -> Result<Response, ApiError> {
    if is_displayed {
        let caller = Caller {
            user: session.user,
            user_id: session.user_id,
            device: None,
        };
        if let Err(error) = app.rooms.profile_changed(&caller).await {
            return Err(match error {
                AppendError::Read(error) => error.into(),
                AppendError::Commit(error) => error.into(),
                other => ApiError::internal(other),
            });
        }
    }
    json(StatusCode::OK, &Map::new())
}

impl From<SetProfileError> for ApiError {
    fn from(error: SetProfileError) -> Self {
        let errcode = match error {
            SetProfileError::FieldName | SetProfileError::Value => "M_INVALID_PARAM",
            SetProfileError::FieldNameTooLong => "M_KEY_TOO_LARGE",
            SetProfileError::TooLarge => "M_PROFILE_TOO_LARGE",
            SetProfileError::Read(error) => return error.into(),
        };
        Self::new(StatusCode::BAD_REQUEST, errcode, error.to_string())
    }
}

#[cfg(test)]
mod tests;
