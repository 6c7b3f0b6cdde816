//! One matrix-rust-sdk client, driven by JSON lines on standard input, as Element X uses it: `SyncService` (sliding
//! sync for rooms and for encryption apart) and `Timeline`. Each line {"id", "do", …} is answered by {"id", "ok"} or
//! {"id", "error"}.

mod room;
mod session;
mod verification;

use anyhow::{Context, Result, anyhow, bail};
use matrix_sdk::Client;
use matrix_sdk::encryption::verification::{SasVerification, VerificationRequest};
use matrix_sdk_ui::sync_service::SyncService;
use matrix_sdk_ui::timeline::Timeline;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

/// How long the actor waits for what another client or the server has to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a logged-in client holds.
pub struct Session {
    client: Client,
    sync: SyncService,
    timelines: HashMap<String, Arc<Timeline>>,
    request: Arc<Mutex<Option<VerificationRequest>>>,
    sas: Option<SasVerification>,
}

/// Asks again and again until there is an answer.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return Ok(answer);
        }
        if Instant::now() > end {
            bail!("waited {} s for {what}", PATIENCE.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A string among a line's arguments.
pub fn text<'a>(arguments: &'a Value, name: &str) -> Result<&'a str> {
    arguments[name]
        .as_str()
        .with_context(|| format!("the argument {name} is missing"))
}

async fn act(session: &mut Option<Session>, line: &Value) -> Result<Value> {
    let action = text(line, "do")?;
    if let "register" | "login" = action {
        let (made, answer) = session::enter(action, line).await?;
        *session = Some(made);
        return Ok(answer);
    }
    let session = session.as_mut().ok_or_else(|| anyhow!("nobody is logged in"))?;
    match action {
        "create_room" => room::create(session, line).await,
        "join" => room::join(session, line).await,
        "members" => room::members(session, line).await,
        "send" => room::send(session, line).await,
        "receive" => room::receive(session, line).await,
        "send_file" => room::send_file(session, line).await,
        "receive_file" => room::receive_file(session, line).await,
        "leave" => room::leave(session, line).await,
        "rooms" => room::joined(session).await,
        "sas_start" => verification::start(session, line).await,
        "sas_accept" => verification::accept(session).await,
        "sas_follow" => verification::follow(session).await,
        "sas_show" => verification::show(session).await,
        "sas_confirm" => verification::confirm(session).await,
        "is_verified" => verification::is_verified(session, line).await,
        "logout" => session::leave(session).await,
        other => bail!("there is no action {other}"),
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut output = tokio::io::stdout();
    let mut session = None;
    while let Some(line) = lines.next_line().await? {
        let line: Value = serde_json::from_str(&line)?;
        let answer = match act(&mut session, &line).await {
            Ok(ok) => json!({"id": line["id"], "ok": ok}),
            Err(error) => json!({"id": line["id"], "error": format!("{error:#}")}),
        };
        output.write_all(format!("{answer}\n").as_bytes()).await?;
        output.flush().await?;
    }
    Ok(())
}
