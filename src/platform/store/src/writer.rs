//! The one writer: runs the writes that wait as a group, makes them durable, publishes them, answers.

use crate::changes::ChangeSet;
use crate::queue::Job;
use crate::shared::Shared;
use crate::stamp::stamp;
use crate::write::WriteTxn;
use crate::{CommitError, Position, Topic};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Writes in one group at most.
const GROUP_WRITES_MAX: usize = 1024;

/// Makes groups durable before they are published.
pub(crate) trait Durable: Send {
    /// Writes the changes of a group, which gets `sequence`, and syncs. On an error nothing of them may come back.
    fn append(&mut self, sequence: u64, position: Position, changes: &ChangeSet) -> Result<(), CommitError>;

    /// Called when a group was published.
    fn published(&mut self) {}
}

/// For stores in memory: nothing outlives the process.
pub(crate) struct Fleeting;

impl Durable for Fleeting {
    fn append(&mut self, _: u64, _: Position, _: &ChangeSet) -> Result<(), CommitError> {
        Ok(())
    }
}

/// A write of the group that has run.
struct Ran {
    job: Box<dyn Job>,
    /// An error that concerns this write alone.
    fault: Option<CommitError>,
}

/// The loop of the writer thread. Ends when the queue is closed and empty.
pub(crate) fn run(shared: &Arc<Shared>, log: &mut dyn Durable) {
    let mut waiting: Vec<Box<dyn Job>> = Vec::new();
    loop {
        if waiting.is_empty() {
            if !shared.queue.take(&mut waiting) {
                return;
            }
        } else {
            shared.queue.take_waiting(&mut waiting);
        }
        let rest = waiting.split_off(waiting.len().min(GROUP_WRITES_MAX));
        let group = std::mem::replace(&mut waiting, rest);
        // Closures catch their own panics. One here is a fault of the store: what is durable is no longer certain,
        // so nothing more is accepted. Whoever waits is answered, as its job is dropped.
        if catch_unwind(AssertUnwindSafe(|| carry_out(shared, log, group))).is_err() {
            tracing::error!("the writer failed; the store takes no more changes until it is opened again");
            shared.queue.close();
            shared.queue.take_waiting(&mut waiting);
            return;
        }
    }
}

/// Runs, saves, publishes and answers one group.
fn carry_out(shared: &Shared, log: &mut dyn Durable, jobs: Vec<Box<dyn Job>>) {
    let view = shared.view.load_full();
    let mut group = ChangeSet::default();
    // Positions of writes that were refused or lost are not issued again: somebody may have seen them.
    let mut position = shared.issued();
    let mut touched: Vec<Topic> = Vec::new();
    let mut epoch = None;
    let mut ran = Vec::with_capacity(jobs.len());
    for mut job in jobs {
        let mut txn = WriteTxn::new(&group, &view, position);
        let keep = job.run(&mut txn);
        let written = txn.finish();
        position = written.position;
        let fault = written.fault.map(|fault| {
            tracing::error!(%fault, "a write was dropped");
            CommitError::Panicked
        });
        if keep && fault.is_none() {
            group.absorb(written.changes);
            touched.extend(written.touched);
            epoch = written.epoch.or(epoch);
        }
        ran.push(Ran { job, fault });
    }
    shared.issue(position);
    let committed = if group.is_empty() {
        Ok(())
    } else {
        if let Some(clock) = shared.stamp.get() {
            stamp(&mut group, &**clock);
        }
        let sequence = view.sequence + 1;
        log.append(sequence, position, &group)
            .inspect(|()| shared.publish(group, sequence, position))
    };
    drop(view);
    if let (Ok(()), Some(epoch)) = (&committed, epoch) {
        shared.epoch.store(epoch, Ordering::Release);
    }
    if committed.is_ok() {
        touched.sort_unstable();
        touched.dedup();
        shared.watchers.wake(&touched);
    }
    log.published();
    for Ran { job, fault } in ran {
        job.answer(match fault {
            Some(fault) => Err(fault),
            None => committed.clone(),
        });
    }
}
