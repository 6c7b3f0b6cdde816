//! The requests: a line of JSON, behind it the bundle where one is handed over; the answer is JSON to the end.

use super::{Opened, RESTART, UNCHANGED, stage};
use crate::cli::Failure;
use lamchat_release::TOTAL_BYTES_MAX;
use lamchat_slots::Slots;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

/// Longest first line.
const LINE_BYTES_MAX: usize = 1024;
/// Bytes that are thrown away at once.
const DISCARD_CHUNK: usize = 65_536;
/// How long whoever sends may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
#[serde(tag = "act", rename_all = "kebab-case", deny_unknown_fields)]
enum Request {
    Stage,
    Show,
    Status,
    Apply { id: String, restart: bool },
}

/// Carries one out.
pub fn answer(opened: &mut Opened, stream: &mut UnixStream) -> Result<(Value, ExitCode), Failure> {
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    let done = |answer| Ok((answer, ExitCode::from(UNCHANGED)));
    match serde_json::from_slice(&line(stream)?)? {
        Request::Stage => {
            let checked = opened.stage().and_then(|()| stage::take(opened, stream));
            // Closing with something unread would take the answer back from whoever is still sending.
            discard(stream)?;
            done(stage::describe(opened, &checked?)?)
        }
        Request::Show => {
            opened.look()?;
            let checked = stage::again(opened)?.ok_or("no update is staged")?;
            done(stage::describe(opened, &checked)?)
        }
        Request::Status => {
            opened.look()?;
            done(status(opened)?)
        }
        Request::Apply { id, restart } => {
            opened.stage()?;
            opened.change()?;
            let checked = stage::again(opened)?.ok_or("no update is staged")?;
            if stage::id(&checked)? != id {
                return Err("another update was staged meanwhile: look at that one first".into());
            }
            let version = checked.header.version.to_string();
            let file = stage::install(opened, &checked)?;
            let code = if restart {
                ExitCode::from(RESTART)
            } else {
                ExitCode::SUCCESS
            };
            Ok((json!({"version": version, "file": file, "restart": restart}), code))
        }
    }
}

/// Says why nothing can be done, once the request was read.
pub fn refuse(stream: &mut UnixStream, reason: Failure) -> Result<(Value, ExitCode), Failure> {
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    stream.set_write_timeout(Some(SILENCE_MAX))?;
    discard(stream)?;
    Err(reason)
}

/// Reads to the end, and no longer than a bundle may be.
fn discard(stream: &mut UnixStream) -> Result<(), Failure> {
    let mut rest = stream.take(TOTAL_BYTES_MAX);
    let mut chunk = vec![0; DISCARD_CHUNK];
    while rest.read(&mut chunk)? > 0 {}
    Ok(())
}

/// The first line, without its end. Byte by byte: what follows belongs to the bundle.
fn line(stream: &mut UnixStream) -> Result<Vec<u8>, Failure> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < LINE_BYTES_MAX {
        stream.read_exact(&mut byte)?;
        match byte {
            [b'\n'] => return Ok(line),
            [byte] => line.push(byte),
        }
    }
    Err("the request is too long".into())
}

fn status(opened: &mut Opened) -> Result<Value, Failure> {
    let staged = match stage::again(opened) {
        Ok(checked) => checked.map(|checked| checked.header.version.to_string()),
        // One of before, which the release that runs does not take any more.
        Err(_) => None,
    };
    let mut slots = Slots::open(&mut opened.esp)?;
    let mut files = Vec::new();
    for entry in slots.list()? {
        // A file that was cut off tells nothing.
        let epoch = slots
            .look(&entry.name, |file| lamchat_release::uki::epoch(file))
            .unwrap_or_default();
        files.push(json!({
            "slot": entry.name.slot.to_string(),
            "file": entry.name.to_string(),
            "bytes": entry.bytes,
            "good": entry.name.tries.is_none(),
            "tries_left": entry.name.tries.map(|(left, _)| left),
            "runs": entry.name.slot == opened.running,
            "epoch": epoch,
        }));
    }
    Ok(json!({"running": opened.version.to_string(), "epoch": opened.epoch, "slots": files, "staged": staged}))
}
