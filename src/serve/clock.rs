//! The clock never starts before the last commit: on the box process 1 sets it, which alone may, before anybody is told a
//! time. From then on every commit brings its time along.

use super::{StartError, refused};
use lamchat_api_admin::site::ask_process_1;
use lamchat_base::Clock;
use lamchat_store::Store;
use serde_json::json;
use std::path::Path;
use std::sync::Arc;

/// Sees to it that the clock is not before the last commit. Without process 1 that is a warning: the clock is the
/// system's business there.
pub async fn raise(store: &Store, clock: &Arc<dyn Clock>, process_1: Option<&Path>) -> Result<(), StartError> {
    let last = store.last_commit_ms().map_err(refused)?;
    if let Some(last) = last.filter(|last| clock.now_ms() < *last) {
        match process_1 {
            Some(socket) => ask(socket, last).await?,
            None => tracing::warn!(
                seconds = (last - clock.now_ms().min(last)) / 1000,
                "the system's clock is before the last commit of this server: set it"
            ),
        }
    }
    store.stamp_commits(Arc::clone(clock));
    Ok(())
}

/// Process 1 may know better, and says so in its log. One that does not answer is no reason to serve with a wrong clock.
async fn ask(socket: &Path, last: u64) -> Result<(), StartError> {
    let question = json!({"act": "raise-clock", "at_least_ms": last});
    let answer = ask_process_1(socket, &question)
        .await
        .map_err(StartError::io("process 1 was to set the clock"))?;
    if let Some(why) = answer.get("error") {
        tracing::warn!(%why, "process 1 does not set the clock to the last commit's time");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use lamchat_base::ManualClock;
    use lamchat_store::{ReadError, Table};
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;
    use std::sync::mpsc::{Receiver, channel};

    const ROWS: Table = Table::new(100, "test.rows");

    /// A store whose last commit was made at `ms`.
    async fn committed_at(ms: u64) -> Store {
        let store = Store::in_memory(&[ROWS]).unwrap();
        store.stamp_commits(Arc::new(ManualClock::new(ms)));
        let put = store.write(|txn| {
            txn.put(ROWS, b"a", "1");
            Ok::<_, ReadError>(())
        });
        put.await.unwrap();
        store
    }

    /// A process 1 that gives one answer, and what it was asked.
    fn process_1(socket: &Path, answer: &'static str) -> Receiver<String> {
        let listener = UnixListener::bind(socket).unwrap();
        let (sender, asked) = channel();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            sender.send(line).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        asked
    }

    fn clock(ms: u64) -> Arc<dyn Clock> {
        Arc::new(ManualClock::new(ms))
    }

    #[tokio::test]
    async fn process_1_is_asked_only_if_the_clock_is_behind() {
        let folder = tempfile::tempdir().unwrap();
        let nobody = folder.path().join("nobody");
        let store = committed_at(5_000).await;
        // Nobody is there to ask, and nobody is asked.
        raise(&store, &clock(5_000), Some(&nobody)).await.unwrap();
        let empty = Store::in_memory(&[ROWS]).unwrap();
        raise(&empty, &clock(0), Some(&nobody)).await.unwrap();
        // Somebody has to be asked.
        assert!(raise(&store, &clock(4_999), Some(&nobody)).await.is_err());
        // Elsewhere than on a box it is said.
        raise(&store, &clock(4_999), None).await.unwrap();
        for answer in ["{}", r#"{"error":"the servers know better"}"#] {
            let socket = folder.path().join(format!("{}.sock", answer.len()));
            let asked = process_1(&socket, answer);
            raise(&store, &clock(4_999), Some(&socket)).await.unwrap();
            let expected = "{\"act\":\"raise-clock\",\"at_least_ms\":5000}\n";
            assert_eq!(asked.recv().unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn from_the_start_on_commits_have_their_time() {
        let store = Store::in_memory(&[ROWS]).unwrap();
        raise(&store, &clock(7), None).await.unwrap();
        let put = store.write(|txn| {
            txn.put(ROWS, b"a", "1");
            Ok::<_, ReadError>(())
        });
        put.await.unwrap();
        assert_eq!(store.last_commit_ms().unwrap(), Some(7));
    }
}
