//! A client that nobody here wrote: matrix-nio with end-to-end encryption, in a process of its own
//! (`tests/clients/actor_nio.py`), which trusts one authority and no other.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long anything may take; the client itself gives up after a minute.
const PATIENCE: Duration = Duration::from_secs(180);

/// A running client. Killed when dropped.
pub struct Nio {
    child: Child,
    input: ChildStdin,
    answers: Receiver<String>,
    asked: u64,
    base: String,
}

impl Nio {
    /// One for the server on a forwarded port, which trusts the authority in this file.
    pub fn start(port: u16, authority: &Path) -> Self {
        let python = std::env::var_os("LAMCHAT_NIO_PYTHON");
        let python = python.unwrap_or_else(|| panic!("LAMCHAT_NIO_PYTHON is not set: run `tests/run appliance`"));
        let mut child = Command::new(python)
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/actor_nio.py"))
            .env("LAMCHAT_TEST_CA", authority)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, answers) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self {
            child,
            input,
            answers,
            asked: 0,
            base: format!("https://localhost:{port}"),
        }
    }

    /// Has it do something, which must succeed.
    pub fn act(&mut self, what: &str, mut arguments: Value) -> Value {
        self.asked += 1;
        let fields = arguments.as_object_mut().unwrap();
        fields.insert("id".to_owned(), self.asked.into());
        fields.insert("do".to_owned(), what.into());
        writeln!(self.input, "{arguments}").unwrap();
        let answer = self.answers.recv_timeout(PATIENCE);
        let answer: Value = serde_json::from_str(&answer.unwrap_or_else(|error| panic!("{what}: {error}"))).unwrap();
        match answer.get("ok") {
            Some(done) => done.clone(),
            None => panic!("{what}: {answer}"),
        }
    }

    /// Logs in; answers the whole name.
    pub fn log_in(&mut self, user: &str, password: &str) -> Value {
        let base = self.base.clone();
        let session = self.act("login", json!({"base": base, "user": user, "password": password}));
        session.get("user_id").unwrap().clone()
    }

    /// Sends a message in an encrypted room, which the other one decrypts.
    pub fn tell(&mut self, other: &mut Self, room: &Value, message: &str) {
        let sent = self.act("send", json!({"room_id": room, "body": message}));
        let received = other.act("receive", json!({"room_id": room, "body": message}));
        assert_eq!(received.get("event_id"), sent.get("event_id"), "{received}");
        assert_eq!(received.get("encrypted"), Some(&Value::Bool(true)), "{received}");
    }
}

impl Drop for Nio {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
