//! The process that reads a backup for the set-up of a box: it gets the bytes of another process, and has no stick. It
//! knows nothing of the disk either: it looks at the backup before there is anything that it could write, and fills an open
//! folder in the place of the exchange, confined as that one is.

use super::{Start, StartError, confined, refused, wiring};
use lamchat_appliance::{Carried, KeyringSource, Outcome, RestoreError, RestoreUnder, beginning, restore_under};
use lamchat_disk::RealDisk;
use lamchat_holder::Opened;
use lamchat_host::OsEntropy;
use lamchat_sandbox::{Calls, MEMORY_AND_TIME, OPEN_FILES, close_files};
use lamchat_seal::DataKeys;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

/// What the backup is called in errors: its place is the carrier's to know.
const NAME: &str = "the backup";

/// Tells what can be known without a key, with nothing but the socket.
pub fn look(stream: UnixStream) -> Result<(), StartError> {
    close_files(&[]).map_err(refused)?;
    let calls = Calls::of(&[MEMORY_AND_TIME, OPEN_FILES]).and_memory_without_code();
    calls.and_then(Calls::close_others).map_err(refused)?;
    let mut carried = Carried::new(stream);
    let found = beginning(&mut carried, Path::new(NAME)).map(Outcome::from);
    end(carried, found)
}

/// Restores it below the data folder of the configuration, under the keyring that the key holder has got of it.
pub fn fill(start: &Start, stream: UnixStream) -> Result<(), StartError> {
    let holder = confined::begin(start)?;
    let keys = match holder.client.open(false).map_err(refused)? {
        Opened::Keys { keys, .. } => keys,
        Opened::Locked { reason, .. } => return Err(StartError::Refused(reason)),
    };
    let data_dir = start.config.data_dir.clone();
    let place = RestoreUnder {
        keys: DataKeys::new(RealDisk::shared(), &data_dir, Arc::new(OsEntropy), keys),
        data_dir,
        keyring: &*holder.client as &dyn KeyringSource,
        tables: wiring::tables(),
    };
    let mut carried = Carried::new(stream);
    let restored = restore_under(&mut carried, Path::new(NAME), place).map(Outcome::from);
    if let Ok(Outcome::Restored { rows, media_bytes, .. }) = &restored {
        tracing::info!(rows, media_bytes, "the backup was restored");
    }
    end(carried, restored)
}

/// Why something was refused is for whoever stands at the console.
fn end(carried: Carried, result: Result<Outcome, RestoreError>) -> Result<(), StartError> {
    let outcome = result.unwrap_or_else(|error| Outcome::Failed {
        reason: error.to_string(),
    });
    carried.end(&outcome).map_err(StartError::io("whoever has the backup"))
}
