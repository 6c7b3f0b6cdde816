//! Users, their rooms, and messages of 1,000 random letters, as a ciphertext would be.

use crate::Outcome;
use crate::client::Client;
use crate::options::Options;
use crate::report::Stage;
use crate::server::Server;
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const PASSWORD: &str = "correct horse battery";
const BODY_BYTES: usize = 1_000;
/// A server sends for this long before it is killed, so that it has made checkpoints.
const BEFORE_KILL: Duration = Duration::from_millis(2_300);

/// When a stage ends.
#[derive(Clone, Copy)]
pub enum Until {
    /// After this many messages.
    Count(usize),
    /// After this time.
    Elapsed(Duration),
    /// When nothing is answered any more.
    Killed,
}

/// A user on a device.
struct Sender {
    client: tokio::sync::Mutex<Client>,
    number: usize,
    rooms: Vec<String>,
    random: Cell<u64>,
    last: RefCell<Option<Acknowledged>>,
}

/// A message that was answered: by whom, in which room, its event id.
pub struct Acknowledged {
    number: usize,
    room: String,
    event: String,
}

/// Everybody who sends.
pub struct Load {
    senders: Vec<Rc<Sender>>,
}

impl Load {
    /// Logs in the users of an earlier load, or registers them and makes their rooms.
    pub async fn begin(server: &Server, options: &Options) -> Outcome<Self> {
        let mut senders = vec![];
        for number in 0..options.clients {
            let mut client = sign_in(server, number).await?;
            let joined = client.get("/_matrix/client/v3/joined_rooms").await?;
            let ids = joined["joined_rooms"].as_array().into_iter().flatten();
            let mut rooms: Vec<String> = ids.filter_map(|id| id.as_str().map(str::to_owned)).collect();
            while rooms.len() < options.rooms.div_ceil(options.clients) {
                let wish = json!({"preset": "private_chat", "name": "load"});
                let made = client.post("/_matrix/client/v3/createRoom", &wish).await?;
                rooms.push(made["room_id"].as_str().ok_or("no room id")?.to_owned());
            }
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros() as u64;
            senders.push(Rc::new(Sender {
                client: tokio::sync::Mutex::new(client),
                number,
                rooms,
                random: Cell::new((now << 10 | number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
                last: RefCell::default(),
            }));
        }
        Ok(Self { senders })
    }

    /// Closed loops of the first `clients` senders, each into all of its rooms at random.
    pub async fn send(&self, server: &Server, clients: usize, until: Until) -> Outcome<Stage> {
        let (begin, cpu) = (Instant::now(), server.cpu()?);
        let running = self.run(clients, until);
        let mut times = vec![];
        for task in running {
            times.extend(task.await??);
        }
        Ok(Stage::new(times, begin.elapsed(), server.cpu()?.saturating_sub(cpu)))
    }

    /// Kills the server while all send; answers what each sender was acknowledged last.
    pub async fn send_until_killed(&self, server: &mut Server) -> Outcome<Vec<Acknowledged>> {
        let running = self.run(self.senders.len(), Until::Killed);
        tokio::time::sleep(BEFORE_KILL).await;
        server.kill()?;
        for task in running {
            // It ends with the connection.
            drop(task.await?);
        }
        Ok(self.senders.iter().filter_map(|sender| sender.last.take()).collect())
    }

    fn run(&self, clients: usize, until: Until) -> Vec<tokio::task::JoinHandle<Result<Vec<Duration>, String>>> {
        let begin = Instant::now();
        let sent = Rc::new(Cell::new(0));
        let over = move |sent: usize| match until {
            Until::Count(count) => sent >= count,
            Until::Elapsed(length) => begin.elapsed() >= length,
            Until::Killed => false,
        };
        let each = |sender: &Rc<Sender>| {
            let (sender, sent) = (Rc::clone(sender), Rc::clone(&sent));
            tokio::task::spawn_local(async move {
                let mut times = vec![];
                while !over(sent.get()) {
                    sent.set(sent.get() + 1);
                    let begin = Instant::now();
                    sender.send().await.map_err(|error| error.to_string())?;
                    times.push(begin.elapsed());
                }
                Ok(times)
            })
        };
        self.senders.iter().take(clients).map(each).collect()
    }

    /// Whether the server still has everything that was acknowledged last.
    pub async fn check(server: &Server, acknowledged: &[Acknowledged]) -> Outcome<()> {
        for Acknowledged { number, room, event } in acknowledged {
            let mut client = sign_in(server, *number).await?;
            let (room, event) = (escape(room), escape(event));
            client
                .get(&format!("/_matrix/client/v3/rooms/{room}/event/{event}"))
                .await?;
        }
        Ok(())
    }
}

impl Sender {
    async fn send(&self) -> Outcome<()> {
        let index = usize::try_from(self.roll())? % self.rooms.len();
        let room = &self.rooms[index];
        let path = format!(
            "/_matrix/client/v3/rooms/{}/send/m.room.message/{:x}",
            escape(room),
            self.roll()
        );
        let body = format!(r#"{{"msgtype":"m.text","body":"{}"}}"#, self.text());
        let answer = self.client.lock().await.request("PUT", &path, &body).await?;
        self.last.replace(Some(Acknowledged {
            number: self.number,
            room: room.clone(),
            event: answer["event_id"].as_str().ok_or("no event id")?.to_owned(),
        }));
        Ok(())
    }

    fn text(&self) -> String {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::with_capacity(BODY_BYTES + 10);
        while text.len() < BODY_BYTES {
            let mut random = self.roll();
            for _ in 0..10 {
                text.push(char::from(LETTERS[(random & 63) as usize]));
                random >>= 6;
            }
        }
        text.truncate(BODY_BYTES);
        text
    }

    /// Marsaglia's xorshift: nothing here is secret.
    fn roll(&self) -> u64 {
        let mut random = self.random.get();
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        self.random.set(random);
        random
    }
}

/// Logs user `number` in, or registers it.
async fn sign_in(server: &Server, number: usize) -> Outcome<Client> {
    let name = format!("u{number}");
    let mut client = Client::connect(server.address).await?;
    let login = json!({
        "type": "m.login.password", "identifier": {"type": "m.id.user", "user": name},
        "password": PASSWORD, "device_id": "LOAD",
    });
    let answer = match client.post("/_matrix/client/v3/login", &login).await {
        Ok(answer) => answer,
        Err(_) => {
            let register = json!({
                "username": name, "password": PASSWORD, "device_id": "LOAD", "auth": {"type": "m.login.dummy"},
            });
            client.post("/_matrix/client/v3/register", &register).await?
        }
    };
    client.authenticate(answer["access_token"].as_str().ok_or("no access token")?);
    Ok(client)
}

/// An identifier as a segment of a path.
fn escape(id: &str) -> String {
    let mut escaped = String::with_capacity(id.len() + 8);
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}
