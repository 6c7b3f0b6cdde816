//! The endpoints that show a room's events, over the router; a file for each topic, and here the room they are asked in.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod pages;
mod receipts;
mod refusals;
mod relations;

use crate::App;
use crate::testing::{app, call, register};
use serde_json::{Value, json};
use std::sync::Arc;

const CLIENT: &str = "/_matrix/client/v3";

struct Stage {
    app: Arc<App>,
    alice: String,
    bob: String,
    room: String,
}

impl Stage {
    /// Alice and Bob in a public room.
    async fn set() -> Self {
        let app = app();
        let (alice, bob) = (register(&app, "alice").await, register(&app, "bob").await);
        let (status, made) = call(
            &app,
            "POST",
            &format!("{CLIENT}/createRoom"),
            Some(&alice),
            Some(json!({"preset": "public_chat"})),
        )
        .await;
        assert_eq!(status, 200, "{made}");
        let room = made["room_id"].as_str().unwrap().to_owned();
        let stage = Self { app, alice, bob, room };
        stage.post(&stage.bob, "join", json!({})).await;
        stage
    }

    async fn call(&self, method: &str, token: &str, tail: &str, body: Option<Value>) -> (u16, Value) {
        let uri = if tail.starts_with('/') {
            tail.to_owned()
        } else {
            format!("{CLIENT}/rooms/{}/{tail}", self.room)
        };
        let (status, answer) = call(&self.app, method, &uri, Some(token), body).await;
        (status.as_u16(), answer)
    }

    async fn get(&self, token: &str, tail: &str) -> Value {
        let (status, answer) = self.call("GET", token, tail, None).await;
        assert_eq!(status, 200, "{tail}: {answer}");
        answer
    }

    async fn post(&self, token: &str, tail: &str, body: Value) -> Value {
        let (status, answer) = self.call("POST", token, tail, Some(body)).await;
        assert_eq!(status, 200, "{tail}: {answer}");
        answer
    }

    async fn say(&self, token: &str, transaction: &str, content: Value) -> String {
        let (status, answer) = self
            .call(
                "PUT",
                token,
                &format!("send/m.room.message/{transaction}"),
                Some(content),
            )
            .await;
        assert_eq!(status, 200, "{answer}");
        answer["event_id"].as_str().unwrap().to_owned()
    }

    async fn texts(&self, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for n in 0..count {
            ids.push(
                self.say(
                    &self.alice,
                    &format!("t{n}"),
                    json!({"msgtype": "m.text", "body": n.to_string()}),
                )
                .await,
            );
        }
        ids
    }
}

fn bodies(events: &Value) -> Vec<&str> {
    events
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|event| event["content"]["body"].as_str())
        .collect()
}
