//! Which images the box may start, and raising the security floor above those that have a known fault.
//!
//! Process 1 does not believe the exchange which images there are, nor does it read the EFI system partition itself: an
//! updater does, which has given up everything else.

use super::keys;
use super::state::Shared;
use super::update::{self, Booted};
use lamchat_holder::{BOOTABLE_MAX, Typed};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Deserialize;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{ChildStdout, Stdio};
use std::time::{Duration, Instant};

/// How long the updater may look.
const LOOK_MAX: Duration = Duration::from_secs(60);
/// Longest answer.
const ANSWER_BYTES_MAX: usize = 4096;

/// What the updater found, as it says it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Found {
    Epochs(Vec<u64>),
    Error(String),
}

/// The security epochs of all images that the box may start; none where it was started from no slot.
pub fn bootable(shared: &Shared) -> Result<Vec<u64>, String> {
    match Booted::of(shared) {
        Ok(booted) => look(shared, booted),
        Err(_) => Ok(Vec::new()),
    }
}

/// Raises the floor, if all of them meet it.
pub fn raise(shared: &Shared, floor: u64) -> Result<(), String> {
    let bootable = look(shared, Booted::of(shared)?)?;
    keys::typed(&Typed::RaiseFloorOnBox { floor, bootable })?;
    shared.log.note(&format!("the security floor is {floor}"));
    Ok(())
}

/// On every disk of a mirror: the firmware may start from each.
fn look(shared: &Shared, booted: &Booted) -> Result<Vec<u64>, String> {
    let mut all = look_at(shared, booted, &booted.esp())?;
    for other in booted.others(shared) {
        all.extend(look_at(shared, booted, &other)?);
    }
    if all.len() > BOOTABLE_MAX {
        return Err("there are too many images in the slots".to_owned());
    }
    Ok(all)
}

fn look_at(shared: &Shared, booted: &Booted, esp: &Path) -> Result<Vec<u64>, String> {
    let mut command = update::command_on(booted, esp)?;
    command.arg("--epochs").stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = update::start(shared, &mut command)?;
    let output = child.stdout.take().ok_or("the updater has no output")?;
    let answer = read(output, LOOK_MAX).inspect_err(|_| {
        if let Err(error) = child.kill() {
            shared.log.note(&format!("an updater that does not answer: {error}"));
        }
    })?;
    epochs(&answer)
}

fn epochs(answer: &[u8]) -> Result<Vec<u64>, String> {
    match serde_json::from_slice(answer).map_err(|error| format!("the updater does not tell what it found: {error}"))? {
        Found::Epochs(epochs) if epochs.is_empty() => Err("there is no image in the slots".to_owned()),
        Found::Epochs(epochs) if epochs.len() > BOOTABLE_MAX => {
            Err("there are too many images in the slots".to_owned())
        }
        Found::Epochs(epochs) => Ok(epochs),
        Found::Error(error) => Err(error),
    }
}

/// Everything until the other end closes it.
fn read(mut from: ChildStdout, patience: Duration) -> Result<Vec<u8>, String> {
    let text = |error: std::io::Error| error.to_string();
    let since = Instant::now();
    let mut answer = Vec::new();
    let mut chunk = [0; 512];
    loop {
        let left = patience
            .checked_sub(since.elapsed())
            .ok_or("the updater does not answer")?;
        let left = PollTimeout::try_from(left).map_err(|error| error.to_string())?;
        poll(&mut [PollFd::new(from.as_fd(), PollFlags::POLLIN)], left).map_err(|error| text(error.into()))?;
        if since.elapsed() >= patience {
            continue;
        }
        let count = from.read(&mut chunk).map_err(text)?;
        if count == 0 {
            return Ok(answer);
        }
        answer.extend_from_slice(chunk.get(..count).unwrap_or_default());
        if answer.len() > ANSWER_BYTES_MAX {
            return Err("the updater says too much".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::epochs;

    #[test]
    fn the_updaters_answer_is_taken_as_a_whole_or_not_at_all() {
        assert_eq!(epochs(br#"{"epochs":[5,6]}"#), Ok(vec![5, 6]));
        assert_eq!(epochs(br#"{"error":"why"}"#), Err("why".to_owned()));
        for answer in [
            "",
            "{}",
            r#"{"epochs":[]}"#,
            r#"{"epochs":[5"#,
            r#"{"epochs":[-1]}"#,
            r#"{"epochs":[5]} 6"#,
        ] {
            assert!(epochs(answer.as_bytes()).is_err(), "{answer}");
        }
        let many: Vec<String> = (0..1000).map(|epoch| epoch.to_string()).collect();
        assert!(epochs(format!(r#"{{"epochs":[{}]}}"#, many.join(",")).as_bytes()).is_err());
    }
}
