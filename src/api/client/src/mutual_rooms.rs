//! `GET /mutual_rooms`: the rooms that the caller shares with somebody.

use crate::limit::Limited;
use crate::wire::json;
use crate::{ApiError, App, Routes, Session};
use http::{Method, StatusCode};
use lamchat_accounts::user;
use lamchat_http::{Response as Answer, query_value};
use lamchat_rooms::{membership, room};
use ruma::api::client::membership::get_mutual_rooms::v1::{Request, Response};
use ruma::{UInt, UserId};
use std::sync::Arc;

/// The first name of the endpoint, under which Element Web asks; its token has another name.
const OLD: &str = "/_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms";
/// Rooms of a page.
const PAGE: usize = 100;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.session(show);
    r.raw(Method::GET, OLD, show_old);
}

async fn show_old(app: Arc<App>, session: Session, request: lamchat_http::Request) -> Result<Answer, ApiError> {
    let query = request.query();
    let user_id = query_value(query, "user_id").ok_or_else(|| ApiError::missing_param("user_id is missing"))?;
    let user_id = UserId::parse(user_id).map_err(|error| ApiError::invalid_param(error.to_string()))?;
    let mut asked = Request::new(user_id);
    asked.from = query_value(query, "batch_token").or_else(|| query_value(query, "from"));
    let shown = show(app, session, asked).await?;
    let mut answer = serde_json::json!({ "joined": shown.joined, "count": shown.count });
    if let (Some(next), Some(answer)) = (shown.next_batch, answer.as_object_mut()) {
        answer.insert("next_batch_token".to_owned(), next.as_str().into());
        answer.insert("next_batch".to_owned(), next.into());
    }
    json(StatusCode::OK, &answer)
}

async fn show(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    app.limit(Limited::Other, session.user)?;
    if request.user_id == session.user_id {
        return Err(ApiError::invalid_param("user_id is your own"));
    }
    // A token is the number of rooms that were shown.
    let skip: usize = match request.from.as_deref() {
        None => 0,
        Some(from) => from
            .parse()
            .map_err(|_| ApiError::invalid_param("`from` is not a token of this endpoint"))?,
    };
    let read = app.store.read();
    let mut shared = Vec::new();
    // "If the provided `user_id` is not a valid user, the server MUST return an empty list of rooms."
    if let Some(other) = user::num(&read, &request.user_id)? {
        for num in membership::joined_rooms(&read, session.user)? {
            if membership::is_joined(&read, other, num)? {
                shared.push(num);
            }
        }
    }
    let mut ids = Vec::new();
    for num in shared.iter().skip(skip).take(PAGE) {
        ids.push(room::by_num(&read, *num)?.id.clone());
    }
    let shown = skip.saturating_add(ids.len());
    let count = UInt::try_from(shared.len()).unwrap_or(UInt::MAX);
    let mut response = Response::new(count, ids);
    response.next_batch = (shown < shared.len()).then(|| shown.to_string());
    Ok(response)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use crate::testing::{self, call};
    use serde_json::{Value, json};

    #[tokio::test]
    async fn rooms_of_both_are_told() {
        let app = testing::app();
        let alice = testing::register(&app, "alice").await;
        let bob = testing::register(&app, "bob").await;
        let mut rooms = Vec::new();
        for _ in 0..101 {
            let body = json!({"preset": "public_chat"});
            let (_, room) = call(&app, "POST", "/_matrix/client/v3/createRoom", Some(&alice), Some(body)).await;
            let room = room["room_id"].as_str().unwrap().to_owned();
            let join = format!("/_matrix/client/v3/rooms/{room}/join");
            assert_eq!(call(&app, "POST", &join, Some(&bob), Some(json!({}))).await.0, 200);
            rooms.push(json!(room));
        }
        let alone = call(
            &app,
            "POST",
            "/_matrix/client/v3/createRoom",
            Some(&alice),
            Some(json!({})),
        )
        .await;
        assert_eq!(alone.0, 200);
        let ask = async |query: &str| {
            let target = format!("/_matrix/client/v1/mutual_rooms?{query}");
            let (status, answer) = call(&app, "GET", &target, Some(&alice), None).await;
            (status.as_u16(), answer)
        };
        let (_, first) = ask("user_id=@bob:example.org").await;
        assert_eq!((&first["joined"], &first["count"]), (&json!(rooms[..100]), &json!(101)));
        let next = first["next_batch"].as_str().unwrap();
        let (_, second) = ask(&format!("user_id=@bob:example.org&from={next}")).await;
        assert_eq!(
            (&second["joined"], &second["next_batch"]),
            (&json!(rooms[100..]), &Value::Null)
        );
        let old = |query: &str| format!("/_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms?{query}");
        let (_, page) = call(&app, "GET", &old("user_id=@bob:example.org"), Some(&alice), None).await;
        let (next, target) = (
            page["next_batch_token"].as_str().unwrap(),
            "user_id=@bob:example.org&batch_token=",
        );
        let (_, page) = call(&app, "GET", &old(&format!("{target}{next}")), Some(&alice), None).await;
        assert_eq!(page["joined"], json!(rooms[100..]));
        assert_eq!(
            ask("user_id=@nobody:example.org").await,
            (200, json!({"joined": [], "count": 0}))
        );
        for wrong in [
            "",
            "user_id=x",
            "user_id=@alice:example.org",
            "user_id=@bob:example.org&from=x",
        ] {
            assert_eq!(ask(wrong).await.0, 400, "{wrong}");
        }
    }
}
