//! What the updater gives up before it reads anything that it is sent: all files by name, and all system calls but those
//! for what is open already, its locks, and waiting for them.

use crate::cli::Failure;
use lamchat_sandbox::{Calls, MEMORY_AND_TIME, OPEN_FILES, close_files};
use nix::libc;

/// Gives it up. A kernel without Landlock has the list of system calls alone.
pub fn close() -> Result<(), Failure> {
    close_files(&[])?;
    let calls = Calls::of(&[
        MEMORY_AND_TIME,
        OPEN_FILES,
        &[libc::SYS_flock, libc::SYS_clock_nanosleep],
    ]);
    Ok(calls.and_memory_without_code()?.close_others()?)
}
