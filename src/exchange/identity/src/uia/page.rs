//! Stages that are completed in a browser, for clients that do not know them (Matrix 1.16, "Fallback"): the session waits
//! until its client comes back for it.

use super::{Operation, Progress, Stage, UiaSessions};

impl UiaSessions {
    /// What a session is for, and how far it is; `None` if there is no such session.
    pub fn open_session(&self, id: &str, now_ms: u64) -> Option<(Operation, Progress)> {
        let inner = self.0.lock();
        let session = inner.sessions.get(id).filter(|session| now_ms < session.ends_at_ms)?;
        Some((session.operation.clone(), session.progress(id)))
    }

    /// Notes that a stage is completed. Answers whether there is such a session.
    pub fn complete_on_page(&self, id: &str, stage: Stage, now_ms: u64) -> bool {
        let mut inner = self.0.lock();
        let session = inner.sessions.get_mut(id).filter(|session| now_ms < session.ends_at_ms);
        session.map(|session| session.complete(stage)).is_some()
    }

    /// Notes that a registration token was shown and is valid, as [`UiaSessions::complete_token`] does.
    /// `None` if there is no such session.
    pub fn show_token_on_page<E>(
        &self,
        id: &str,
        token: &str,
        now_ms: u64,
        is_valid: impl FnOnce(u32) -> Result<(), E>,
    ) -> Option<Result<(), E>> {
        let mut inner = self.0.lock();
        inner.sessions.get(id).filter(|session| now_ms < session.ends_at_ms)?;
        let shown = inner.show_token(id, token, now_ms, is_valid)?;
        Some(shown.map(drop))
    }

    /// Ends a session of which a flow is complete, for its client that comes back; answers how far it is either way.
    /// `None` if there is no such session for this operation.
    pub fn resume(&self, id: &str, operation: &Operation, now_ms: u64) -> Option<Progress> {
        let mut inner = self.0.lock();
        let session = inner
            .sessions
            .get(id)
            .filter(|session| session.is_for(operation, now_ms))?;
        let progress = session.progress(id);
        if progress.is_done {
            inner.remove(id);
        }
        Some(progress)
    }
}
