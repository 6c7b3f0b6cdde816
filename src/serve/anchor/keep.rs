//! When the anchor is written: at start, once an interval, soon after critical acts, and again after a failure.

use super::CRITICAL;
use lamchat_audit::APPENDED;
use lamchat_store::Store;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Entries that are looked at for critical acts at a time; of more, some are taken to be critical.
const ENTRIES: usize = 200;

/// How long what takes.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// The anchor is this old at most.
    pub interval: Duration,
    /// Critical acts of this time share one write.
    pub coalesce: Duration,
    /// After a failure it is tried again.
    pub retry: Duration,
}

/// Calls `write` whenever it is time; it answers whether that is done. Ends with the runtime.
pub async fn keep<F: Future<Output = bool>>(store: Store, times: Times, mut write: impl FnMut() -> F) {
    let mut appended = store.watch(&[APPENDED]);
    let (mut due, mut seen) = (Instant::now(), 0);
    loop {
        if Instant::now() >= due {
            due = Instant::now() + if write().await { times.interval } else { times.retry };
            seen = lamchat_audit::log::size(&store.read()).unwrap_or(seen);
        }
        if timeout_at(due, appended.changed()).await.is_err() {
            continue;
        }
        tokio::time::sleep(times.coalesce).await;
        let read = store.read();
        match lamchat_audit::log::entries(&read, seen, ENTRIES) {
            Ok(entries) => {
                let critical = |act: &str| CRITICAL.iter().any(|start| act.starts_with(start));
                if entries.len() == ENTRIES || entries.iter().any(|(_, entry)| critical(&entry.act)) {
                    due = Instant::now();
                } else {
                    seen += entries.len() as u64;
                }
            }
            Err(error) => tracing::error!(%error, "the audit log cannot be read"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::super::TIMES;
    use super::{Times, keep};
    use lamchat_audit::{Actor, Entry, TABLES};
    use lamchat_store::Store;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, channel};
    use std::time::{Duration, Instant};

    /// Short enough to wait for, and longer than a busy machine keeps a thread waiting.
    const TEST: Times = Times {
        interval: Duration::from_secs(5),
        coalesce: Duration::from_millis(20),
        retry: Duration::from_millis(200),
    };
    const PATIENCE: Duration = Duration::from_secs(30);

    /// When it was written, on a thread of its own; the first `failures` writes fail.
    fn writes(store: &Store, failures: usize) -> Receiver<Instant> {
        let (told, heard) = channel();
        let (store, count) = (store.clone(), AtomicUsize::new(0));
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
            runtime.unwrap().block_on(async {
                let kept = keep(store, TEST, || {
                    let _gone = told.send(Instant::now());
                    let before = count.fetch_add(1, Ordering::Relaxed);
                    std::future::ready(before >= failures)
                });
                let _late = tokio::time::timeout(PATIENCE, kept).await;
            });
        });
        heard
    }

    fn act(store: &Store, act: &str) {
        let entry = Entry::new(1, Actor::Server, act);
        let appended = store.write_blocking(move |txn| lamchat_audit::append(txn, &entry));
        appended.unwrap();
    }

    fn gaps(written: &Receiver<Instant>, count: usize) -> Vec<Duration> {
        let times: Vec<Instant> = (0..=count).map(|_| written.recv_timeout(PATIENCE).unwrap()).collect();
        times.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }

    #[test]
    fn the_anchor_is_written_once_an_interval_and_again_after_failures() {
        assert_eq!(TIMES.interval, Duration::from_secs(3600));
        let store = Store::in_memory(TABLES).unwrap();
        let written = gaps(&writes(&store, 2), 4);
        assert!(
            written[..2]
                .iter()
                .all(|gap| *gap >= TEST.retry && *gap < TEST.interval),
            "{written:?}"
        );
        assert!(written[2..].iter().all(|gap| *gap >= TEST.interval), "{written:?}");
    }

    #[test]
    fn critical_acts_are_anchored_at_once_and_others_wait() {
        let store = Store::in_memory(TABLES).unwrap();
        let heard = writes(&store, 0);
        let first = heard.recv_timeout(PATIENCE).unwrap();
        for _ in 0..10 {
            act(&store, "token.create");
        }
        let second = heard.recv_timeout(PATIENCE).unwrap();
        assert!(second - first >= TEST.interval, "no act was critical");
        // Several share one write.
        for critical in ["user.admin", "keyring.add-slot", "update.apply"] {
            act(&store, critical);
        }
        let third = heard.recv_timeout(PATIENCE).unwrap();
        assert!(third - second < TEST.interval, "{:?}", third - second);
        let fourth = heard.recv_timeout(PATIENCE).unwrap();
        assert!(fourth - third >= TEST.interval, "{:?}", fourth - third);
    }
}
