//! The check of a working exchange, also without any network: two accounts, a room, a message each way, through the same
//! API that clients use.

use super::screen::Screen;
use crate::cli::socket::{self, escape};
use crate::init::exchange;
use crate::init::state::Shared;
use lamchat_base::Entropy;
use lamchat_host::OsEntropy;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// The two accounts; they are closed again afterwards, but their names stay taken.
const NAMES: [&str; 2] = ["box-check-1", "box-check-2"];
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Messages that are looked for in the last events.
const EVENTS: u32 = 20;

/// Somebody who is logged in.
struct Account {
    id: String,
    token: Zeroizing<String>,
}

/// Checks, and tells what came of it.
pub fn run(screen: &mut Screen, _: &Arc<Shared>) -> std::io::Result<()> {
    screen.page("Check", "Two accounts exchange a message …")?;
    let began = Instant::now();
    match exchange_a_message() {
        Ok(()) => {
            let ms = began.elapsed().as_millis();
            screen.page(
                "The exchange works",
                &format!("Two accounts exchanged a message each way in {ms} ms."),
            )?;
        }
        Err(error) => screen.page("THE EXCHANGE DOES NOT WORK", &error)?,
    }
    screen.pause()
}

fn exchange_a_message() -> Result<(), String> {
    let accounts = NAMES.iter().map(|name| log_in(name)).collect::<Result<Vec<_>, _>>()?;
    let result = match accounts.as_slice() {
        [first, second] => converse(first, second),
        _ => Err("two accounts are needed".to_owned()),
    };
    // Whatever came of it, nobody can log in to them meanwhile.
    let closed = NAMES.iter().map(|name| {
        let target = format!("/_lamchat/admin/v1/users/{name}/deactivate");
        exchange::call("POST", &target, Some(&json!({"erase": false})))
    });
    let closed: Result<Vec<Value>, _> = closed.collect();
    result.and(closed.map(drop).map_err(|error| error.0))
}

/// Makes the account or opens it again, with a password that nobody learns.
fn log_in(name: &str) -> Result<Account, String> {
    let mut random = Zeroizing::new([0; 32]);
    OsEntropy.fill(&mut *random);
    let password: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let password = Zeroizing::new(password);
    let users = "/_lamchat/admin/v1/users";
    let new = json!({"user": name, "password": *password, "admin": false, "display_name": "Check of the box"});
    if exchange::call("POST", users, Some(&new)).is_err() {
        let again = json!({"password": *password});
        exchange::call("POST", &format!("{users}/{name}/reactivate"), Some(&again)).map_err(|error| error.0)?;
    }
    let body = json!({
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": name},
        "password": *password,
        "device_id": "BOXCHECK",
    });
    let answer = client("POST", "/_matrix/client/v3/login", None, Some(&body))?;
    let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(Account {
        id: text("user_id"),
        token: Zeroizing::new(text("access_token")),
    })
}

fn converse(first: &Account, second: &Account) -> Result<(), String> {
    let room = json!({"preset": "private_chat", "name": "Check of the box", "invite": [second.id]});
    let room = client("POST", "/_matrix/client/v3/createRoom", Some(first), Some(&room))?;
    let room = escape(room.get("room_id").and_then(Value::as_str).unwrap_or_default());
    client(
        "POST",
        &format!("/_matrix/client/v3/rooms/{room}/join"),
        Some(second),
        Some(&json!({})),
    )?;
    for (sender, reader, text) in [(first, second, "one"), (second, first, "two")] {
        let target = format!("/_matrix/client/v3/rooms/{room}/send/m.room.message/{text}");
        let message = json!({"msgtype": "m.text", "body": text});
        client("PUT", &target, Some(sender), Some(&message))?;
        let target = format!("/_matrix/client/v3/rooms/{room}/messages?dir=b&limit={EVENTS}");
        let answer = client("GET", &target, Some(reader), None)?;
        let events = answer.get("chunk").and_then(Value::as_array).into_iter().flatten();
        let arrived = |event: &Value| {
            event.pointer("/content/body").and_then(Value::as_str) == Some(text)
                && event.get("sender").and_then(Value::as_str) == Some(sender.id.as_str())
        };
        if !events.into_iter().any(arrived) {
            return Err(format!("{} does not see what {} wrote", reader.id, sender.id));
        }
    }
    for account in [first, second] {
        client(
            "POST",
            &format!("/_matrix/client/v3/rooms/{room}/leave"),
            Some(account),
            Some(&json!({})),
        )?;
    }
    Ok(())
}

/// A request of a client's, on the loopback interface.
fn client(method: &str, target: &str, account: Option<&Account>, body: Option<&Value>) -> Result<Value, String> {
    let connect = || {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, exchange::LOCAL_PORT))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let token = account.map(|account| account.token.as_str());
        socket::request(stream, method, target, token, socket::Body::Json(body))
    };
    let answer = connect().map_err(|error| format!("{method} {target}: {error}"))?;
    answer.json().map_err(|error| format!("{method} {target}: {}", error.0))
}
