//! The authenticated frames of a backup, wherever its parts are: decrypted, counted, and not believed before the last one.

use crate::backup::KeyringSource;
use crate::frame::{FrameCipher, Header};
use crate::part_reader::PartReader;
use crate::rack::Rack;
use crate::record::{Counts, Record};
use crate::restore::RestoreError;
use lamchat_base::Secret;
use lamchat_seal::{BackupKeyring, Unlock};
use std::path::Path;

/// The first frame, as it is read and as it is.
pub(crate) fn header(parts: &mut PartReader<'_>) -> Result<(Header, Vec<u8>), RestoreError> {
    let frame = parts.frame()?.ok_or(RestoreError::Truncated)?;
    let header = Header::decode(&frame).ok_or(RestoreError::Malformed("it does not start like a backup"))?;
    Ok((header, frame))
}

/// Authenticated frames of a backup.
pub(crate) struct Frames<'r> {
    parts: PartReader<'r>,
    cipher: FrameCipher,
}

impl<'r> Frames<'r> {
    /// By what opens the backup's keyring.
    pub fn unlock(rack: &'r mut dyn Rack, name: &Path, unlock: &Unlock) -> Result<(Self, BackupKeyring), RestoreError> {
        let (parts, header, frame) = Self::begin(rack, name)?;
        let keyring = BackupKeyring::open(&header.keyring, unlock)?;
        Ok((Self::of(parts, &keyring.backup_key(&header.salt), &frame), keyring))
    }

    /// By the keyring itself.
    pub fn under(rack: &'r mut dyn Rack, name: &Path, keyring: &dyn KeyringSource) -> Result<Self, RestoreError> {
        let (parts, header, frame) = Self::begin(rack, name)?;
        Ok(Self::of(parts, &keyring.key(&header.salt)?, &frame))
    }

    fn begin(rack: &'r mut dyn Rack, name: &Path) -> Result<(PartReader<'r>, Header, Vec<u8>), RestoreError> {
        let mut parts = PartReader::open(rack, name)?;
        let (header, frame) = header(&mut parts)?;
        Ok((parts, header, frame))
    }

    fn of(parts: PartReader<'r>, key: &Secret<32>, header_frame: &[u8]) -> Self {
        let cipher = FrameCipher::new(key, header_frame);
        Self { parts, cipher }
    }

    /// Hands every record to `take` and checks that all of them are there.
    pub fn records(
        &mut self,
        take: &mut dyn FnMut(Record<'_>) -> Result<(), RestoreError>,
    ) -> Result<Counts, RestoreError> {
        let (mut counts, mut end, mut number) = (Counts::default(), None, 0u64);
        let mut next = self.parts.frame()?;
        while let Some(mut frame) = next {
            // A last frame that is followed by another one, or the reverse, does not authenticate.
            next = self.parts.frame()?;
            number += 1;
            let last = next.is_none();
            let truncated = || {
                if last {
                    RestoreError::Truncated
                } else {
                    RestoreError::Tampered(number)
                }
            };
            let mut clear = self.cipher.open(&mut frame, last).map_err(|_| truncated())?;
            while !clear.is_empty() {
                let record = Record::decode(&mut clear).ok_or(RestoreError::Malformed("a record does not parse"))?;
                counts.add(&record);
                if let Record::End(told) = record {
                    end = Some(told);
                }
                take(record)?;
            }
        }
        match end {
            None => Err(RestoreError::Truncated),
            Some(told) if told != counts => Err(RestoreError::Malformed("its counts do not fit")),
            Some(_) => Ok(counts),
        }
    }
}
