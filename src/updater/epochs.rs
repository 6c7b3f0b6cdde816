//! `--epochs`: the security epochs of all images in the slots, for process 1, which believes nobody else.

use super::{Failure, Post, confine};
use crate::cli::output;
use lamchat_slots::{FileDevice, Slots};
use serde_json::json;
use std::fs::File;

/// Prints them, or why they are not known, in a line of JSON.
pub fn run(post: &Post) -> Result<(), Failure> {
    let found = open(post).and_then(|mut esp| look(&mut esp));
    output::line(match found {
        Ok(epochs) => json!({"epochs": epochs}).to_string(),
        Err(Failure(error)) => json!({"error": error}).to_string(),
    });
    Ok(())
}

/// The partition, for reading alone, once everything else is given up.
fn open(post: &Post) -> Result<FileDevice, Failure> {
    let esp = File::open(&post.esp).map_err(|error| Failure(format!("{}: {error}", post.esp.display())))?;
    let esp = FileDevice::new(esp)?;
    confine(post)?;
    Ok(esp)
}

/// Also of those that the boot loader has given up: it may start them when nothing else is left.
fn look(esp: &mut FileDevice) -> Result<Vec<u64>, Failure> {
    let mut slots = Slots::open(esp)?;
    let mut epochs = Vec::new();
    for entry in slots.list()? {
        let file = &entry.name;
        let epoch = slots.look(file, |image| lamchat_release::uki::epoch(image));
        let epoch = epoch.map_err(|error| Failure(format!("{file} does not tell its security epoch: {error}")))?;
        epochs.push(epoch.ok_or_else(|| Failure(format!("{file} does not tell its security epoch")))?);
    }
    Ok(epochs)
}
