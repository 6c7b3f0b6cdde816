//! Push rules and pushers. Pushers are kept and listed; no push gateway is called.

use crate::wire::{body, check_json, json};
use crate::{ApiError, App, Routes, Session};
use http::{Method, StatusCode};
use lamchat_http::{Request, Response, query_value};
use lamchat_push::pushers::{self, PusherError};
use lamchat_push::rules::{self, RuleError};
use lamchat_store::{CommitError, WriteTxn};
use ruma::api::client::push::set_pusher::v3::PusherAction;
use ruma::api::client::push::{
    PusherKind, delete_pushrule, get_pushrule, get_pushrule_actions, get_pushrule_enabled, set_pusher,
    set_pushrule_actions, set_pushrule_enabled,
};
use ruma::push::{
    Action, InsertPushRuleError, NewConditionalPushRule, NewPatternedPushRule, NewPushRule, NewSimplePushRule,
    PushCondition, RuleKind, Ruleset,
};
use ruma::{RoomId, UserId};
use std::sync::Arc;

/// The endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.raw(Method::GET, "/_matrix/client/v3/pushrules/", all_rules);
    r.raw(Method::GET, "/_matrix/client/v3/pushrules/global/", global_rules);
    r.session::<get_pushrule::v3::Request>(rule);
    r.raw(
        Method::PUT,
        "/_matrix/client/v3/pushrules/global/{kind}/{rule_id}",
        put_rule,
    );
    r.session::<delete_pushrule::v3::Request>(delete_rule);
    r.session::<get_pushrule_enabled::v3::Request>(enabled);
    r.session::<set_pushrule_enabled::v3::Request>(set_enabled);
    r.session::<get_pushrule_actions::v3::Request>(actions);
    r.session::<set_pushrule_actions::v3::Request>(set_actions);
    r.raw(Method::GET, "/_matrix/client/v3/pushers", list_pushers);
    r.session::<set_pusher::v3::Request>(put_pusher);
}

fn ruleset(app: &App, session: &Session) -> Result<Ruleset, ApiError> {
    Ok(rules::of(&app.store.read(), session.user, &session.user_id)?)
}

async fn all_rules(app: Arc<App>, session: Session, _: Request) -> Result<Response, ApiError> {
    crate::wire::json(StatusCode::OK, &rules::content(&ruleset(&app, &session)?)?)
}

async fn global_rules(app: Arc<App>, session: Session, _: Request) -> Result<Response, ApiError> {
    let content = rules::content(&ruleset(&app, &session)?)?;
    crate::wire::json(StatusCode::OK, &content.get("global"))
}

/// A rule of the caller's.
fn find<T>(
    app: &App,
    session: &Session,
    kind: RuleKind,
    rule_id: &str,
    show: impl FnOnce(ruma::push::AnyPushRuleRef<'_>) -> T,
) -> Result<T, ApiError> {
    let rules = ruleset(app, session)?;
    Ok(show(rules.get(kind, rule_id).ok_or(RuleError::NotFound)?))
}

async fn rule(
    app: Arc<App>,
    session: Session,
    request: get_pushrule::v3::Request,
) -> Result<get_pushrule::v3::Response, ApiError> {
    let rule = find(&app, &session, request.kind, &request.rule_id, |rule| rule.to_owned())?;
    Ok(get_pushrule::v3::Response::new(rule.into()))
}

async fn put_rule(app: Arc<App>, session: Session, mut request: Request) -> Result<Response, ApiError> {
    let bytes = body(&mut request).await?;
    check_json(&bytes)?;
    let rule = new_rule(&request, serde_json::from_slice(&bytes)?)?;
    let [after, before] = ["after", "before"].map(|name| query_value(request.query(), name));
    let put = move |txn: &mut WriteTxn<'_>| {
        let (after, before) = (after.as_deref(), before.as_deref());
        rules::put(txn, session.user, &session.user_id, rule, after, before)
    };
    app.store.write(put).await?;
    json(StatusCode::OK, &serde_json::json!({}))
}

/// The body of a new rule. ruma's type insists on conditions, which may be left out: "A rule with no conditions always
/// matches."
#[derive(serde::Deserialize)]
struct RuleBody {
    actions: Vec<Action>,
    #[serde(default)]
    conditions: Vec<PushCondition>,
    pattern: Option<String>,
}

fn new_rule(request: &Request, body: RuleBody) -> Result<NewPushRule, ApiError> {
    let (id, actions) = (request.params.value("rule_id").to_owned(), body.actions);
    let invalid = |error: ruma::IdParseError| ApiError::invalid_param(error.to_string());
    let conditional = |id, actions| NewConditionalPushRule::new(id, body.conditions, actions);
    Ok(match request.params.value("kind") {
        "override" => NewPushRule::Override(conditional(id, actions)),
        "underride" => NewPushRule::Underride(conditional(id, actions)),
        "content" => {
            let pattern = body
                .pattern
                .ok_or_else(|| ApiError::missing_param("pattern is missing"))?;
            NewPushRule::Content(NewPatternedPushRule::new(id, pattern, actions))
        }
        "room" => NewPushRule::Room(NewSimplePushRule::new(RoomId::parse(id).map_err(invalid)?, actions)),
        "sender" => NewPushRule::Sender(NewSimplePushRule::new(UserId::parse(id).map_err(invalid)?, actions)),
        _ => return Err(ApiError::invalid_param("There is no such kind of push rule")),
    })
}

async fn delete_rule(
    app: Arc<App>,
    session: Session,
    request: delete_pushrule::v3::Request,
) -> Result<delete_pushrule::v3::Response, ApiError> {
    let delete = move |txn: &mut WriteTxn<'_>| {
        rules::delete(txn, session.user, &session.user_id, request.kind, &request.rule_id)
    };
    app.store.write(delete).await?;
    Ok(delete_pushrule::v3::Response::new())
}

async fn enabled(
    app: Arc<App>,
    session: Session,
    request: get_pushrule_enabled::v3::Request,
) -> Result<get_pushrule_enabled::v3::Response, ApiError> {
    let enabled = find(&app, &session, request.kind, &request.rule_id, |rule| rule.enabled())?;
    Ok(get_pushrule_enabled::v3::Response::new(enabled))
}

async fn set_enabled(
    app: Arc<App>,
    session: Session,
    request: set_pushrule_enabled::v3::Request,
) -> Result<set_pushrule_enabled::v3::Response, ApiError> {
    let set = move |txn: &mut WriteTxn<'_>| {
        rules::set_enabled(
            txn,
            session.user,
            &session.user_id,
            request.kind,
            &request.rule_id,
            request.enabled,
        )
    };
    app.store.write(set).await?;
    Ok(set_pushrule_enabled::v3::Response::new())
}

async fn actions(
    app: Arc<App>,
    session: Session,
    request: get_pushrule_actions::v3::Request,
) -> Result<get_pushrule_actions::v3::Response, ApiError> {
    let actions = find(&app, &session, request.kind, &request.rule_id, |rule| {
        rule.actions().to_vec()
    })?;
    Ok(get_pushrule_actions::v3::Response::new(actions))
}

async fn set_actions(
    app: Arc<App>,
    session: Session,
    request: set_pushrule_actions::v3::Request,
) -> Result<set_pushrule_actions::v3::Response, ApiError> {
    let set = move |txn: &mut WriteTxn<'_>| {
        rules::set_actions(
            txn,
            session.user,
            &session.user_id,
            request.kind,
            &request.rule_id,
            request.actions,
        )
    };
    app.store.write(set).await?;
    Ok(set_pushrule_actions::v3::Response::new())
}

async fn list_pushers(app: Arc<App>, session: Session, _: Request) -> Result<Response, ApiError> {
    let list = pushers::list(&app.store.read(), session.user)?;
    Ok(Response::json(
        StatusCode::OK,
        format!(r#"{{"pushers":{list}}}"#).into_bytes(),
    ))
}

async fn put_pusher(
    app: Arc<App>,
    session: Session,
    request: set_pusher::v3::Request,
) -> Result<set_pusher::v3::Response, ApiError> {
    match request.action {
        PusherAction::Post(post) => {
            if let PusherKind::Http(http) = &post.pusher.kind {
                check_gateway(&http.url)?;
            }
            let json = serde_json::value::to_raw_value(&post.pusher).map_err(ApiError::internal)?;
            let (ids, append) = (post.pusher.ids, post.append);
            let set = move |txn: &mut WriteTxn<'_>| {
                pushers::set(
                    txn,
                    session.user,
                    session.device,
                    &ids.app_id,
                    &ids.pushkey,
                    &json,
                    append,
                )
            };
            app.store.write(set).await?;
        }
        PusherAction::Delete(ids) => {
            let remove = move |txn: &mut WriteTxn<'_>| -> Result<(), CommitError> {
                pushers::remove(txn, session.user, &ids.app_id, &ids.pushkey);
                Ok(())
            };
            app.store.write(remove).await?;
        }
        _ => return Err(ApiError::invalid_param("This change of pushers is not known here")),
    }
    Ok(set_pusher::v3::Response::new())
}

/// "MUST be an HTTPS URL with a path of `/_matrix/push/v1/notify`."
fn check_gateway(url: &str) -> Result<(), ApiError> {
    let uri: Option<http::Uri> = url.parse().ok();
    let is_right = uri.is_some_and(|uri| {
        uri.scheme_str() == Some("https") && uri.host().is_some() && uri.path() == "/_matrix/push/v1/notify"
    });
    if is_right {
        Ok(())
    } else {
        Err(ApiError::invalid_param(
            "data.url must be an HTTPS URL with the path /_matrix/push/v1/notify",
        ))
    }
}

impl From<RuleError> for ApiError {
    fn from(error: RuleError) -> Self {
        match error {
            RuleError::NotFound => Self::not_found(error.to_string()),
            // The specification's example: 400 `M_UNKNOWN` "before/after rule not found: someRuleId".
            RuleError::Insert(InsertPushRuleError::UnknownRuleId) => {
                Self::new(StatusCode::BAD_REQUEST, "M_UNKNOWN", error.to_string())
            }
            RuleError::Insert(_) | RuleError::ServerDefault => Self::invalid_param(error.to_string()),
            RuleError::TooLarge => Self::too_large(error.to_string()),
            RuleError::AccountData(error) => error.into(),
            RuleError::Read(error) => error.into(),
            RuleError::Commit(error) => error.into(),
        }
    }
}

impl From<PusherError> for ApiError {
    fn from(error: PusherError) -> Self {
        match error {
            PusherError::TooLarge(_) | PusherError::TooMany => Self::invalid_param(error.to_string()),
            PusherError::Read(error) => error.into(),
            PusherError::Commit(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests;
