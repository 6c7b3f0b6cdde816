//! The timekeeper's process, as process 1 has it: started when there is something to ask, and anew when it fails.

use crate::init::state::Shared;
use crate::timekeeper::{ANSWER_BYTES_MAX, Told};
use lamchat_appliance::site::Time;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// The user of the timekeeper, which has nothing of its own.
pub const USER: u32 = 994;
/// How long a round may take: sixteen servers, some of which are silent.
const ROUND_MAX: Duration = Duration::from_secs(400);

/// The process and the pipes to it.
pub struct Keeper {
    pid: i32,
    input: ChildStdin,
    output: ChildStdout,
}

impl Keeper {
    /// Asks all servers once. After an error the process is gone.
    pub fn ask(running: &mut Option<Self>, shared: &Shared, time: &Time) -> Result<Vec<Told>, String> {
        let mut keeper = match running.take() {
            Some(keeper) => keeper,
            None => Self::start(shared)?,
        };
        match keeper.round(time) {
            Ok(told) => {
                *running = Some(keeper);
                Ok(told)
            }
            Err(error) => {
                // Under the lock and only while it is known, so that nobody else is hit who has its number by now.
                let known = shared.timekeeper.lock();
                if *known == Some(keeper.pid)
                    && let Err(errno) = kill(Pid::from_raw(keeper.pid), Signal::SIGKILL)
                {
                    shared.log.note(&format!("the timekeeper: {errno}"));
                }
                Err(error)
            }
        }
    }

    fn start(shared: &Shared) -> Result<Self, String> {
        let text = |error: std::io::Error| error.to_string();
        // Under the lock, so that the main loop does not reap it before it is known.
        let mut known = shared.timekeeper.lock();
        let mut child = Command::new("/proc/self/exe")
            .arg0("lamchat")
            .args(["timekeeper", "--user", &USER.to_string()])
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(text)?;
        let pid = i32::try_from(child.id()).map_err(|error| error.to_string())?;
        *known = Some(pid);
        let (input, output) = child.stdin.take().zip(child.stdout.take()).ok_or("it has no pipes")?;
        Ok(Self { pid, input, output })
    }

    fn round(&mut self, time: &Time) -> Result<Vec<Told>, String> {
        let mut question = serde_json::to_vec(time).map_err(|error| error.to_string())?;
        question.push(b'\n');
        // Longer than a pipe holds it is only once it does not read, and then it is killed for its silence.
        self.input.write_all(&question).map_err(|error| error.to_string())?;
        let (mut answer, mut part) = (Vec::new(), [0; 4096]);
        let end = Instant::now() + ROUND_MAX;
        while answer.last() != Some(&b'\n') {
            let left = end.saturating_duration_since(Instant::now());
            let left = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut waiting = [PollFd::new(self.output.as_fd(), PollFlags::POLLIN)];
            if poll(&mut waiting, left).map_err(|error| error.to_string())? == 0 {
                return Err("the timekeeper is silent".to_owned());
            }
            let length = self.output.read(&mut part).map_err(|error| error.to_string())?;
            if length == 0 || answer.len() + length > ANSWER_BYTES_MAX {
                return Err("the timekeeper ended".to_owned());
            }
            answer.extend(part.get(..length).unwrap_or_default());
        }
        serde_json::from_slice(&answer).map_err(|error| error.to_string())
    }
}
