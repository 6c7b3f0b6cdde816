//! Tells administrators what is due, and remembers what was told.

use crate::alarm::Alarm;
use crate::room::NoticeRoom;
use crate::teller::{Due, KEYS_MAX, Teller, Told, message};
use lamchat_rooms::Rooms;
use lamchat_store::{CommitError, KeyRange, Order, ReadError, ReadExt, Store, Table, WriteTxn};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// key of the datum → what was told of it last, as JSON.
const TOLD: Table = Table::new(224, "notices.told");
/// All tables, for the store.
pub const TABLES: &[Table] = &[TOLD];
/// How often the room is compared with the administrators although nothing is told.
const KEEP: Duration = Duration::from_secs(300);
/// Longest key.
const KEY_BYTES_MAX: usize = 256;

/// Why nobody was told.
#[derive(Debug, thiserror::Error)]
pub enum NoticeError {
    /// Somebody has had the name since before it was the server's own.
    #[error("an account has the name of the server's own notices: close it, or set [notices] admins_room = false")]
    NameTaken,
    /// The rooms refuse.
    #[error("the room of notices: {0}")]
    Refused(String),
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Made once.
pub struct Notices {
    room: NoticeRoom,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    teller: Option<Teller>,
    kept: Option<Instant>,
}

impl std::fmt::Debug for Notices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Notices")
    }
}

impl Notices {
    /// Of this exchange.
    pub fn new(store: Store, rooms: Rooms) -> Self {
        Self {
            room: NoticeRoom { store, rooms },
            state: Mutex::default(),
        }
    }

    /// Takes how everything is now, and tells what has changed. What fails is tried again with the next look.
    pub async fn look(&self, alarms: &[Alarm], now_ms: u64) -> Result<(), NoticeError> {
        let mut state = self.state.lock().await;
        if state.teller.is_none() {
            state.teller = Some(Teller::new(self.read()?));
        }
        let State { teller, kept } = &mut *state;
        let Some(teller) = teller else { return Ok(()) };
        let alarms: Vec<Alarm> = alarms
            .iter()
            .filter(|alarm| alarm.key.len() <= KEY_BYTES_MAX)
            .cloned()
            .collect();
        let due = teller.due(&alarms, now_ms);
        let text = message(&due);
        if text.is_none() && due.is_empty() && kept.is_some_and(|at| at.elapsed() < KEEP) {
            return Ok(());
        }
        let room = self.room.keep(text.is_some()).await?;
        *kept = Some(Instant::now());
        match (text, room) {
            (Some(text), Some((caller, num))) => self.room.send(&caller, num, &text).await?,
            // There is no administrator yet: it waits for one.
            (Some(_), None) => return Ok(()),
            (None, _) => {}
        }
        self.write(&due).await?;
        teller.note(&due, now_ms);
        Ok(())
    }

    fn read(&self) -> Result<BTreeMap<String, Told>, NoticeError> {
        let rows = self
            .room
            .store
            .read()
            .rows(TOLD, &KeyRange::all(), Order::Ascending, KEYS_MAX)?;
        let told = rows.into_iter().filter_map(|(key, value)| {
            let key = String::from_utf8(key.to_vec()).ok()?;
            // One that cannot be read is told once more.
            Some((key, serde_json::from_slice(&value).ok()?))
        });
        Ok(told.collect())
    }

    async fn write(&self, due: &[Due]) -> Result<(), NoticeError> {
        if due.is_empty() {
            return Ok(());
        }
        let due = due.to_vec();
        let change = move |txn: &mut WriteTxn<'_>| {
            for due in due {
                match &due.told {
                    Some(told) => txn.put_json(TOLD, due.key.as_bytes(), told)?,
                    None => txn.delete(TOLD, due.key.as_bytes()),
                }
            }
            Ok::<(), NoticeError>(())
        };
        let written = self.room.store.write(change).await;
        written.map_err(lamchat_store::WriteError::flatten)
    }
}
