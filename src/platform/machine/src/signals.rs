//! What process 1 is told by signals, and the processes whose end it has to notice.

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Those that mean something: the end of a process, and the ways in which the kernel or an operator asks for an end.
const WANTED: [Signal; 4] = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGPWR];

/// Waits for signals; the only thread that gets them.
#[derive(Debug)]
pub struct Signals(SigSet);

impl Signals {
    /// Call it before any thread is started, so that each inherits the mask. Programs that are started from here inherit it,
    /// too, and must take signals again themselves.
    pub fn block() -> Result<Self, Errno> {
        let set: SigSet = WANTED.into_iter().collect();
        set.thread_block()?;
        Ok(Self(set))
    }

    /// The next one; blocks until it comes.
    pub fn wait(&self) -> Result<Signal, Errno> {
        self.0.wait()
    }
}

/// A process that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Which.
    pub pid: i32,
    /// Its exit code, or the signal that ended it as a negative number.
    pub code: i32,
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match Signal::try_from(self.code.saturating_neg()) {
            Ok(signal) if self.code < 0 => write!(f, "ended by {signal}"),
            _ => write!(f, "exit code {}", self.code),
        }
    }
}

/// Every process that has ended since the last call, our own and those that were left to process 1.
pub fn reap() -> Vec<Ended> {
    let mut ended = Vec::new();
    loop {
        match waitpid(None::<Pid>, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => ended.push(Ended {
                pid: pid.as_raw(),
                code,
            }),
            Ok(WaitStatus::Signaled(pid, signal, _)) => ended.push(Ended {
                pid: pid.as_raw(),
                code: -(signal as i32),
            }),
            Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return ended,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Ended;

    #[test]
    fn ends_are_told_in_words() {
        assert_eq!(Ended { pid: 2, code: 1 }.to_string(), "exit code 1");
        assert_eq!(Ended { pid: 2, code: -9 }.to_string(), "ended by SIGKILL");
    }
}
