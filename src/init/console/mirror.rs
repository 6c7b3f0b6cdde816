//! The mirror on the console: how it is, and a disk that is added to it.

use super::screen::{Echo, Screen};
use crate::init::mirror;
use crate::init::state::Shared;
use std::sync::Arc;

/// Hundredths between two reports of progress.
const REPORT: u64 = 10;

/// Shows how the mirror is, and adds a disk where one is missing.
pub fn run(screen: &mut Screen, shared: &Arc<Shared>) -> std::io::Result<()> {
    let found = shared.disk.lock().clone();
    let Some(found) = found.filter(|found| found.mirror.is_some()) else {
        screen.page("The mirror", "This box was set up on one disk.")?;
        return screen.pause();
    };
    let reading = shared.mirror.lock().clone();
    let mut text = reading.map_or_else(|| "Not looked at yet.".to_owned(), |reading| reading.to_string());
    if found.members.len() > 1 {
        screen.page("The mirror", &text)?;
        return screen.pause();
    }
    text.push_str("\n\nA disk that is added loses what is on it, and is filled while the box goes on.\n\n");
    let disks = mirror::candidates(&found);
    for disk in &disks {
        let why = match disk.refusal {
            Some(refusal) => format!("no: {refusal}"),
            None => disk.content.clone(),
        };
        text.push_str(&format!("{:<8} {:<18} {why}\n", disk.name, disk.model));
    }
    if disks.is_empty() {
        text.push_str("There is no other disk in this machine.");
    }
    screen.page("The mirror", &text)?;
    if disks.is_empty() {
        return screen.pause();
    }
    let question = "Type the name of the disk to add; Esc goes back";
    let Some(name) = screen.ask(question, Echo::Shown)? else {
        return Ok(());
    };
    screen.print("\r\n Copying what the firmware starts:")?;
    let mut last = 0;
    let added = mirror::add(shared, name.trim(), &mut |done| {
        let step = done / REPORT;
        if step > last {
            last = step;
            // A terminal that has gone away is no reason to leave a disk half written.
            drop(screen.print(&format!(" {} %", step * REPORT)));
        }
    });
    match added {
        Ok(()) => screen.page(
            "Added",
            "The disk is being filled; the status screen says how far it is.",
        )?,
        Err(error) => screen.page("Not added", &error)?,
    }
    screen.pause()
}
