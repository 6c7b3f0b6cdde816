//! A backup onto a stick: the exchange's stream, cut into parts; where the data can only be read, that of a process which
//! does nothing else.

use super::{Signs, choose, tell};
use crate::init::console::screen::Screen;
use crate::init::state::Shared;
use crate::init::stick::Deposit;
use crate::init::{exchange, rescue};
use lamchat_appliance::{PART_BYTES_MAX, PartWriter, Shelf};
use std::io::{Error, Read};
use std::path::Path;
use std::sync::Arc;

/// Bytes that are taken at once.
const CHUNK: usize = 256 << 10;

impl Shelf for &mut Deposit {
    fn begin(&mut self, name: &str) -> std::io::Result<()> {
        Deposit::create(self, name).map_err(Error::other)
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        Deposit::push(self, bytes).map_err(Error::other)
    }

    fn end(&mut self) -> std::io::Result<()> {
        Deposit::end(self).map_err(Error::other)
    }

    fn finish(&mut self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        Deposit::add(self, name, bytes).map_err(Error::other)
    }
}

/// Makes one.
pub fn run(screen: &mut Screen, shared: &Arc<Shared>) -> std::io::Result<()> {
    let Some(disk) = choose(screen)? else { return Ok(()) };
    screen.page(
        "Backup",
        "Everything of the exchange, encrypted; it opens with the recovery key. Do not pull the stick.",
    )?;
    let made = Deposit::begin(shared, &disk, "backup").and_then(|deposit| make(screen, shared, deposit));
    tell(screen, made)
}

fn make(screen: &mut Screen, shared: &Arc<Shared>, mut deposit: Deposit) -> Result<String, String> {
    let folder = deposit.folder.clone();
    let incomplete = |error: String| format!("{error}\n\nWhat is in {folder} on the stick is incomplete: delete it.");
    write(screen, shared, &mut deposit).map_err(incomplete)?;
    let mut signs = Signs::new(screen, "Reading back");
    let (files, bytes) = deposit.finish(&mut |bytes| signs.at(bytes)).map_err(incomplete)?;
    Ok(format!(
        "{bytes} bytes in {files} files were written into {folder} and read back right. The stick may be pulled.\n\nA new \
         box takes it at its set-up (\"Restore a backup from a stick\"). On a computer, `lamchat backup verify` checks it \
         with the recovery key, and `lamchat restore` restores it."
    ))
}

fn write(screen: &mut Screen, shared: &Arc<Shared>, deposit: &mut Deposit) -> Result<(), String> {
    let mut stream = if shared.is_read_only() {
        rescue::stream(shared)?
    } else {
        exchange::stream("POST", "/_lamchat/admin/v1/backup").map_err(|error| error.0)?
    };
    let mut signs = Signs::new(screen, "Writing");
    let folder = deposit.folder.clone();
    let mut writer = PartWriter::onto(Box::new(deposit), Path::new(&folder), PART_BYTES_MAX);
    let (mut buffer, mut total) = (vec![0; CHUNK], 0);
    loop {
        let length = stream
            .read(&mut buffer)
            .map_err(|error| format!("the backup broke off: {error}"))?;
        let Some(bytes) = buffer.get(..length).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        writer.push(bytes).map_err(|error| error.to_string())?;
        total += length as u64;
        signs.at(total);
    }
    writer.finish().map(drop).map_err(|error| error.to_string())
}
