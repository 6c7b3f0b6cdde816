//! One time limit for all commands of an operation, however many they are and however slowly each is answered.

use lamchat_tpm::{Transport, TransportError};
use std::time::{Duration, Instant};

/// A transport that stops when the operation's time is over.
pub struct Deadline {
    inner: Box<dyn Transport>,
    until: Instant,
    limit: Duration,
}

impl Deadline {
    /// `limit` from now on.
    pub fn new(inner: Box<dyn Transport>, limit: Duration) -> Self {
        Self {
            inner,
            until: Instant::now() + limit,
            limit,
        }
    }
}

impl Transport for Deadline {
    fn exchange(&mut self, command: &[u8], timeout: Duration) -> Result<Vec<u8>, TransportError> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(TransportError::TimedOut(self.limit));
        }
        self.inner.exchange(command, timeout.min(left))
    }
}
