//! One sync for all who wait for it: while one runs, the next group gathers.

use parking_lot::{Condvar, Mutex};
use std::collections::BTreeSet;
use std::io;

/// Failed rounds that are remembered for their waiters.
const FAILED_ROUNDS_MAX: usize = 64;

/// Runs syncs one after the other. A caller gets the result of the first sync that starts after it asked.
#[derive(Debug, Default)]
pub(crate) struct GroupSync {
    state: Mutex<State>,
    finished: Condvar,
}

#[derive(Debug, Default)]
struct State {
    started: u64,
    finished: u64,
    failed: BTreeSet<u64>,
}

impl GroupSync {
    /// Waits (blocking) until a sync that started after this call has ended; runs `sync` itself if nobody does.
    pub fn run(&self, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let mut state = self.state.lock();
        let round = state.started + 1;
        while state.finished < round {
            if state.started == state.finished && state.started + 1 == round {
                state.started = round;
                drop(state);
                let result = sync();
                let mut state = self.state.lock();
                state.finished = round;
                if result.is_err() {
                    state.failed.insert(round);
                    if state.failed.len() > FAILED_ROUNDS_MAX {
                        state.failed.pop_first();
                    }
                }
                drop(state);
                self.finished.notify_all();
                return result;
            }
            self.finished.wait(&mut state);
        }
        if state.failed.contains(&round) {
            Err(io::Error::other("the disk could not write a group of files"))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::GroupSync;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    #[test]
    fn everybody_is_covered_by_a_sync_that_started_later() {
        let (sync, written, synced, runs) = (
            GroupSync::default(),
            AtomicU64::new(0),
            AtomicU64::new(0),
            AtomicU64::new(0),
        );
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let mine = written.fetch_add(1, SeqCst) + 1;
                        let run = || {
                            let now = written.load(SeqCst);
                            std::thread::sleep(std::time::Duration::from_micros(50));
                            synced.fetch_max(now, SeqCst);
                            runs.fetch_add(1, SeqCst);
                            Ok(())
                        };
                        sync.run(run).unwrap();
                        assert!(synced.load(SeqCst) >= mine);
                    }
                });
            }
        });
        assert!(runs.load(SeqCst) < 1600);
    }

    #[test]
    fn a_failure_is_told_and_then_over() {
        let sync = GroupSync::default();
        assert!(sync.run(|| Err(std::io::ErrorKind::StorageFull.into())).is_err());
        assert!(sync.run(|| Ok(())).is_ok());
    }
}
