//! What a process gives up before it reads what strangers send: files by Landlock, system calls by seccomp.
//!
//! Everything here binds the calling thread and what it starts later: call it before there are other threads. What each
//! process keeps is listed beside that process.

mod calls;
mod files;

pub use calls::{Calls, MEMORY_AND_TIME, OPEN_FILES};
pub use files::{Files, Keep, Place, close_files};

use nix::errno::Errno;

/// Why something could not be given up; the process must not go on.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Landlock (landlock(7)).
    #[error("the files could not be closed: {0}")]
    Files(#[from] landlock::RulesetError),
    /// A place that must stay open is not there.
    #[error("a place that stays open cannot be opened: {0}")]
    Place(#[from] landlock::PathFdError),
    /// seccomp(2).
    #[error("the system calls could not be closed: {0}")]
    Calls(#[from] seccompiler::Error),
    /// A rule for a system call.
    #[error("the list of system calls cannot be used: {0}")]
    List(#[from] seccompiler::BackendError),
    /// `PR_SET_NO_NEW_PRIVS` (prctl(2)).
    #[error("privileges could not be given up: {0}")]
    Privileges(#[from] Errno),
}
