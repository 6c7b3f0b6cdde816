//! A backup of data that can only be read any more: by a process that opens them as the exchange does, and writes nothing.
//! The backup has an end mark of its own, so that one which broke off is not taken for whole.

use super::exchange;
use super::service::follow;
use super::state::{Event, Shared};
use std::io::{Error, Read, Result};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// How long the exchange may take to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Begins one; its bytes. The exchange ends, if it runs: it could acknowledge nothing.
pub fn stream(shared: &Arc<Shared>) -> std::result::Result<Box<dyn Read>, String> {
    let (sender, ended) = sync_channel(1);
    shared.tell(Event::StopExchange(sender));
    ended
        .recv_timeout(PATIENCE)
        .map_err(|_| "the exchange does not end: try again")?;
    start(shared).map_err(|error| format!("what saves the data does not start: {error}"))
}

fn start(shared: &Arc<Shared>) -> Result<Box<dyn Read>> {
    let program = exchange::program();
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("lamchat")
        .args(["rescue", "--config"])
        .arg(exchange::config_file())
        .env_clear()
        .envs(program.environment)
        .current_dir(program.folder)
        .stdin(Stdio::null())
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
    Ok(Box::new(bytes))
}
