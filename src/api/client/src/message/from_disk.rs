//! Pages whose events come from the database file, and from the rows that are kept of it, against those of an exchange that
//! has everything in memory: the same requests must get the same answers.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use crate::App;
use crate::testing::{app, app_on, call, register, tables};
use lamchat_base::Secret;
use lamchat_disk::simulation::SimulatedDisk;
use lamchat_store::{Options, Store};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

const CLIENT: &str = "/_matrix/client/v3";
/// Checkpoints come every few milliseconds: after so long all is in the file.
const SETTLED: Duration = Duration::from_millis(60);

struct Stage {
    app: Arc<App>,
    room: String,
    /// Alice, who made the room, and on a second device; Bob, who left and came back; Carol, who left for good; Dora, who
    /// ignores Bob.
    tokens: Vec<(&'static str, String)>,
    /// Texts, replies and reactions.
    ids: Vec<String>,
}

fn on_disk() -> Arc<App> {
    let options = Options {
        dir: "/data".into(),
        key: Secret::new([7; 64]),
        tables: tables(),
        progress: lamchat_store::Progress::default(),
    };
    app_on(Store::open_eager(Arc::new(SimulatedDisk::new(1)), options).unwrap())
}

impl Stage {
    async fn set(app: Arc<App>) -> Self {
        let mut stage = Self {
            app,
            room: String::new(),
            tokens: Vec::new(),
            ids: Vec::new(),
        };
        for name in ["alice", "bob", "carol", "dora"] {
            let token = register(&stage.app, name).await;
            stage.tokens.push((name, token));
        }
        let made = stage
            .ask(
                "alice",
                "POST",
                &format!("{CLIENT}/createRoom"),
                json!({"preset": "public_chat"}),
            )
            .await;
        stage.room = made["room_id"].as_str().unwrap().to_owned();
        let login = json!({"type": "m.login.password", "user": "alice", "password": crate::testing::PASSWORD,
            "device_id": "TABLET"});
        let tablet = stage.ask("alice", "POST", &format!("{CLIENT}/login"), login).await;
        stage
            .tokens
            .push(("tablet", tablet["access_token"].as_str().unwrap().to_owned()));
        stage.fill().await;
        stage
    }

    /// What is awkward about a page.
    async fn fill(&mut self) {
        self.say("alice", json!({"body": "before anybody came"})).await;
        for name in ["bob", "carol", "dora"] {
            self.ask(name, "POST", &self.of_room("join"), json!({})).await;
        }
        for n in 0..3 {
            for name in ["alice", "bob", "carol"] {
                self.say(name, json!({"body": format!("{name} {n}")})).await;
            }
        }
        let parent = self.ids[1].clone();
        let relate =
            |kind: &str, body: &str| json!({"body": body, "m.relates_to": {"rel_type": kind, "event_id": parent}});
        for name in ["alice", "bob"] {
            self.say(name, relate("m.thread", "in a thread")).await;
            self.say(name, relate("m.reference", "a reference")).await;
        }
        let mut edit = relate("m.replace", "* edited");
        edit["m.new_content"] = json!({"body": "edited"});
        self.say("alice", edit).await;
        for (name, at) in [("bob", 2), ("alice", 4)] {
            let path = self.of_room(&format!("redact/{}/r{at}", self.ids[at]));
            self.ask(name, "PUT", &path, json!({"reason": "typo"})).await;
        }
        self.ask("bob", "POST", &self.of_room("leave"), json!({})).await;
        let visibility = self.of_room("state/m.room.history_visibility");
        self.ask("alice", "PUT", &visibility, json!({"history_visibility": "joined"}))
            .await;
        self.say("alice", json!({"body": "while bob was away"})).await;
        self.ask("bob", "POST", &self.of_room("join"), json!({})).await;
        self.ask("carol", "POST", &self.of_room("leave"), json!({})).await;
        self.say("bob", json!({"body": "\"back\" \u{1F44B}"})).await;
        for name in ["one", "two"] {
            self.ask(
                "alice",
                "PUT",
                &self.of_room("state/m.room.name"),
                json!({"name": name}),
            )
            .await;
        }
        let ignored = format!("{CLIENT}/user/@dora:example.org/account_data/m.ignored_user_list");
        let bob = json!({"ignored_users": {"@bob:example.org": {}}});
        self.ask("dora", "PUT", &ignored, bob).await;
    }

    fn of_room(&self, tail: &str) -> String {
        format!("{CLIENT}/rooms/{}/{tail}", self.room)
    }

    async fn ask(&self, name: &str, method: &str, path: &str, body: Value) -> Value {
        let token = self.tokens.iter().find(|(known, _)| *known == name);
        let body = (method != "GET").then_some(body);
        let (status, answer) = call(&self.app, method, path, token.map(|(_, token)| token.as_str()), body).await;
        assert_eq!(status, 200, "{name}: {path}: {answer}");
        answer
    }

    async fn say(&mut self, name: &str, mut content: Value) {
        content["msgtype"] = "m.text".into();
        let path = self.of_room(&format!("send/m.room.message/{}", self.ids.len()));
        let answer = self.ask(name, "PUT", &path, content).await;
        self.ids.push(answer["event_id"].as_str().unwrap().to_owned());
    }

    /// What everybody is shown: pages, contexts, relations, and a first `/sync`, also in the format of servers.
    async fn answers(&self) -> Vec<Value> {
        let lazy = "%7B%22types%22%3A%5B%22m.room.message%22%5D%2C%22lazy_load_members%22%3Atrue%7D";
        let senders = "%7B%22not_senders%22%3A%5B%22%40alice%3Aexample.org%22%5D%7D";
        let servers =
            "%7B%22event_format%22%3A%22federation%22%2C%22room%22%3A%7B%22timeline%22%3A%7B%22limit%22%3A50%7D%7D%7D";
        let mut answers = Vec::new();
        for (name, _) in &self.tokens {
            let mut paths = vec![format!("{CLIENT}/sync?filter={servers}")];
            for direction in ["b", "f"] {
                for limit in [1, 3, 7, 100] {
                    paths.push(self.of_room(&format!("messages?dir={direction}&limit={limit}")));
                }
                for filter in [lazy, senders] {
                    paths.push(self.of_room(&format!("messages?dir={direction}&limit=5&filter={filter}")));
                }
            }
            paths.push(self.of_room(&format!("context/{}?limit=9", self.ids[6])));
            paths.push(format!(
                "/_matrix/client/v1/rooms/{}/relations/{}",
                self.room, self.ids[1]
            ));
            for path in paths {
                let answer = self.ask(name, "GET", &path, Value::Null).await;
                // Of a sync, its rooms: who is there is told by numbers that grow with each.
                answers.push(if path.contains("/sync?") {
                    answer["rooms"].clone()
                } else {
                    answer
                });
            }
        }
        answers
    }

    async fn page_of(&self, name: &str) -> Vec<Value> {
        let page = self
            .ask(name, "GET", &self.of_room("messages?dir=b&limit=100"), Value::Null)
            .await;
        page["chunk"].as_array().unwrap().clone()
    }
}

#[tokio::test]
async fn a_page_is_the_same_from_the_file_from_what_is_kept_and_from_memory() {
    let in_memory = Stage::set(app()).await;
    let stage = Stage::set(on_disk()).await;
    assert_eq!((&stage.room, &stage.ids), (&in_memory.room, &in_memory.ids));
    let expected = in_memory.answers().await;
    tokio::time::sleep(SETTLED).await;
    for round in 0..3 {
        let answers = stage.answers().await;
        assert_eq!(answers.len(), expected.len());
        for (place, (answer, expected)) in answers.iter().zip(&expected).enumerate() {
            assert_eq!(answer, expected, "answer {place} in round {round}");
        }
    }
    // A row that is kept is changed.
    for stage in [&in_memory, &stage] {
        let path = stage.of_room(&format!("redact/{}/late", stage.ids[1]));
        stage.ask("alice", "PUT", &path, json!({})).await;
    }
    let expected = in_memory.answers().await;
    assert_eq!(stage.answers().await, expected);
    tokio::time::sleep(SETTLED).await;
    assert_eq!(stage.answers().await, expected);
    assert_eq!(stage.answers().await, expected);
}

#[tokio::test]
async fn each_reader_gets_their_own_page_of_what_is_kept() {
    let stage = Stage::set(on_disk()).await;
    tokio::time::sleep(SETTLED).await;
    for _ in 0..2 {
        let find = |page: &[Value], id: &str| page.iter().find(|event| event["event_id"] == id).cloned();
        let alice = stage.page_of("alice").await;
        let own = find(&alice, &stage.ids[1]).unwrap();
        assert_eq!(own["unsigned"]["transaction_id"], "1");
        let relations = &own["unsigned"]["m.relations"];
        assert_eq!(relations["m.thread"]["count"], 2);
        assert_eq!(relations["m.reference"]["chunk"].as_array().unwrap().len(), 2);
        assert_eq!(relations["m.replace"]["content"]["m.new_content"]["body"], "edited");
        let redacted = find(&alice, &stage.ids[4]).unwrap();
        assert_eq!(redacted["content"], json!({}));
        assert_eq!(redacted["unsigned"]["redacted_because"]["content"]["reason"], "typo");

        let tablet = find(&stage.page_of("tablet").await, &stage.ids[1]).unwrap();
        assert_eq!(tablet["unsigned"].get("transaction_id"), None);
        assert_eq!(tablet["content"], own["content"]);

        let dora = stage.page_of("dora").await;
        assert!(
            !dora
                .iter()
                .any(|event| event["sender"] == "@bob:example.org" && event["state_key"].is_null())
        );
        let hers = find(&dora, &stage.ids[1]).unwrap();
        assert_eq!(hers["unsigned"]["m.relations"]["m.thread"]["count"], 1);

        let away = stage.ids.get(stage.ids.len() - 2).unwrap();
        assert!(find(&alice, away).is_some() && find(&dora, away).is_some());
        assert!(find(&stage.page_of("bob").await, away).is_none());
        let carol = stage.page_of("carol").await;
        assert!(find(&carol, &stage.ids[1]).is_some());
        assert!(find(&carol, stage.ids.last().unwrap()).is_none());
    }
}
