//! A `lamchat` process in a folder of its own; and (`client`) a small HTTP client that trusts its authority.
//!
//! Other test programs use it by `#[path = "../black_box/harness.rs"] mod harness;`.
#![allow(
    dead_code,
    unused_imports,
    clippy::allow_attributes,
    reason = "every test program uses another part"
)]

#[path = "harness/client.rs"]
mod client;

pub use client::{Client, Reply, trusting};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The configuration of most tests, without rate limits and with cheap password hashes.
/// The first listener speaks TLS, the second plain HTTP.
pub const CONFIG: &str = r#"
server_name = "localhost"
data_dir = "data"

[[listeners]]
port = 0
tls_local_authority = true
resources = ["client", "media", "federation"]

[[listeners]]
port = 0
resources = ["client", "media", "federation", "admin"]

[registration]
mode = "token"
shared_secret = "test secret"
password_hash = "minimum"

[limits]
enabled = false

[notices]
admins_room = false
"#;

/// The program under test.
pub fn program() -> PathBuf {
    std::env::var_os("LAMCHAT_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_lamchat").into(), PathBuf::from)
}

/// Runs a command to its end.
pub fn lamchat(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(program())
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not read its input closes it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// Text of a finished command.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder with a configuration in which servers are started one after the other.
pub struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    /// With [`CONFIG`].
    pub fn new() -> Self {
        Self::with(CONFIG)
    }

    /// With another configuration.
    pub fn with(config: &str) -> Self {
        Self::at(tempfile::tempdir().unwrap(), config)
    }

    /// In this folder.
    pub fn at(folder: tempfile::TempDir, config: &str) -> Self {
        let site = Self { folder };
        site.configure(config);
        site
    }

    /// Replaces the configuration.
    pub fn configure(&self, config: &str) {
        std::fs::write(self.path("lamchat.toml"), config).unwrap();
    }

    /// A file of the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a command with this configuration.
    pub fn command(&self, arguments: &[&str], input: &str) -> Output {
        let arguments: Vec<&str> = ["--config", "lamchat.toml"]
            .into_iter()
            .chain(arguments.iter().copied())
            .collect();
        lamchat(self.folder.path(), &arguments, input)
    }

    /// Runs a command that must succeed, and parses its JSON.
    pub fn command_json(&self, arguments: &[&str], input: &str) -> Value {
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        let output = self.command(&arguments, input);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Starts a server whose keys do not open by themselves, and waits until it can be unlocked.
    pub fn start_locked(&self) -> Server {
        Server::start_until(self.folder.path(), &["--config", "lamchat.toml"], "locked: waiting")
            .unwrap_or_else(|log| panic!("no locked start: {log}"))
    }

    /// Starts the server and waits until it is ready.
    pub fn start(&self) -> Server {
        Server::start(self.folder.path(), &["--config", "lamchat.toml"]).unwrap_or_else(|log| panic!("no start: {log}"))
    }
}

/// A running server. Killed when dropped.
pub struct Server {
    child: Child,
    /// What it printed at start.
    pub greeting: String,
    lines: mpsc::Receiver<String>,
    log: mpsc::Receiver<String>,
    folder: PathBuf,
    /// Addresses as it printed them, in the order of the listeners.
    pub urls: Vec<String>,
}

/// Reads lines in the background, so that the process never waits for us.
fn follow(pipe: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

impl Server {
    /// Starts a server with these arguments; the log when it does not come up.
    pub fn start(folder: &Path, arguments: &[&str]) -> Result<Self, String> {
        // The log's line "running" comes after the whole greeting.
        Self::start_until(folder, arguments, "running")
    }

    /// Starts a server and waits for a line of its log that contains `mark`.
    pub fn start_until(folder: &Path, arguments: &[&str], mark: &str) -> Result<Self, String> {
        let mut child = Command::new(program())
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = follow(child.stdout.take().unwrap());
        let log = follow(child.stderr.take().unwrap());
        let mut server = Self {
            child,
            greeting: String::new(),
            lines,
            log,
            folder: folder.to_owned(),
            urls: Vec::new(),
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            match server
                .log
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) if line.contains(mark) => break,
                Ok(line) => server.greeting.push_str(&format!("log: {line}\n")),
                Err(error) => return Err(format!("{error}: {}", server.greeting)),
            }
        }
        server.greeting.clear();
        while let Ok(line) = server.lines.recv_timeout(Duration::from_millis(200)) {
            server.greeting.push_str(&line);
            server.greeting.push('\n');
        }
        let addresses = server
            .greeting
            .lines()
            .filter_map(|line| line.trim().strip_prefix("Address"));
        server.urls = addresses.map(|url| url.trim().to_owned()).collect();
        Ok(server)
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name: TERM, HUP, KILL.
    pub fn signal(&self, name: &str) {
        let signal: Signal = format!("SIG{name}").parse().unwrap();
        kill(Pid::from_raw(self.pid().try_into().unwrap()), signal).unwrap();
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the server does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGTERM, and the exit code must be 0.
    pub fn stop(mut self) {
        self.signal("TERM");
        let status = self.wait();
        assert!(status.success(), "{status}: {}", self.log_so_far().join("\n"));
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.signal("KILL");
        self.wait();
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Lines of the log since the last time.
    pub fn log_so_far(&self) -> Vec<String> {
        self.log.try_iter().collect()
    }

    /// Waits for a line of the log that contains `part`.
    pub fn wait_for_log(&self, part: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let line = self
                .log
                .recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|error| panic!("no line with {part:?} in the log: {error}"));
            if line.contains(part) {
                return line;
            }
        }
    }

    /// The registration token that the start printed.
    pub fn first_token(&self) -> Option<String> {
        let (_, after) = self.greeting.split_once("it works once:")?;
        Some(after.trim().lines().next()?.trim().to_owned())
    }

    /// A client over TLS that trusts the authority of the data folder, and nobody else.
    pub fn client(&self) -> Client {
        let url = self
            .urls
            .iter()
            .find(|url| url.starts_with("https://"))
            .expect("a TLS listener");
        Client::new(url, Some(&self.authority()))
    }

    /// A client over plain HTTP.
    pub fn plain_client(&self) -> Client {
        Client::new(
            self.urls
                .iter()
                .find(|url| url.starts_with("http://"))
                .expect("a plain listener"),
            None,
        )
    }

    /// The authority's certificate in PEM, from the file that the greeting names.
    pub fn authority(&self) -> String {
        let file = self
            .greeting
            .lines()
            .find_map(|line| line.trim().strip_prefix("CA "))
            .expect("a CA")
            .trim()
            .to_owned();
        std::fs::read_to_string(self.folder.join(file)).unwrap()
    }

    /// Makes an account by shared secret and answers its client.
    pub fn account(&self, name: &str) -> Client {
        let mut client = self.plain_client();
        let nonce = client.get("/_synapse/admin/v1/register").ok()["nonce"]
            .as_str()
            .unwrap()
            .to_owned();
        let password = format!("password of {name}");
        let message = format!("{nonce}\0{name}\0{password}\0notadmin");
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"test secret");
        let mac: String = aws_lc_rs::hmac::sign(&key, message.as_bytes())
            .as_ref()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        let body = json!({"nonce": nonce, "username": name, "password": password, "admin": false, "mac": mac});
        let answer = client.post("/_synapse/admin/v1/register", &body).ok();
        client.token = Some(answer["access_token"].as_str().unwrap().to_owned());
        client
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
