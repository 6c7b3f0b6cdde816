//! Rooms over the whole way from a request to its answer; a file for each topic, and here the client who asks.

#![expect(clippy::unwrap_used, reason = "tests")]

mod directory;
mod invitations;
mod life;
mod refusals;

use crate::App;
use crate::testing::{call, register};
use serde_json::{Value, json};
use std::sync::Arc;

struct Client {
    app: Arc<App>,
    token: String,
}

impl Client {
    async fn new(app: &Arc<App>, name: &str) -> Self {
        Self {
            app: Arc::clone(app),
            token: register(app, name).await,
        }
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let (status, answer) = call(
            &self.app,
            method,
            &format!("/_matrix/client/v3{path}"),
            Some(&self.token),
            body,
        )
        .await;
        (status.as_u16(), answer)
    }

    /// A request that must succeed.
    async fn done(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.ask(method, path, Some(body)).await;
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }

    async fn get(&self, path: &str) -> (u16, Value) {
        self.ask("GET", path, None).await
    }

    /// A request that must fail, with this status and errcode.
    async fn refused(&self, method: &str, path: &str, body: Value, status: u16, errcode: &str) {
        let (found, answer) = self.ask(method, path, Some(body)).await;
        assert_eq!(
            (found, answer.get("errcode")),
            (status, Some(&json!(errcode))),
            "{method} {path}: {answer}"
        );
    }

    async fn room(&self, body: Value) -> String {
        text(&self.done("POST", "/createRoom", body).await, "room_id")
    }
}

fn text(answer: &Value, name: &str) -> String {
    answer.get(name).and_then(Value::as_str).unwrap().to_owned()
}
