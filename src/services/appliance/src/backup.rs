//! Making a backup while the exchange runs.

use crate::frame::{FRAME_BYTES, FrameCipher, Header};
use crate::record::{Counts, Record};
use bytes::Bytes;
use lamchat_base::{Entropy, Secret};
use lamchat_holder::{AskError, Client, Reason};
use lamchat_media::{Extent, Media, StoredError};
use lamchat_seal::{DataKeys, ExportError, Keyring, SecretError};
use lamchat_store::{ReadError, Snapshot, Store};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Media is copied in pieces of this size.
const PIECE_BYTES: u64 = 256 * 1024;

/// What is backed up.
#[derive(Clone)]
pub struct Source {
    /// The database.
    pub store: Store,
    /// Media.
    pub media: Media,
    /// The data keys, under which small secrets are.
    pub keys: Arc<DataKeys>,
    /// Whoever has the keyring.
    pub keyring: Arc<dyn KeyringSource>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The server's name; a restore shows it.
    pub server_name: String,
    /// The time, in milliseconds since 1970.
    pub now_ms: u64,
    /// Whether media that the disk cannot read are noted as missing: of a damaged disk everything else is still wanted.
    pub is_damaged: bool,
}

/// What a backup needs of the keyring. Calls block.
pub trait KeyringSource: Send + Sync + 'static {
    /// The keyring with those slots alone that a person can open.
    fn export(&self) -> Result<Vec<u8>, PrepareError>;

    /// The key of one backup, which has its own random `salt`.
    fn key(&self, salt: &[u8; 32]) -> Result<Secret<32>, PrepareError>;
}

impl KeyringSource for Client {
    fn export(&self) -> Result<Vec<u8>, PrepareError> {
        self.export_for_backup().map_err(|error| match error {
            AskError::Refused(Reason::NoPortableSlot, _) => ExportError::NoPortableSlot.into(),
            error => error.into(),
        })
    }

    fn key(&self, salt: &[u8; 32]) -> Result<Secret<32>, PrepareError> {
        Ok(self.backup_key(salt)?)
    }
}

impl KeyringSource for Keyring {
    fn export(&self) -> Result<Vec<u8>, PrepareError> {
        Ok(self.export_for_backup()?)
    }

    fn key(&self, salt: &[u8; 32]) -> Result<Secret<32>, PrepareError> {
        Ok(self.backup_key(salt))
    }
}

/// Why no backup can begin. Says what to do.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The keyring has no slot that a backup may hold.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The key holder does not give the keyring.
    #[error(transparent)]
    Holder(#[from] AskError),
    /// A sealed secret cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The list of media cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Whoever takes the stream wants no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("whoever asked for the backup is gone")]
pub struct Stopped;

/// Why a backup broke off. What was written of it cannot be restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The receiver is gone.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The database could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Media could not be read.
    #[error(transparent)]
    Media(#[from] StoredError),
}

/// A backup that is ready to be streamed: everything at one position.
pub struct Backup {
    source: Source,
    snapshot: Snapshot,
    secrets: Vec<(String, Vec<u8>)>,
    extents: Vec<Extent>,
    header: Header,
    key: Secret<32>,
}

impl Backup {
    /// Takes the snapshot. Blocks while the rows of media are listed. Refused without a recovery or passphrase slot.
    pub fn prepare(source: Source) -> Result<Self, PrepareError> {
        // First of all what is most likely to refuse; the export that counts comes last.
        source.keyring.export()?;
        let snapshot = source.store.snapshot();
        let mut extents = Media::extents(snapshot.reader())?;
        extents.sort();
        let secrets = source.keys.sealed_secrets()?;
        let mut salt = [0u8; 32];
        source.entropy.fill(&mut salt);
        // After everything that is encrypted under its keys: keys are only ever added.
        let header = Header {
            salt,
            keyring: source.keyring.export()?,
        };
        let key = source.keyring.key(&header.salt)?;
        Ok(Self {
            source,
            snapshot,
            secrets,
            extents,
            header,
            key,
        })
    }

    /// Streams the backup: `emit` takes its bytes piece by piece. Blocks; `emit` may take its time.
    pub fn run(self, emit: &mut dyn FnMut(Bytes) -> Result<(), Stopped>) -> Result<Counts, BackupError> {
        let Self {
            source,
            snapshot,
            secrets,
            extents,
            header,
            key,
        } = self;
        let header_frame = header.encode();
        let cipher = FrameCipher::new(&key, &header_frame);
        let mut out = Frames {
            emit,
            cipher,
            frame: Vec::with_capacity(FRAME_BYTES * 2),
            counts: Counts::default(),
        };
        out.send(&header_frame)?;
        out.add(&Record::About {
            created_ms: source.now_ms,
            position: snapshot.position().0,
            epoch: snapshot.epoch().0,
            server_name: &source.server_name,
        })?;
        for (name, file) in &secrets {
            out.add(&Record::Secret { name, file })?;
        }
        for extent in extents {
            copy(&source, extent, &mut out)?;
        }
        let (mut table, mut result) = (None, Ok(()));
        snapshot.rows(&mut |of, key, value| {
            // The name goes before the first row of each table.
            let named = if table.replace(of) == Some(of) {
                Ok(())
            } else {
                out.add(&Record::Table { name: of.name })
            };
            result = named.and_then(|()| out.add(&Record::Row { key, value }));
            if result.is_ok() {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        result?;
        out.finish()
    }
}

/// Copies an extent. One that is gone, because its row was removed after the snapshot, is noted.
fn copy(source: &Source, extent: Extent, out: &mut Frames<'_>) -> Result<(), BackupError> {
    let mut done = 0;
    let mut buffer = vec![0u8; PIECE_BYTES.min(extent.length) as usize];
    while done < extent.length {
        buffer.truncate((extent.length - done).min(PIECE_BYTES) as usize);
        let offset = extent.offset + done;
        match source.media.read_extent(&extent.file, offset, &mut buffer) {
            Ok(()) => out.add(&Record::Media {
                file: &extent.file,
                offset,
                bytes: &buffer,
            })?,
            Err(StoredError::Io(_)) if source.is_damaged => return out.add(&Record::MediaMissing { extent }),
            Err(StoredError::Missing(_)) => return out.add(&Record::MediaMissing { extent }),
            Err(error) => return Err(error.into()),
        }
        done += buffer.len() as u64;
    }
    Ok(())
}

/// Gathers records to frames and sends them.
struct Frames<'e> {
    emit: &'e mut dyn FnMut(Bytes) -> Result<(), Stopped>,
    cipher: FrameCipher,
    frame: Vec<u8>,
    counts: Counts,
}

impl Frames<'_> {
    fn add(&mut self, record: &Record<'_>) -> Result<(), BackupError> {
        self.counts.add(record);
        record.encode(&mut self.frame);
        if self.frame.len() >= FRAME_BYTES {
            self.cipher.seal(&mut self.frame, false);
            self.flush()?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Counts, BackupError> {
        Record::End(self.counts).encode(&mut self.frame);
        self.cipher.seal(&mut self.frame, true);
        self.flush()?;
        // A frame of no bytes tells the writer of parts that the stream is complete.
        self.send(&[])?;
        Ok(self.counts)
    }

    fn flush(&mut self) -> Result<(), BackupError> {
        let frame = std::mem::take(&mut self.frame);
        self.send(&frame)?;
        self.frame = frame;
        self.frame.clear();
        Ok(())
    }

    fn send(&mut self, frame: &[u8]) -> Result<(), BackupError> {
        let mut bytes = Vec::with_capacity(4 + frame.len());
        bytes.extend_from_slice(&(frame.len() as u32).to_be_bytes());
        bytes.extend_from_slice(frame);
        Ok((self.emit)(bytes.into())?)
    }
}
