//! The firmware's entries that start this box's disks. Without them it finds the disks by itself, after whatever else it
//! tries first: a network, often for minutes. So nothing here is worth a start: what the firmware refuses is in the log.

use super::disk::Found;
use super::state::Shared;
use lamchat_machine::efi::{Start, Variables, boot_order};
use lamchat_machine::gpt::{self, GptError};
use std::path::Path;

/// Entries for the box's disks. Those of ours that start anything else go, unless a disk is only away.
pub fn keep(shared: &Shared, found: &Found) {
    let mut starts = Vec::new();
    for member in &found.members {
        let position = found.mirror.as_ref().and_then(|mirror| mirror.position(&member.ids));
        match start(&member.disk, position) {
            Ok(start) => starts.extend(start),
            Err(error) => shared.log.note(&format!("no entry in the firmware: {error}")),
        }
    }
    let is_complete = starts.len() == found.members.len() && !found.misses_a_half();
    write(shared, &starts, is_complete);
}

/// An entry for a disk that the image was written to just now. Two of them are alike and have one.
pub fn installed(shared: &Shared, disk: &Path) {
    match start(disk, None) {
        Ok(start) => write(shared, start.as_slice(), true),
        Err(error) => shared.log.note(&format!("no entry in the firmware: {error}")),
    }
}

fn write(shared: &Shared, starts: &[Start], only: bool) {
    let variables = Variables::of_machine();
    if starts.is_empty() || !variables.are_there() {
        return;
    }
    match boot_order::keep(&variables, starts, only) {
        Ok(true) => shared.log.note("the firmware has an entry that starts this box"),
        Ok(false) => {}
        Err(error) => shared.log.note(&format!(
            "the firmware took no entry that starts this box, and finds the disk when it comes to it: {error}"
        )),
    }
}

/// What starts from the EFI system partition of a disk; none without one. `position`: of a half.
fn start(disk: &Path, position: Option<usize>) -> Result<Option<Start>, GptError> {
    let description = match position {
        None => Start::NAME.to_owned(),
        Some(position) => format!("{}, disk {}", Start::NAME, position + 1),
    };
    let (block, partitions) = gpt::read_with_block(disk)?;
    let esp = partitions.into_iter().find(|one| one.kind == gpt::ESP_KIND);
    Ok(esp.map(|esp| Start {
        description,
        number: esp.number,
        first_block: esp.offset / block,
        blocks: esp.length / block,
        id: esp.id,
    }))
}
