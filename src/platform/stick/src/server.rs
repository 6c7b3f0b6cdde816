//! The process that has the stick: answers requests one after the other until its peer has gone.

use crate::volume::{Volume, VolumeError, is_readable};
use crate::wire::{Answer, Frame, Request, malformed, receive, send_content, send_end, send_json};
use std::fs::File;
use std::os::unix::net::UnixStream;

pub use crate::area::Limits;

/// Serves the file system of `device` on `stream`. Ends with `Ok` when the peer has ended or said so.
pub fn serve(device: File, stream: &mut UnixStream, limits: Limits) -> std::io::Result<()> {
    let opened = is_readable(&device).map_err(VolumeError::from);
    let mut volume = opened.and_then(|()| Volume::open(device, limits));
    while let Some(frame) = receive(stream)? {
        let Frame::Json(request) = frame else {
            return Err(malformed());
        };
        let request: Request = serde_json::from_slice(&request)?;
        if matches!(request, Request::Close) {
            let closed = volume.and_then(Volume::close);
            return send_json(stream, &done(closed));
        }
        match &mut volume {
            Ok(volume) => answer(volume, request, stream)?,
            Err(error) => send_json(stream, &failed(error))?,
        }
    }
    Ok(())
}

fn failed(error: &VolumeError) -> Answer {
    Answer::Failed {
        reason: error.to_string(),
    }
}

fn done(result: Result<(), VolumeError>) -> Answer {
    match result {
        Ok(()) => Answer::Done,
        Err(error) => failed(&error),
    }
}

fn answer(volume: &Volume, request: Request, stream: &mut UnixStream) -> std::io::Result<()> {
    let answer = match request {
        Request::About => volume.about().map(Answer::About),
        Request::List { path } => volume.list(&path).map(|entries| Answer::Entries { entries }),
        Request::MakeFolder { path } => volume.make_folder(&path).map(|()| Answer::Done),
        Request::Read { path, bytes_max } => return read(volume, &path, bytes_max, stream),
        Request::Write { path } => return write(volume, &path, stream),
        // Answered by the caller, who has the volume itself.
        Request::Close => Ok(Answer::Done),
    };
    send_json(stream, &answer.unwrap_or_else(|error| failed(&error)))
}

fn read(volume: &Volume, path: &str, bytes_max: u64, stream: &mut UnixStream) -> std::io::Result<()> {
    let mut reading = match volume.file(path, bytes_max) {
        Ok(reading) => reading,
        Err(error) => return send_json(stream, &failed(&error)),
    };
    send_json(stream, &Answer::File { bytes: reading.left })?;
    while reading.left > 0 {
        match reading.next() {
            Ok(bytes) => send_content(stream, &bytes)?,
            Err(error) => return send_json(stream, &failed(&error)),
        }
    }
    send_end(stream)
}

fn write(volume: &Volume, path: &str, stream: &mut UnixStream) -> std::io::Result<()> {
    let mut writing = match volume.create(path) {
        Ok(writing) => writing,
        Err(error) => return send_json(stream, &failed(&error)),
    };
    send_json(stream, &Answer::Ready)?;
    let mut result = Ok(());
    loop {
        match receive(stream)? {
            // After a failure the rest is taken and thrown away: the answer comes at the end.
            Some(Frame::Content(bytes)) if result.is_ok() => result = writing.push(&bytes),
            Some(Frame::Content(_)) => {}
            Some(Frame::End) => break,
            Some(Frame::Json(_)) => return Err(malformed()),
            // Whoever writes has gone; what is there of the file stays, and nobody was told that it is whole.
            None => return Ok(()),
        }
    }
    let result = result.and_then(|()| writing.finish());
    send_json(stream, &done(result))
}
