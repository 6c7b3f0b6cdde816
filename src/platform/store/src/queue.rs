//! The queue before the one writer: many senders, one taker that takes all that wait at once.

use crate::write::WriteTxn;
use crate::{CommitError, WriteError};
use parking_lot::{Condvar, Mutex};
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio::sync::Notify;

/// Writes that may wait at most; whoever comes then waits outside. Each is a request in flight.
const QUEUED_MAX: usize = 16_384;

/// A write in the queue, whatever its closure answers.
pub(crate) trait Job: Send {
    /// Runs the closure; `true` if its changes are to be kept.
    fn run(&mut self, txn: &mut WriteTxn<'_>) -> bool;
    /// Answers whoever waits: what the closure gave, if `committed`.
    fn answer(self: Box<Self>, committed: Result<(), CommitError>);
}

/// A closure, what it gave, and the one who waits for it.
pub(crate) struct Change<F, T, E, A> {
    change: Option<F>,
    outcome: Option<Result<T, E>>,
    answer: A,
}

impl<F, T, E, A> Change<F, T, E, A> {
    /// A write that has not run yet.
    pub(crate) fn new(change: F, answer: A) -> Self {
        Self {
            change: Some(change),
            outcome: None,
            answer,
        }
    }
}

impl<F, T, E, A> Job for Change<F, T, E, A>
where
    F: FnOnce(&mut WriteTxn<'_>) -> Result<T, E> + Send,
    T: Send,
    E: Send,
    A: FnOnce(Result<T, WriteError<E>>) + Send,
{
    fn run(&mut self, txn: &mut WriteTxn<'_>) -> bool {
        let Some(change) = self.change.take() else { return false };
        // The changes of a closure that panicked are dropped with its transaction, so nothing half-done is seen.
        self.outcome = catch_unwind(AssertUnwindSafe(|| change(txn))).ok();
        matches!(self.outcome, Some(Ok(_)))
    }

    fn answer(self: Box<Self>, committed: Result<(), CommitError>) {
        let result = match (committed, self.outcome) {
            (Err(error), _) => Err(WriteError::Commit(error)),
            (Ok(()), Some(Ok(value))) => Ok(value),
            (Ok(()), Some(Err(refusal))) => Err(WriteError::Refused(refusal)),
            (Ok(()), None) => Err(WriteError::Commit(CommitError::Panicked)),
        };
        (self.answer)(result);
    }
}

#[derive(Default)]
struct Waiting {
    jobs: Vec<Box<dyn Job>>,
    closed: bool,
}

/// The queue.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    filled: Condvar,
    emptied: Condvar,
    emptied_async: Notify,
}

impl Queue {
    fn try_push(&self, job: Box<dyn Job>) -> Result<(), Option<Box<dyn Job>>> {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            drop(waiting);
            job.answer(Err(CommitError::Closed));
            return Err(None);
        }
        if waiting.jobs.len() >= QUEUED_MAX {
            return Err(Some(job));
        }
        waiting.jobs.push(job);
        let first = waiting.jobs.len() == 1;
        drop(waiting);
        if first {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Adds a job; waits while the queue is full. A job that comes after the end is answered at once.
    pub(crate) async fn push(&self, mut job: Box<dyn Job>) {
        loop {
            let emptied = self.emptied_async.notified();
            match self.try_push(job) {
                Err(Some(back)) => job = back,
                Ok(()) | Err(None) => return,
            }
            emptied.await;
        }
    }

    /// Like [`Queue::push`], for threads that may block.
    pub(crate) fn push_blocking(&self, mut job: Box<dyn Job>) {
        loop {
            match self.try_push(job) {
                Err(Some(back)) => job = back,
                Ok(()) | Err(None) => return,
            }
            let mut waiting = self.waiting.lock();
            self.emptied.wait_while(&mut waiting, |waiting| {
                waiting.jobs.len() >= QUEUED_MAX && !waiting.closed
            });
        }
    }

    /// Moves all that wait to the end of `jobs`; sleeps until there is something. `false` once the queue is closed and empty.
    pub(crate) fn take(&self, jobs: &mut Vec<Box<dyn Job>>) -> bool {
        let mut waiting = self.waiting.lock();
        self.filled
            .wait_while(&mut waiting, |waiting| waiting.jobs.is_empty() && !waiting.closed);
        self.hand_over(waiting, jobs)
    }

    /// Moves all that wait to the end of `jobs` without sleeping.
    pub(crate) fn take_waiting(&self, jobs: &mut Vec<Box<dyn Job>>) {
        let waiting = self.waiting.lock();
        self.hand_over(waiting, jobs);
    }

    fn hand_over(&self, mut waiting: parking_lot::MutexGuard<'_, Waiting>, jobs: &mut Vec<Box<dyn Job>>) -> bool {
        let was_full = waiting.jobs.len() >= QUEUED_MAX;
        let open = !waiting.jobs.is_empty() || !waiting.closed;
        jobs.append(&mut waiting.jobs);
        drop(waiting);
        if was_full {
            self.emptied.notify_all();
            self.emptied_async.notify_waiters();
        }
        open
    }

    /// No job is accepted from now on; those that wait are still carried out.
    pub(crate) fn close(&self) {
        self.waiting.lock().closed = true;
        self.filled.notify_all();
        self.emptied.notify_all();
        self.emptied_async.notify_waiters();
    }
}
