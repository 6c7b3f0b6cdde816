//! Tells the service manager that the exchange is alive, as long as it is: `WatchdogSec=` in its unit.

use super::tell;
use lamchat_host::Notice;
use lamchat_store::Store;
use std::convert::Infallible;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// How often it is told within the time that the service manager waits.
const TELLS: u32 = 3;

/// Tells it from now on. With a store only as long as the store's one writer comes to its queue, which is what hangs when
/// a disk does; a disk that is full or broken answers, and is no reason to start anew.
pub fn feed(store: Option<Store>) -> JoinHandle<()> {
    tokio::spawn(async move {
        // Without a service manager that waits there is nothing to do.
        if let Some(within) = lamchat_host::watchdog_interval() {
            feed_within(within, store, || tell(Notice::Watchdog)).await;
        }
    })
}

async fn feed_within(within: Duration, store: Option<Store>, told: impl Fn()) {
    let pause = within / TELLS;
    let mut ticks = interval(pause);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let answered = match &store {
            Some(store) => timeout(pause, store.write(|_| Ok::<(), Infallible>(()))).await.is_ok(),
            None => true,
        };
        if answered {
            told();
        } else {
            tracing::error!("the database's writer does not answer; the service manager is not told that all is well");
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::feed_within;
    use lamchat_base::Secret;
    use lamchat_store::{Options, Store};
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    #[tokio::test(flavor = "multi_thread")]
    async fn it_stays_silent_while_the_writer_hangs() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(Options {
            dir: folder.path().to_owned(),
            key: Secret::new([1; 64]),
            tables: Vec::new(),
            progress: lamchat_store::Progress::default(),
        });
        let store = store.unwrap();
        let told = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&told);
        let feeding = feed_within(Duration::from_millis(60), Some(store.clone()), move || {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        let feeding = tokio::spawn(feeding);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(told.load(Ordering::SeqCst) > 1);

        let (release, hanging) = std::sync::mpsc::channel::<()>();
        let (started, hangs) = tokio::sync::oneshot::channel();
        let other = store.clone();
        let hang = tokio::spawn(async move {
            let hang = move |_: &mut lamchat_store::WriteTxn<'_>| {
                started.send(()).unwrap();
                hanging.recv().unwrap();
                Ok::<(), Infallible>(())
            };
            other.write(hang).await.unwrap();
        });
        hangs.await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let silent = told.load(Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(told.load(Ordering::SeqCst), silent);

        release.send(()).unwrap();
        hang.await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(told.load(Ordering::SeqCst) > silent);
        feeding.abort();
    }
}
