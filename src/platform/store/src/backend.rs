//! The encrypting file beneath redb. It must never write a sector whose other blocks change with it.

use crate::xts::{SECTOR, SectorCipher};
use lamchat_disk::File;
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;

const SECTOR_BYTES: u64 = SECTOR as u64;

/// redb's file.
pub(crate) struct EncryptedBackend {
    file: Arc<dyn File>,
    cipher: Arc<SectorCipher>,
    /// Held while part of a sector is replaced.
    replacing: Mutex<()>,
}

impl std::fmt::Debug for EncryptedBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("EncryptedBackend").field(&self.file).finish()
    }
}

impl EncryptedBackend {
    /// On an open file.
    pub(crate) fn new(file: Arc<dyn File>, cipher: Arc<SectorCipher>) -> Self {
        Self {
            file,
            cipher,
            replacing: Mutex::new(()),
        }
    }

    /// The whole sectors around a range, decrypted, and where the range starts in them.
    fn read_around(&self, offset: u64, length: usize) -> io::Result<(Vec<u8>, u64, usize)> {
        let first = offset / SECTOR_BYTES;
        let inset = usize::try_from(offset % SECTOR_BYTES).map_err(io::Error::other)?;
        let mut sectors = vec![0; (inset + length).next_multiple_of(SECTOR)];
        self.file.read_at(first * SECTOR_BYTES, &mut sectors)?;
        self.cipher.decrypt(&mut sectors, first);
        Ok((sectors, first, inset))
    }
}

fn outside() -> io::Error {
    io::Error::other("outside of the sectors that were read")
}

impl redb::StorageBackend for EncryptedBackend {
    fn len(&self) -> io::Result<u64> {
        self.file.size()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset.is_multiple_of(SECTOR_BYTES) && out.len().is_multiple_of(SECTOR) {
            self.file.read_at(offset, out)?;
            self.cipher.decrypt(out, offset / SECTOR_BYTES);
            return Ok(());
        }
        let (sectors, _, inset) = self.read_around(offset, out.len())?;
        out.copy_from_slice(sectors.get(inset..inset + out.len()).ok_or_else(outside)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if !len.is_multiple_of(SECTOR_BYTES) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "the database file consists of whole sectors",
            ));
        }
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if offset.is_multiple_of(SECTOR_BYTES) && data.len().is_multiple_of(SECTOR) {
            let mut sealed = data.to_vec();
            self.cipher.encrypt(&mut sealed, offset / SECTOR_BYTES);
            return self.file.write_at(offset, &sealed);
        }
        let _replacing = self.replacing.lock();
        let (mut sectors, first, inset) = self.read_around(offset, data.len())?;
        sectors
            .get_mut(inset..inset + data.len())
            .ok_or_else(outside)?
            .copy_from_slice(data);
        self.cipher.encrypt(&mut sectors, first);
        self.file.write_at(first * SECTOR_BYTES, &sectors)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::EncryptedBackend;
    use crate::xts::SectorCipher;
    use lamchat_base::Secret;
    use lamchat_disk::Disk;
    use lamchat_disk::simulation::{Dice, SimulatedDisk};
    use redb::StorageBackend;
    use std::path::Path;
    use std::sync::Arc;

    #[test]
    fn any_range_reads_as_written() {
        let file = SimulatedDisk::new(1).create(Path::new("/f")).unwrap();
        let backend = EncryptedBackend::new(file, Arc::new(SectorCipher::new(&Secret::new([7; 64]))));
        let size = 40_960;
        backend.set_len(size as u64).unwrap();
        assert!(backend.set_len(100).is_err());
        let mut model = vec![0u8; size];
        let mut dice = Dice::new(2);
        for _ in 0..300 {
            let (start, length) = if dice.below(2) == 0 {
                (dice.below(10) as usize * 4096, 4096)
            } else {
                let start = dice.below(size as u64) as usize;
                (start, dice.below((size - start) as u64 + 1).min(9000) as usize)
            };
            let data: Vec<u8> = (0..length).map(|_| dice.roll() as u8).collect();
            backend.write(start as u64, &data).unwrap();
            model[start..start + length].copy_from_slice(&data);
            let start = dice.below(size as u64) as usize;
            let mut found = vec![0; dice.below((size - start) as u64) as usize];
            backend.read(start as u64, &mut found).unwrap();
            assert_eq!(found, model[start..start + found.len()]);
        }
        assert!(backend.read(size as u64 - 1, &mut [0; 2]).is_err());
    }
}
