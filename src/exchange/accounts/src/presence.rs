//! Who is there (Matrix 1.16, "Presence"): kept in memory only, so a restart forgets it, and nothing about it is ever
//! written to disk.
//!
//! A user is as present as the most present of their devices: those that wait for news or asked for some not long ago. A
//! user who did nothing for a while is idle. What others are told has a number from a counter that it shares with
//! typing, by which `/sync` finds what is new.

use lamchat_base::{Clock, DeviceNum, UserNum};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Most users whose presence is kept; those that were active longest ago make room.
pub const USERS_MAX: usize = 100_000;
/// Most devices of a user that count.
const DEVICES_MAX: usize = 16;
/// Longest status message.
pub const STATUS_BYTES_MAX: usize = 1024;
/// Who was active so recently is *currently active* while online.
pub const ACTIVE_MS: u64 = 60_000;
/// Who was active longer ago is idle. "their last active time was over a threshold value (e.g. 5 minutes)"
pub const IDLE_MS: u64 = 5 * 60_000;
/// A device that has asked for nothing for so long is gone.
pub const GONE_MS: u64 = 30_000;

/// Matrix's three states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum State {
    /// Not there.
    #[default]
    Offline,
    /// There, but idle.
    Unavailable,
    /// There.
    Online,
}

impl State {
    /// The word in `presence`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Unavailable => "unavailable",
            Self::Online => "online",
        }
    }

    /// From such a word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Offline, Self::Unavailable, Self::Online]
            .into_iter()
            .find(|state| state.as_str() == word)
    }
}

/// What others see of somebody.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Presence {
    /// Whether they are there.
    pub state: State,
    /// What they say about it.
    pub status_msg: Option<String>,
    /// When they last did something, ms.
    pub last_active_ms: u64,
    /// Whether they are online and did something in the last minute.
    pub is_active: bool,
}

/// The message is longer than [`STATUS_BYTES_MAX`]: `M_TOO_LARGE`.
#[derive(Debug, thiserror::Error)]
#[error("a status message has at most {STATUS_BYTES_MAX} bytes")]
pub struct StatusTooLong;

/// The presence of all users. Made once.
#[derive(Debug, Default)]
pub struct Presences {
    counter: Arc<AtomicU64>,
    /// The counter when everything before was forgotten.
    start: u64,
    users: Mutex<HashMap<UserNum, Known>>,
}

#[derive(Debug, Default)]
struct Known {
    status_msg: Option<String>,
    last_active_ms: u64,
    devices: Vec<Device>,
    /// What was told last, and its number.
    told: (State, bool),
    changed: u64,
}

#[derive(Debug)]
struct Device {
    num: DeviceNum,
    wish: State,
    last_ms: u64,
    /// Requests that wait for news.
    waiting: u32,
}

impl Device {
    fn is_here(&self, now_ms: u64) -> bool {
        self.waiting > 0 || now_ms < self.last_ms.saturating_add(GONE_MS)
    }
}

impl Known {
    fn state(&self, now_ms: u64) -> State {
        let here = self.devices.iter().filter(|device| device.is_here(now_ms));
        let best = here.map(|device| device.wish).max().unwrap_or_default();
        if now_ms >= self.last_active_ms.saturating_add(IDLE_MS) {
            best.min(State::Unavailable)
        } else {
            best
        }
    }

    fn is_active(&self, now_ms: u64) -> bool {
        self.state(now_ms) == State::Online && now_ms < self.last_active_ms.saturating_add(ACTIVE_MS)
    }

    fn shown(&self, now_ms: u64) -> Presence {
        Presence {
            state: self.state(now_ms),
            status_msg: self.status_msg.clone(),
            last_active_ms: self.last_active_ms,
            is_active: self.is_active(now_ms),
        }
    }

    /// Whether others have something new to hear.
    fn refresh(&mut self, counter: &AtomicU64, now_ms: u64, is_news: bool) -> bool {
        let now = (self.state(now_ms), self.is_active(now_ms));
        let is_news = is_news || self.told != now;
        if is_news {
            self.told = now;
            self.changed = counter.fetch_add(1, Ordering::AcqRel) + 1;
        }
        is_news
    }

    /// The device, with a new wish. One that becomes more present is a sign of its user.
    fn device(&mut self, num: DeviceNum, wish: State, now_ms: u64) -> Option<&mut Device> {
        let index = match self.devices.iter().position(|device| device.num == num) {
            Some(index) => index,
            None => {
                if self.devices.len() >= DEVICES_MAX {
                    self.devices.sort_by_key(|device| (device.waiting > 0, device.last_ms));
                    self.devices.remove(0);
                }
                self.devices.push(Device {
                    num,
                    wish: State::Offline,
                    last_ms: now_ms,
                    waiting: 0,
                });
                self.devices.len() - 1
            }
        };
        let device = self.devices.get_mut(index)?;
        let was = if device.is_here(now_ms) {
            device.wish
        } else {
            State::Offline
        };
        if wish == State::Online && was != State::Online {
            self.last_active_ms = now_ms;
        }
        device.wish = wish;
        device.last_ms = now_ms;
        Some(device)
    }
}

impl Presences {
    /// Nobody is there. `counter` numbers all that is kept in memory only, and grows across restarts.
    pub fn new(counter: Arc<AtomicU64>) -> Self {
        let start = counter.load(Ordering::Acquire);
        Self {
            counter,
            start,
            users: Mutex::default(),
        }
    }

    /// What is known of `user`; `None` if they were not seen since the start.
    pub fn of(&self, user: UserNum, now_ms: u64) -> Option<Presence> {
        self.users.lock().get(&user).map(|known| known.shown(now_ms))
    }

    /// Notes what `user` says; answers whether others have something new to hear.
    pub fn set(
        &self,
        user: UserNum,
        device: DeviceNum,
        state: State,
        status_msg: Option<String>,
        now_ms: u64,
    ) -> Result<bool, StatusTooLong> {
        if status_msg.as_ref().is_some_and(|text| text.len() > STATUS_BYTES_MAX) {
            return Err(StatusTooLong);
        }
        Ok(self.with(user, |known| {
            known.device(device, state, now_ms);
            if state == State::Online {
                known.last_active_ms = now_ms;
            }
            let is_news = known.status_msg != status_msg;
            known.status_msg = status_msg;
            known.refresh(&self.counter, now_ms, is_news)
        }))
    }

    /// Notes that a device asks for news; answers whether others have something to hear. It counts as there until the
    /// guard is dropped, and for [`GONE_MS`] longer.
    ///
    /// "If this parameter is omitted then the client is automatically marked as online when it uses this API. Otherwise if
    /// the parameter is set to "offline" then the client is not marked as being online when it uses this API. When set to
    /// "unavailable", the client is marked as being idle." (`set_presence` of `GET /sync`)
    pub fn syncing(
        self: &Arc<Self>,
        user: UserNum,
        device: DeviceNum,
        wish: State,
        clock: &Arc<dyn Clock>,
    ) -> (Syncing, bool) {
        let now_ms = clock.now_ms();
        let is_news = self.with(user, |known| {
            if let Some(device) = known.device(device, wish, now_ms) {
                device.waiting += 1;
            }
            known.refresh(&self.counter, now_ms, false)
        });
        let syncing = Syncing {
            presences: Arc::clone(self),
            clock: Arc::clone(clock),
            user,
            device,
        };
        (syncing, is_news)
    }

    /// Notes that `user` did something: wrote, or read. Who hides stays hidden.
    ///
    /// "Any activity that bumps the last active time on any of the user's clients will cause the server to automatically
    /// set their presence to `online`."
    pub fn active(&self, user: UserNum, device: DeviceNum, now_ms: u64) -> bool {
        let mut users = self.users.lock();
        let Some(known) = users.get_mut(&user) else {
            return false;
        };
        let Some(device) = known.devices.iter_mut().find(|known| known.num == device) else {
            return false;
        };
        if device.wish == State::Offline {
            return false;
        }
        device.wish = State::Online;
        known.last_active_ms = now_ms;
        known.refresh(&self.counter, now_ms, false)
    }

    /// Notes what has changed by the passing of time; answers whose. To be called every few seconds.
    pub fn expire(&self, now_ms: u64) -> Vec<UserNum> {
        let mut changed = Vec::new();
        for (user, known) in self.users.lock().iter_mut() {
            known.devices.retain(|device| device.is_here(now_ms));
            if known.refresh(&self.counter, now_ms, false) {
                changed.push(*user);
            }
        }
        changed
    }

    /// Who has something to tell after the number `since`, the newest first, at most `limit`. Without `since`, or with one
    /// from before the start: everybody who is there.
    pub fn changed_since(&self, since: Option<u64>, limit: usize) -> Vec<UserNum> {
        let users = self.users.lock();
        let since = since.filter(|since| *since >= self.start);
        let is_news = |known: &Known| match since {
            Some(since) => known.changed > since,
            None => known.told.0 != State::Offline,
        };
        let mut changed: Vec<(u64, UserNum)> = users
            .iter()
            .filter(|(_, known)| is_news(known))
            .map(|(user, known)| (known.changed, *user))
            .collect();
        changed.sort_unstable_by(|one, other| other.cmp(one));
        changed.truncate(limit);
        changed.into_iter().map(|(_, user)| user).collect()
    }

    /// Forgets a user whose account was deactivated.
    pub fn forget(&self, user: UserNum) {
        self.users.lock().remove(&user);
    }

    fn with<T>(&self, user: UserNum, change: impl FnOnce(&mut Known) -> T) -> T {
        let mut all = self.users.lock();
        if all.len() >= USERS_MAX && !all.contains_key(&user) {
            // Half goes at once, so that the search is paid for seldom.
            let mut times: Vec<u64> = all.values().map(|known| known.last_active_ms).collect();
            let (_, median, _) = times.select_nth_unstable(USERS_MAX / 2);
            let median = *median;
            all.retain(|_, known| known.last_active_ms > median);
        }
        change(all.entry(user).or_default())
    }
}

/// A device that waits for news.
pub struct Syncing {
    presences: Arc<Presences>,
    clock: Arc<dyn Clock>,
    user: UserNum,
    device: DeviceNum,
}

impl std::fmt::Debug for Syncing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Syncing({}, {})", self.user.0, self.device.0)
    }
}

impl Drop for Syncing {
    fn drop(&mut self) {
        let now_ms = self.clock.now_ms();
        if let Some(known) = self.presences.users.lock().get_mut(&self.user)
            && let Some(device) = known.devices.iter_mut().find(|device| device.num == self.device)
        {
            device.waiting = device.waiting.saturating_sub(1);
            device.last_ms = now_ms;
        }
    }
}

#[cfg(test)]
mod tests;
