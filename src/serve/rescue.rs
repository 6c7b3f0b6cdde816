//! A backup of a folder that can only be read, such as one of a file system that had errors. The exchange does not run.
//! What opening changes stays in memory; what the log has and the database has not is in the backup.

use super::wiring::tables;
use super::{Start, StartError, confined, refused, settings};
use lamchat_appliance::{Backup, Folders, KeyringSource, Source, Stopped};
use lamchat_base::{Clock, Entropy};
use lamchat_disk::{Disk, Overlay, RealDisk};
use lamchat_holder::{Client, Opened};
use lamchat_host::{OsEntropy, SystemClock};
use lamchat_media::Media;
use lamchat_seal::DataKeys;
use lamchat_store::Store;
use std::io::Write;
use std::sync::Arc;

/// Changes that are kept in memory: a start after a power cut writes what the log has, some 64 MiB of pages at most.
const CHANGED_BYTES_MAX: usize = 256 << 20;

/// Writes it. An error means that what was written cannot be restored.
pub fn run(start: &Start, out: &mut dyn Write) -> Result<(), StartError> {
    let holder = confined::begin(start)?;
    let source = open(start, &holder.client)?;
    let backup = Backup::prepare(source).map_err(refused)?;
    let mut failed = None;
    let counts = backup.run(&mut |bytes| {
        out.write_all(&bytes).map_err(|error| {
            failed = Some(error);
            Stopped
        })
    });
    match (counts, failed) {
        (Ok(counts), _) => {
            tracing::info!(?counts, "the data were saved");
            Ok(())
        }
        (Err(_), Some(error)) => Err(StartError::io("whoever takes the backup")(error)),
        (Err(error), None) => Err(refused(error)),
    }
}

/// Everything that a backup is made of.
fn open(start: &Start, holder: &Arc<Client>) -> Result<Source, StartError> {
    let released = match holder.open(false).map_err(refused)? {
        Opened::Keys { keys, .. } => keys,
        Opened::Locked { reason, .. } => return Err(StartError::Refused(reason)),
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
    let disk: Arc<dyn Disk> = Arc::new(Overlay::new(RealDisk::shared(), CHANGED_BYTES_MAX));
    let folders = Folders::below(&start.config.data_dir);
    let keys = DataKeys::new(Arc::clone(&disk), &folders.data, Arc::clone(&entropy), released);
    let keys = Arc::new(keys);
    // The start that was to put the database under new keys may not have come.
    let former = lamchat_store::key_of(&folders.store, &keys.former_database_keys());
    let key = match former.map_err(StartError::io(folders.store.display().to_string()))? {
        Some(former) => former,
        None => keys.database_key().map_err(refused)?,
    };
    let options = lamchat_store::Options {
        dir: folders.store,
        key,
        tables: tables(),
        progress: lamchat_store::Progress::default(),
    };
    let store = Store::open_as_it_is(Arc::clone(&disk), options).map_err(refused)?;
    let media = Media::open_on(
        disk,
        settings::media(&start.config.media, folders.media),
        store.clone(),
        Arc::clone(&keys),
        Arc::clone(&clock),
        Arc::clone(&entropy),
    );
    Ok(Source {
        store,
        media: media.map_err(refused)?,
        keys,
        keyring: Arc::clone(holder) as Arc<dyn KeyringSource>,
        entropy,
        server_name: start.config.server_name.to_string(),
        now_ms: clock.now_ms(),
        is_damaged: true,
    })
}
