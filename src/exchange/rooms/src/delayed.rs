//! Events that are sent later unless somebody says otherwise before: MSC4140, by which a call notices that a participant is gone.
//!
//! What waits is a row, so a restart forgets nothing; when each is due is in memory. Whoever is about to send, cancel or restart
//! one takes it out of the plan first, so that only one of them does. An event that went out before its row was removed goes out
//! once all the same: a message has a transaction id made of the delay's id, and state that is there already is not set again.

mod error;
mod plan;

pub use error::{ScheduleError, UpdateError};

use crate::append::AppendError;
use crate::put_state::PutStateError;
use crate::send::{Message, SendError};
use crate::table::DELAYED;
use crate::{Caller, Rooms};
use lamchat_accounts::account;
use lamchat_base::limits::EVENT_BYTES_MAX;
use lamchat_base::{DeviceNum, UserNum};
use lamchat_rules::{Object, canonical};
use lamchat_store::{CommitError, KeyRange, Order, ReadError, ReadExt, WriteError, WriteTxn};
use parking_lot::Mutex;
use plan::{Plan, Planned};
use ruma::{OwnedRoomId, OwnedUserId, RoomId};
use std::time::Duration;
use tokio::sync::Notify;

/// Longest delay, in milliseconds.
pub const DELAY_MS_MAX: u64 = 24 * 60 * 60 * 1000;
/// Most events of one user that wait.
pub const WAITING_MAX: usize = 100;
/// Most events that wait in all.
const ALL_WAITING_MAX: usize = 20_000;
/// Characters of an id: nobody guesses it, as knowing it is enough to change what becomes of the event.
const ID_LENGTH: usize = 26;
/// What could not be sent for want of room or a free moment is tried again after this long.
const RETRY_MS: u64 = 5_000;
/// The clock may be set meanwhile: it is looked at this often.
const LOOK_MAX: Duration = Duration::from_secs(30);

/// An event to be sent later.
#[derive(Debug, Clone)]
pub struct NewDelayed<'a> {
    /// The room.
    pub room: &'a RoomId,
    /// The type.
    pub event_type: &'a str,
    /// The state key, of state events.
    pub state_key: Option<&'a str>,
    /// The content.
    pub content: Object,
    /// The client's transaction id, of messages.
    pub transaction_id: Option<&'a str>,
    /// How much later, in milliseconds.
    pub delay_ms: u64,
}

/// An event that waits.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Delayed {
    user: UserNum,
    device: Option<DeviceNum>,
    user_id: OwnedUserId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    transaction_id: Option<String>,
    /// The room.
    pub room: OwnedRoomId,
    /// The type.
    pub event_type: String,
    /// The state key, of state events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_key: Option<String>,
    /// The content: a JSON object.
    pub content: String,
    /// How much later than [`Delayed::since_ms`] it is sent, in milliseconds.
    pub delay_ms: u64,
    /// When the delay began, in milliseconds since the Unix epoch.
    pub since_ms: u64,
}

impl Delayed {
    fn planned(&self) -> Planned {
        Planned {
            due_ms: self.since_ms.saturating_add(self.delay_ms),
            user: self.user,
            state: self
                .state_key
                .as_ref()
                .map(|key| (self.room.clone(), self.event_type.clone(), key.clone())),
        }
    }
}

/// The events that wait. One for the exchange.
pub struct DelayedEvents {
    rooms: Rooms,
    plan: Mutex<Plan>,
    changed: Notify,
}

impl std::fmt::Debug for DelayedEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DelayedEvents({} wait)", self.plan.lock().len())
    }
}

/// What came of sending one.
enum Outcome {
    Sent,
    /// It never will be.
    Refused(UpdateError),
    /// Not now.
    Later(UpdateError),
}

impl DelayedEvents {
    /// Reads what waits.
    pub fn open(rooms: Rooms) -> Result<Self, ReadError> {
        let mut plan = Plan::default();
        let rows = rooms
            .store()
            .read()
            .rows(DELAYED, &KeyRange::all(), Order::Ascending, usize::MAX)?;
        for (key, value) in rows {
            let delayed: Delayed = lamchat_store::parse_json(DELAYED, &value)?;
            plan.add(String::from_utf8_lossy(&key).into_owned(), delayed.planned());
        }
        Ok(Self {
            rooms,
            plan: Mutex::new(plan),
            changed: Notify::new(),
        })
    }

    /// Has an event wait, and answers its id; the same one for the same transaction id as long as that one waits.
    pub async fn schedule(&self, caller: &Caller, new: NewDelayed<'_>) -> Result<String, ScheduleError> {
        if new.delay_ms == 0 || new.delay_ms > DELAY_MS_MAX {
            return Err(ScheduleError::Delay);
        }
        let content = canonical::to_string(&new.content);
        if content.len() > EVENT_BYTES_MAX {
            return Err(ScheduleError::TooLarge);
        }
        let delayed = Delayed {
            user: caller.user,
            device: caller.device,
            user_id: caller.user_id.clone(),
            transaction_id: new.transaction_id.map(str::to_owned),
            room: new.room.to_owned(),
            event_type: new.event_type.to_owned(),
            state_key: new.state_key.map(str::to_owned),
            content,
            delay_ms: new.delay_ms,
            since_ms: self.rooms.now_ms(),
        };
        if delayed.transaction_id.is_some()
            && let Some((id, _)) = self.of_user(caller.user)?.into_iter().find(|(_, one)| {
                one.transaction_id == delayed.transaction_id
                    && (one.device, &one.room, &one.event_type) == (delayed.device, &delayed.room, &delayed.event_type)
            })
        {
            return Ok(id);
        }
        if !self.plan.lock().reserve(caller.user, WAITING_MAX, ALL_WAITING_MAX) {
            return Err(ScheduleError::TooMany);
        }
        let id = self.rooms.entropy().alphanumeric(ID_LENGTH);
        let planned = delayed.planned();
        match self.write(&id, Some(delayed)).await {
            Ok(()) => self.plan.lock().put(id.clone(), planned),
            Err(error) => {
                self.plan.lock().release(caller.user);
                return Err(error.into());
            }
        }
        self.changed.notify_one();
        Ok(id)
    }

    /// Never sends it.
    pub async fn cancel(&self, id: &str) -> Result<(), UpdateError> {
        let planned = self.take(id)?;
        self.finish(id, planned).await
    }

    /// Begins its delay anew.
    pub async fn restart(&self, id: &str) -> Result<(), UpdateError> {
        let planned = self.take(id)?;
        let begun = match self.row(id) {
            Ok(Some(row)) => Delayed {
                since_ms: self.rooms.now_ms(),
                ..row
            },
            Ok(None) => return self.finish(id, planned).await.and(Err(UpdateError::NotFound)),
            Err(error) => return Err(self.put_back(id, planned, error.into())),
        };
        let anew = begun.planned();
        match self.write(id, Some(begun)).await {
            Ok(()) => {
                self.plan.lock().put(id.to_owned(), anew);
                self.changed.notify_one();
                Ok(())
            }
            Err(error) => Err(self.put_back(id, planned, error.into())),
        }
    }

    /// Sends it now.
    pub async fn send(&self, id: &str) -> Result<(), UpdateError> {
        let planned = self.take(id)?;
        self.send_taken(id, planned).await
    }

    /// Whether any waits.
    pub fn is_any(&self) -> bool {
        self.plan.lock().len() > 0
    }

    /// An event that waits.
    pub fn one(&self, user: UserNum, id: &str) -> Result<Option<Delayed>, ReadError> {
        Ok(self.row(id)?.filter(|delayed| delayed.user == user))
    }

    /// The events of a user that wait, the first that is due first.
    pub fn of_user(&self, user: UserNum) -> Result<Vec<(String, Delayed)>, ReadError> {
        let ids = self.plan.lock().of_user(user);
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            if let Some(delayed) = self.row(&id)? {
                found.push((id, delayed));
            }
        }
        Ok(found)
    }

    /// Cancels what others than `sender` wanted to set: the state has been set by `sender` meanwhile, and is newer than theirs.
    pub async fn supersede(
        &self,
        sender: UserNum,
        room: &RoomId,
        event_type: &str,
        state_key: &str,
    ) -> Result<(), UpdateError> {
        let older = self.plan.lock().for_state(room, event_type, state_key, sender);
        for id in older {
            match self.cancel(&id).await {
                Ok(()) | Err(UpdateError::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends each when it is due, until the runtime ends.
    pub async fn send_forever(&self) {
        loop {
            // Before the plan is looked at, so that no change falls between.
            let changed = self.changed.notified();
            let now_ms = self.rooms.now_ms();
            let due = self.plan.lock().take_due(now_ms);
            match due {
                Some((id, planned)) => {
                    if let Err(error) = self.send_taken(&id, planned).await {
                        tracing::debug!(%error, "a delayed event was not sent");
                    }
                }
                None => {
                    let next = self.plan.lock().next_due();
                    let wait = next.map_or(LOOK_MAX, |due| Duration::from_millis(due.saturating_sub(now_ms)));
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep(wait.min(LOOK_MAX)) => {}
                    }
                }
            }
        }
    }

    fn take(&self, id: &str) -> Result<Planned, UpdateError> {
        self.plan.lock().take(id).ok_or(UpdateError::NotFound)
    }

    fn put_back(&self, id: &str, planned: Planned, error: UpdateError) -> UpdateError {
        self.plan.lock().put(id.to_owned(), planned);
        self.changed.notify_one();
        error
    }

    /// Removes the row of one that was taken; puts it back if that fails.
    async fn finish(&self, id: &str, planned: Planned) -> Result<(), UpdateError> {
        match self.write(id, None).await {
            Ok(()) => {
                self.plan.lock().release(planned.user);
                Ok(())
            }
            Err(error) => Err(self.put_back(id, planned, error.into())),
        }
    }

    async fn send_taken(&self, id: &str, planned: Planned) -> Result<(), UpdateError> {
        let outcome = match self.row(id) {
            Ok(Some(row)) => self.attempt(id, row).await,
            Ok(None) => Outcome::Refused(UpdateError::NotFound),
            Err(error) => Outcome::Later(error.into()),
        };
        match outcome {
            Outcome::Sent => {
                let later = self.later(planned);
                self.finish(id, later).await
            }
            Outcome::Refused(error) => self.finish(id, planned).await.and(Err(error)),
            Outcome::Later(error) => Err(self.put_back(id, self.later(planned), error)),
        }
    }

    fn later(&self, planned: Planned) -> Planned {
        Planned {
            due_ms: self.rooms.now_ms() + RETRY_MS,
            ..planned
        }
    }

    async fn attempt(&self, id: &str, row: Delayed) -> Outcome {
        match account::one(&self.rooms.store().read(), row.user) {
            Ok(Some(account)) if account.standing.is_deactivated() || account.standing.is_suspended() => {
                return Outcome::Refused(UpdateError::NotFound);
            }
            Ok(_) => {}
            Err(error) => return Outcome::Later(error.into()),
        }
        let Ok(content) = canonical::parse_object(row.content.as_bytes()) else {
            return Outcome::Refused(UpdateError::NotFound);
        };
        let caller = Caller {
            user: row.user,
            user_id: row.user_id,
            device: row.device,
        };
        let error = match row.state_key {
            Some(state_key) => {
                let put = self
                    .rooms
                    .put_state(&caller, &row.room, &row.event_type, &state_key, content);
                match put.await {
                    Ok(_) => return Outcome::Sent,
                    Err(error) => UpdateError::State(error),
                }
            }
            None => {
                let message = Message {
                    room: &row.room,
                    event_type: &row.event_type,
                    content,
                    transaction_id: &format!("delayed {id}"),
                    origin_server_ts: None,
                };
                match self.rooms.send(&caller, message).await {
                    Ok(_) => return Outcome::Sent,
                    Err(error) => UpdateError::Message(error),
                }
            }
        };
        if is_passing(&error) {
            Outcome::Later(error)
        } else {
            Outcome::Refused(error)
        }
    }

    fn row(&self, id: &str) -> Result<Option<Delayed>, ReadError> {
        self.rooms.store().read().get_json(DELAYED, id.as_bytes())
    }

    async fn write(&self, id: &str, row: Option<Delayed>) -> Result<(), WriteError<ReadError>> {
        let id = id.to_owned();
        let change = move |txn: &mut WriteTxn<'_>| -> Result<(), ReadError> {
            match row {
                Some(row) => txn.put_json(DELAYED, id.as_bytes(), &row),
                None => {
                    txn.delete(DELAYED, id.as_bytes());
                    Ok(())
                }
            }
        };
        self.rooms.store().write(change).await
    }
}

/// Whether the same may work later.
fn is_passing(error: &UpdateError) -> bool {
    let append = match error {
        UpdateError::State(PutStateError::Append(error)) | UpdateError::Message(SendError::Append(error)) => error,
        UpdateError::Read(_) | UpdateError::Commit(_) => return true,
        _ => return false,
    };
    match append {
        AppendError::Busy | AppendError::Read(_) => true,
        AppendError::Commit(error) => !matches!(error, CommitError::Panicked),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
