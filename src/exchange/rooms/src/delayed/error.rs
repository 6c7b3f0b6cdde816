//! Why an event does not wait, or does not do as it was told.

use super::{DELAY_MS_MAX, WAITING_MAX};
use crate::put_state::PutStateError;
use crate::send::SendError;
use lamchat_store::{CommitError, ReadError, WriteError};

/// Why an event was not taken to be sent later.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// No delay, or one that is too long: `M_MAX_DELAY_EXCEEDED`.
    #[error("an event can be delayed by 1 to {DELAY_MS_MAX} milliseconds")]
    Delay,
    /// The user has too many already, or all have: `M_MAX_DELAYED_EVENTS_EXCEEDED`.
    #[error("too many events wait to be sent; at most {WAITING_MAX} of one user do")]
    TooMany,
    /// No event may be so large: `M_TOO_LARGE`.
    #[error("the event is too large")]
    TooLarge,
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The commit failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl From<WriteError<ReadError>> for ScheduleError {
    fn from(error: WriteError<ReadError>) -> Self {
        match error {
            WriteError::Refused(error) => Self::Read(error),
            WriteError::Commit(error) => Self::Commit(error),
        }
    }
}

/// Why a delayed event was not cancelled, restarted or sent.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// No event waits under this id (any more): `M_NOT_FOUND`.
    #[error("no event waits under this id")]
    NotFound,
    /// It was sent, and the room refused it.
    #[error(transparent)]
    Message(SendError),
    /// It was sent, and the room refused it.
    #[error(transparent)]
    State(PutStateError),
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The commit failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl From<WriteError<ReadError>> for UpdateError {
    fn from(error: WriteError<ReadError>) -> Self {
        match error {
            WriteError::Refused(error) => Self::Read(error),
            WriteError::Commit(error) => Self::Commit(error),
        }
    }
}
