//! User-interactive authentication: sessions in memory, bounded in number and time (Matrix 1.16,
//! "User-Interactive Authentication API").
//!
//! A session belongs to one operation (method and path) of one caller, is good for carrying it out once, and is lost
//! when the exchange restarts: the client is then asked again.

mod page;

use lamchat_base::{DeviceNum, Entropy, UserNum};
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};

/// Most sessions at once; the oldest makes room.
pub const SESSIONS_MAX: usize = 10_000;
/// How long a session lives.
pub const SESSION_LIFETIME_MS: u64 = 15 * 60 * 1000;
/// Characters of a session's id: 142 bits.
const SESSION_ID_CHARS: usize = 24;

/// One step of authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// `m.login.password`
    Password,
    /// `m.login.registration_token`
    RegistrationToken,
    /// `m.login.dummy`
    Dummy,
}

impl Stage {
    /// Its name in Matrix.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Password => "m.login.password",
            Self::RegistrationToken => "m.login.registration_token",
            Self::Dummy => "m.login.dummy",
        }
    }
}

/// What somebody wants to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Method and path, such as `DELETE /devices/ABC`: a session for one is no good for another.
    pub name: String,
    /// Who; `None` for somebody without an account, at registration.
    pub caller: Option<(UserNum, DeviceNum)>,
}

/// The ways to complete an operation: each a list of stages, all of which are needed.
pub type Flows = Vec<Vec<Stage>>;

/// How far a session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The session's id.
    pub session: String,
    /// The ways to complete the operation.
    pub flows: Flows,
    /// The stages that are completed.
    pub completed: Vec<Stage>,
    /// The registration token that was shown.
    pub registration_token: Option<String>,
    /// Whether a flow is complete. The session is over then: the operation may be carried out once.
    pub is_done: bool,
}

struct Session {
    operation: Operation,
    flows: Flows,
    completed: Vec<Stage>,
    registration_token: Option<String>,
    ends_at_ms: u64,
}

#[derive(Default)]
struct Inner {
    sessions: HashMap<String, Session>,
    /// Ids in the order in which they were made, which is the order in which they end.
    order: VecDeque<(u64, String)>,
    /// For each registration token, how many sessions have shown it and are not finished.
    pending: HashMap<String, u32>,
}

/// All sessions. Made once.
#[derive(Default)]
pub struct UiaSessions(Mutex<Inner>);

impl std::fmt::Debug for UiaSessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UiaSessions(…)")
    }
}

impl UiaSessions {
    /// No session yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a session for an operation.
    pub fn open(&self, operation: Operation, flows: Flows, entropy: &dyn Entropy, now_ms: u64) -> Progress {
        let id = entropy.alphanumeric(SESSION_ID_CHARS);
        let ends_at_ms = now_ms.saturating_add(SESSION_LIFETIME_MS);
        let session = Session {
            operation,
            flows,
            completed: Vec::new(),
            registration_token: None,
            ends_at_ms,
        };
        let progress = session.progress(&id);
        let mut inner = self.0.lock();
        inner.make_room(now_ms);
        inner.order.push_back((ends_at_ms, id.clone()));
        inner.sessions.insert(id, session);
        progress
    }

    /// How far a session is; `None` if there is no such session for this operation.
    pub fn progress(&self, id: &str, operation: &Operation, now_ms: u64) -> Option<Progress> {
        let inner = self.0.lock();
        let session = inner
            .sessions
            .get(id)
            .filter(|session| session.is_for(operation, now_ms))?;
        Some(session.progress(id))
    }

    /// Notes that a stage is completed; `None` if there is no such session for this operation. When that completes a
    /// flow, the session is over.
    pub fn complete(&self, id: &str, operation: &Operation, stage: Stage, now_ms: u64) -> Option<Progress> {
        let mut inner = self.0.lock();
        let session = inner
            .sessions
            .get_mut(id)
            .filter(|session| session.is_for(operation, now_ms))?;
        session.complete(stage);
        let progress = session.progress(id);
        if progress.is_done {
            inner.remove(id);
        }
        Some(progress)
    }

    /// Notes that a registration token was shown and is valid: `is_valid` is asked with the number of other sessions
    /// that are on their way with the same token, and nobody else can show it meanwhile.
    /// `Some(Err)` with what `is_valid` said; `None` if there is no such session for this operation.
    pub fn complete_token<E>(
        &self,
        id: &str,
        operation: &Operation,
        token: &str,
        now_ms: u64,
        is_valid: impl FnOnce(u32) -> Result<(), E>,
    ) -> Option<Result<Progress, E>> {
        let mut inner = self.0.lock();
        inner
            .sessions
            .get(id)
            .filter(|session| session.is_for(operation, now_ms))?;
        let shown = inner.show_token(id, token, now_ms, is_valid)?;
        if shown.as_ref().is_ok_and(|progress| progress.is_done) {
            inner.remove(id);
        }
        Some(shown)
    }

    /// How many sessions have shown a registration token and are not finished.
    pub fn pending(&self, token: &str, now_ms: u64) -> u32 {
        let mut inner = self.0.lock();
        inner.make_room(now_ms);
        inner.pending.get(token).copied().unwrap_or(0)
    }
}

impl Session {
    fn is_for(&self, operation: &Operation, now_ms: u64) -> bool {
        now_ms < self.ends_at_ms && self.operation == *operation
    }

    fn complete(&mut self, stage: Stage) {
        if !self.completed.contains(&stage) {
            self.completed.push(stage);
        }
    }

    fn progress(&self, id: &str) -> Progress {
        Progress {
            session: id.to_owned(),
            flows: self.flows.clone(),
            completed: self.completed.clone(),
            registration_token: self.registration_token.clone(),
            is_done: self
                .flows
                .iter()
                .any(|flow| flow.iter().all(|stage| self.completed.contains(stage))),
        }
    }
}

impl Inner {
    /// Notes that a session has shown a registration token, if `is_valid` says so.
    fn show_token<E>(
        &mut self,
        id: &str,
        token: &str,
        now_ms: u64,
        is_valid: impl FnOnce(u32) -> Result<(), E>,
    ) -> Option<Result<Progress, E>> {
        let session = self.sessions.get(id)?;
        if session.registration_token.as_deref() == Some(token) {
            return Some(Ok(session.progress(id)));
        }
        self.make_room(now_ms);
        if let Err(error) = is_valid(self.pending.get(token).copied().unwrap_or(0)) {
            return Some(Err(error));
        }
        if let Some(before) = self
            .sessions
            .get_mut(id)
            .and_then(|session| session.registration_token.take())
        {
            self.release(&before);
        }
        let session = self.sessions.get_mut(id)?;
        session.registration_token = Some(token.to_owned());
        session.complete(Stage::RegistrationToken);
        let progress = session.progress(id);
        *self.pending.entry(token.to_owned()).or_default() += 1;
        Some(Ok(progress))
    }

    /// Drops sessions whose time is over, and the oldest if there are too many.
    fn make_room(&mut self, now_ms: u64) {
        while let Some((ends_at_ms, _)) = self.order.front() {
            // Finished sessions stay in `order` until their time: it is what bounds memory.
            if *ends_at_ms > now_ms && self.order.len() < SESSIONS_MAX {
                break;
            }
            if let Some((_, id)) = self.order.pop_front() {
                self.remove(&id);
            }
        }
    }

    fn remove(&mut self, id: &str) {
        if let Some(session) = self.sessions.remove(id)
            && let Some(token) = session.registration_token
        {
            self.release(&token);
        }
    }

    fn release(&mut self, token: &str) {
        if let Some(pending) = self.pending.get_mut(token) {
            *pending = pending.saturating_sub(1);
            if *pending == 0 {
                self.pending.remove(token);
            }
        }
    }
}

#[cfg(test)]
mod tests;
