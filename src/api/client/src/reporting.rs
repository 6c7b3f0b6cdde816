//! Reporting events, rooms and users to the administrators, who read it with `lamchat report`.

use crate::limit::Limited;
use crate::look::Look;
use crate::{ApiError, App, Routes, Session};
use http::StatusCode;
use lamchat_accounts::report::{self, Report, ReportError, Target};
use lamchat_accounts::user;
use lamchat_rooms::context::{self, FindError};
use lamchat_rooms::room;
use lamchat_rooms::visibility::LookError;
use ruma::api::client::reporting::report_user;
use ruma::api::client::room::{report_content, report_room};
use std::sync::Arc;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.session::<report_content::v3::Request>(event);
    r.session::<report_room::v3::Request>(whole_room);
    r.session::<report_user::v3::Request>(whole_user);
}

/// "The caller must be joined to the room to report it." – "404: The event was not found or you are not joined to the
/// room where the event resides."
async fn event(
    app: Arc<App>,
    session: Session,
    request: report_content::v3::Request,
) -> Result<report_content::v3::Response, ApiError> {
    app.limit(Limited::Other, session.user)?;
    let not_found = || ApiError::not_found("The event was not found or you are not joined to the room");
    let sender = {
        let look = Look::into(&app, &session, &request.room_id).map_err(|error| match error.status {
            StatusCode::FORBIDDEN => not_found(),
            _ => error,
        })?;
        if !look.standing.is_joined() {
            return Err(not_found());
        }
        let mut view = look.view();
        let event_id = request.event_id.as_str();
        let found = context::one(&look.read, look.room.num, &look.standing, &mut view, event_id);
        let entry = found.map_err(|error| match error {
            FindError::NoEvent | FindError::Look(LookError::NotMember) => not_found(),
            FindError::Look(LookError::Read(error)) => error.into(),
        })?;
        entry.row()?.sender.to_owned()
    };
    let target = Target::Event {
        room_id: request.room_id.to_string(),
        event_id: request.event_id.to_string(),
        sender,
    };
    keep(&app, &session, target, request.reason.unwrap_or_default()).await?;
    Ok(report_content::v3::Response::default())
}

/// "servers MUST NOT restrict room reports based on whether or not the reporting user is joined to the room" (Matrix
/// 1.13)
async fn whole_room(
    app: Arc<App>,
    session: Session,
    request: report_room::v3::Request,
) -> Result<report_room::v3::Response, ApiError> {
    app.limit(Limited::Other, session.user)?;
    room::num(&app.store.read(), &request.room_id)?.ok_or_else(|| ApiError::not_found("The room was not found"))?;
    let room_id = request.room_id.to_string();
    keep(&app, &session, Target::Room { room_id }, request.reason).await?;
    Ok(report_room::v3::Response::default())
}

/// "servers MUST NOT restrict user reports based on whether or not the reporting user is joined to any rooms that the
/// reported user is joined to" (Matrix 1.14)
async fn whole_user(
    app: Arc<App>,
    session: Session,
    request: report_user::v3::Request,
) -> Result<report_user::v3::Response, ApiError> {
    app.limit(Limited::Other, session.user)?;
    user::num(&app.store.read(), &request.user_id)?.ok_or_else(|| ApiError::not_found("The user was not found"))?;
    let user_id = request.user_id.to_string();
    keep(&app, &session, Target::User { user_id }, request.reason).await?;
    Ok(report_user::v3::Response::default())
}

async fn keep(app: &App, session: &Session, target: Target, reason: String) -> Result<(), ApiError> {
    let report = Report {
        reporter: session.user,
        received_ms: app.now_ms(),
        target,
        reason,
    };
    let kind = report.target.kind();
    let number = app.store.write(move |txn| report::put(txn, &report)).await?;
    tracing::info!(
        number,
        kind,
        "a user reported something: `lamchat report show` tells more"
    );
    Ok(())
}

impl From<ReportError> for ApiError {
    fn from(error: ReportError) -> Self {
        match error {
            ReportError::TooLong => Self::too_large(error.to_string()),
            ReportError::TooMany => Self::new(StatusCode::FORBIDDEN, "M_RESOURCE_LIMIT_EXCEEDED", error.to_string()),
            ReportError::Read(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use crate::testing::{self, call};
    use lamchat_accounts::report::{self, Target};
    use serde_json::{Value, json};

    #[tokio::test]
    async fn events_are_reported_by_members_and_rooms_and_users_by_everybody() {
        let app = testing::app();
        let alice = testing::register(&app, "alice").await;
        let bob = testing::register(&app, "bob").await;
        let create = "/_matrix/client/v3/createRoom";
        let (_, room) = call(
            &app,
            "POST",
            create,
            Some(&alice),
            Some(json!({"preset": "public_chat"})),
        )
        .await;
        let room = room["room_id"].as_str().unwrap();
        let in_room = |path: &str| format!("/_matrix/client/v3/rooms/{room}/{path}");
        let message = json!({"msgtype": "m.text", "body": "rude"});
        let send = in_room("send/m.room.message/1");
        let (_, sent) = call(&app, "PUT", &send, Some(&alice), Some(message)).await;
        let event = sent["event_id"].as_str().unwrap().to_owned();
        let why = |target: String| {
            let (app, bob) = (app.clone(), bob.clone());
            async move {
                let (status, answer) = call(&app, "POST", &target, Some(&bob), Some(json!({"reason": "rude"}))).await;
                (
                    status.as_u16(),
                    answer["errcode"].as_str().unwrap_or_default().to_owned(),
                )
            }
        };
        let (good, missing) = ((200, String::new()), (404, "M_NOT_FOUND".to_owned()));
        assert_eq!(why(in_room(&format!("report/{event}"))).await, missing);
        assert_eq!(why(in_room("report")).await, good);
        assert_eq!(
            why("/_matrix/client/v3/users/@alice:example.org/report".to_owned()).await,
            good
        );
        assert_eq!(
            why("/_matrix/client/v3/users/@nobody:example.org/report".to_owned()).await,
            missing
        );
        assert_eq!(
            why("/_matrix/client/v3/rooms/!none:example.org/report".to_owned()).await,
            missing
        );
        assert_eq!(
            why("/_matrix/client/v3/rooms/!none:example.org/report/$e".to_owned()).await,
            missing
        );
        call(&app, "POST", &in_room("join"), Some(&bob), Some(json!({}))).await;
        assert_eq!(why(in_room(&format!("report/{event}"))).await, good);
        assert_eq!(
            why(in_room("report/$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")).await,
            missing
        );
        // Clients of Matrix before 1.18 tell a score as well; newer ones may leave the reason out.
        let target = in_room(&format!("report/{event}"));
        let (status, _) = call(&app, "POST", &target, Some(&bob), Some(json!({"score": -100}))).await;
        assert_eq!(status, 200);
        let long = json!({"reason": "x".repeat(5_000)});
        let (status, error) = call(&app, "POST", &in_room("report"), Some(&bob), Some(long)).await;
        assert_eq!((status.as_u16(), &error["errcode"]), (413, &json!("M_TOO_LARGE")));
        for body in [Value::Null, json!({"reason": 7})] {
            let (status, _) = call(&app, "POST", &in_room("report"), Some(&bob), Some(body)).await;
            assert_eq!(status, 400);
        }

        let reports = report::list(&app.store.read(), 0, 10).unwrap();
        let targets: Vec<&Target> = reports.iter().map(|(_, report)| &report.target).collect();
        let at_event = Target::Event {
            room_id: room.to_owned(),
            event_id: event,
            sender: "@alice:example.org".to_owned(),
        };
        let user_id = "@alice:example.org".to_owned();
        let at_room = Target::Room {
            room_id: room.to_owned(),
        };
        assert_eq!(targets, [&at_room, &Target::User { user_id }, &at_event, &at_event]);
        assert_eq!(reports[0].1.reason, "rude");
    }
}
