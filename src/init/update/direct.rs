//! An update from a stick while the exchange does not answer: process 1 hands the bundle to an updater itself. It looks at
//! no byte of it; the updater checks it as every other.

use super::{Booted, command, start};
use crate::init::state::Shared;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

/// Longest answer of the updater.
const ANSWER_BYTES_MAX: u64 = 4 << 20;
/// How long the updater may work without a word: it reads a bundle twice and writes a release on a slow disk.
const WORK_TIME: Duration = Duration::from_secs(600);
/// How long it may not take any bytes.
const STALL_TIME: Duration = Duration::from_secs(60);
/// Bytes of a bundle that are sent at once.
const CHUNK_BYTES: usize = 256 << 10;

/// Has a bundle checked and staged; what it changes, as `lamchat update` shows it.
pub fn stage(shared: &Arc<Shared>, bundle: &mut dyn Read) -> Result<Value, String> {
    converse(updater(shared)?, &json!({"act": "stage"}), Some(bundle))
}

/// Has the staged bundle of this id installed; the machine starts again with it.
pub fn apply(shared: &Arc<Shared>, id: &str) -> Result<Value, String> {
    let question = json!({"act": "apply", "id": id, "restart": true});
    converse(updater(shared)?, &question, None)
}

/// Starts one for a single request; the way to it.
fn updater(shared: &Arc<Shared>) -> Result<UnixStream, String> {
    let (ours, theirs) = UnixStream::pair().map_err(|error| error.to_string())?;
    let mut command = command(Booted::of(shared)?)?;
    start(shared, command.stdin(OwnedFd::from(theirs))).map(drop)?;
    Ok(ours)
}

fn converse(mut stream: UnixStream, question: &Value, bundle: Option<&mut dyn Read>) -> Result<Value, String> {
    let text = |error: std::io::Error| format!("the updater: {error}");
    stream.set_write_timeout(Some(STALL_TIME)).map_err(text)?;
    stream.set_read_timeout(Some(WORK_TIME)).map_err(text)?;
    // It may refuse before it has taken everything; what it says then is the answer.
    let asked = stream.write_all(format!("{question}\n").as_bytes());
    if asked.is_ok()
        && let Some(bundle) = bundle
    {
        send(&mut stream, bundle)?;
    }
    // One that has ended is not connected any more.
    let _ended = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).map_err(text)?;
    let answer: Value = serde_json::from_slice(&answer).map_err(|_| "the updater ended without an answer")?;
    match answer.get("error").and_then(Value::as_str) {
        Some(error) => Err(error.to_owned()),
        None => Ok(answer),
    }
}

/// An error is the bundle's; an updater that takes no more says why in its answer.
fn send(stream: &mut UnixStream, bundle: &mut dyn Read) -> Result<(), String> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = bundle
            .read(&mut chunk)
            .map_err(|error| format!("the update did not arrive: {error}"))?;
        let part = chunk.get(..length).unwrap_or_default();
        if part.is_empty() || stream.write_all(part).is_err() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::thread::JoinHandle;

    /// An updater that reads everything, or the first line alone, and gives this answer; what it read.
    fn updater(reads_all: bool, answer: &'static str) -> (UnixStream, JoinHandle<Vec<u8>>) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let thread = std::thread::spawn(move || {
            let (mut bytes, limit) = (Vec::new(), if reads_all { u64::MAX } else { 16 });
            (&theirs).take(limit).read_to_end(&mut bytes).unwrap();
            theirs.write_all(answer.as_bytes()).unwrap();
            theirs.shutdown(Shutdown::Both).unwrap();
            bytes
        });
        (ours, thread)
    }

    #[test]
    fn a_bundle_arrives_whole() {
        let bundle = vec![7; 1 << 20];
        let (ours, thread) = updater(true, r#"{"id": "x"}"#);
        let answer = converse(ours, &json!({"act": "stage"}), Some(&mut bundle.as_slice()));
        assert_eq!(answer, Ok(json!({"id": "x"})));
        let read = thread.join().unwrap();
        let (line, rest) = read.split_at("{\"act\":\"stage\"}\n".len());
        assert_eq!((line, rest), (&b"{\"act\":\"stage\"}\n"[..], bundle.as_slice()));
    }

    #[test]
    fn a_refusal_an_end_and_a_stick_that_is_pulled_are_told() {
        let refusal = "{\"error\": \"another signer\"}";
        let bundle = vec![7; 8 << 20];
        let (ours, _thread) = updater(false, refusal);
        let refused = converse(ours, &json!({"act": "stage"}), Some(&mut bundle.as_slice()));
        assert!(refused.is_err());
        let (ours, _thread) = updater(true, refusal);
        let refused = converse(ours, &json!({"act": "show"}), None);
        assert_eq!(refused, Err("another signer".to_owned()));
        let (ours, _thread) = updater(true, "");
        let ended = converse(ours, &json!({"act": "show"}), None);
        assert_eq!(ended, Err("the updater ended without an answer".to_owned()));

        struct Pulled;
        impl Read for Pulled {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(std::io::Error::other("the stick is gone"))
            }
        }
        let (ours, _thread) = updater(true, "{}");
        let pulled = converse(ours, &json!({"act": "stage"}), Some(&mut Pulled));
        assert!(pulled.unwrap_err().contains("the stick is gone"));
    }
}
