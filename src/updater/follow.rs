//! The other half of a mirror gets what the half has that was started from: releases, counters, what is marked good.

use super::{FOLLOWED, Opened, Post, RESTART, confine};
use crate::cli::Failure;
use lamchat_slots::{FileDevice, Slots};
use std::fs::OpenOptions;
use std::path::Path;
use std::process::ExitCode;

/// Makes the slots of `other` like those of the one that was started from; once no update is under way.
pub fn run(post: &Post, other: &Path) -> Result<ExitCode, Failure> {
    let mut opened = Opened::open(post)?;
    let device = OpenOptions::new().read(true).write(true).open(other);
    let device = device.map_err(|error| Failure(format!("{}: {error}", other.display())))?;
    let device = FileDevice::new(device)?;
    confine(post)?;
    let mut from = Slots::open(&mut opened.esp)?;
    let written = Slots::open(device)?.follow(&mut from)?.written;
    let restarts = post.restart_if_written && written > 0;
    Ok(ExitCode::from(if restarts { RESTART } else { FOLLOWED }))
}
