//! The other half of a mirror gets what the half has that was started from: releases, counters, what is marked good.

use super::{FOLLOW_MAX, FOLLOWED, Post, RESTART, confine, esp, lock, partition};
use crate::cli::Failure;
use lamchat_slots::Slots;
use nix::fcntl::FlockArg;
use std::path::Path;
use std::process::ExitCode;

/// Makes the slots of `other` like those of the one that was started from, once no update is under way; others may look at
/// that one meanwhile.
pub fn run(post: &Post, other: &Path) -> Result<ExitCode, Failure> {
    let (mut device, file) = esp(post)?;
    lock(&file, FlockArg::LockSharedNonblock, FOLLOW_MAX)?;
    let (other, file) = partition(other)?;
    lock(&file, FlockArg::LockExclusiveNonblock, FOLLOW_MAX)?;
    confine(post)?;
    let mut from = Slots::open(&mut device)?;
    let written = Slots::open(other)?.follow(&mut from)?.written;
    let restarts = post.restart_if_written && written > 0;
    Ok(ExitCode::from(if restarts { RESTART } else { FOLLOWED }))
}
