//! A backup of data that can only be read any more: by a process that opens them as the exchange does, and writes nothing.

use super::exchange;
use super::service::follow;
use super::state::{Event, Shared};
use std::io::{Error, Read, Result};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// What the process says when its backup is whole: an end alone may be its death.
pub const DONE: &[u8] = b"done";
/// How long the exchange may take to end, and the process to say so behind its last byte.
const PATIENCE: Duration = Duration::from_secs(30);

/// The backup's bytes. An end that is not its own is an error.
pub struct Stream {
    bytes: ChildStdout,
    end: UnixStream,
}

/// Begins one. The exchange ends, if it runs: it could acknowledge nothing.
pub fn stream(shared: &Arc<Shared>) -> std::result::Result<Stream, String> {
    let (sender, ended) = sync_channel(1);
    shared.tell(Event::StopExchange(sender));
    ended
        .recv_timeout(PATIENCE)
        .map_err(|_| "the exchange does not end: try again")?;
    start(shared).map_err(|error| format!("what saves the data does not start: {error}"))
}

fn start(shared: &Arc<Shared>) -> Result<Stream> {
    let (end, theirs) = UnixStream::pair()?;
    end.set_read_timeout(Some(PATIENCE))?;
    let program = exchange::program();
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("lamchat")
        .args(["rescue", "--config"])
        .arg(exchange::config_file())
        .env_clear()
        .envs(program.environment)
        .current_dir(program.folder)
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .gid(program.group)
        .uid(program.user);
    let mut child = shared.start_helper("what saves the data", &mut command)?;
    if let Some(output) = child.stderr.take() {
        let log = Arc::clone(&shared.log);
        let thread = std::thread::Builder::new().name("log".to_owned());
        thread.spawn(move || follow(output, "rescue", &log))?;
    }
    let bytes = child.stdout.take().ok_or_else(|| Error::other("no output"))?;
    // Its own end was the child's copy.
    drop(command);
    Ok(Stream { bytes, end })
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let length = self.bytes.read(buffer)?;
        if length == 0 && !buffer.is_empty() {
            let mut said = Vec::new();
            (&self.end).take(DONE.len() as u64).read_to_end(&mut said)?;
            if said != DONE {
                return Err(Error::other("what saves the data ended too early; the log says why"));
            }
        }
        Ok(length)
    }
}
