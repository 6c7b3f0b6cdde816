//! Marks: what the keyring says of records that lie beside it. A sealed record cannot be forged, but it can be deleted, and
//! whoever finds none takes the next one for the first. The keyring is authenticated and cannot be missed, so it says which
//! records there are.
//!
//! A mark is a data key that encrypts nothing: programs of before keep keys whose purpose they do not know. One that changes
//! rarely and is short says itself what its record says: the security floor.

use crate::format::{Ring, WrappedKey};
use crate::keyring::{Keyring, KeyringError, random_key};
use std::io;

/// The purpose number of marks.
pub(crate) const MARK: u8 = 7;
/// The number of the mark that is the security floor: 24 zeros, then the floor.
const FLOOR: u32 = 5;

/// One of the holder's own secrets that is there for good once it was made ([`Keyring::keep_own`]), or a fact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// Where the anchor is in the TPM.
    Anchor,
    /// The last heads of the audit log that were signed.
    Heads,
    /// The audit log's software key.
    SoftwareKey,
    /// Which key signs the audit log, where it was not always the software key.
    Signing,
    /// That a box asks for a PIN beside its TPM, while no slot says so. It has no secret of its own.
    Pin,
}

impl Mark {
    const ALL: [(Self, u32, &str); 5] = [
        (Self::Anchor, 1, "anchor"),
        (Self::Heads, 2, "audit-heads"),
        (Self::SoftwareKey, 3, "audit-key"),
        (Self::Signing, 4, "audit-signing"),
        (Self::Pin, 6, "pin"),
    ];

    /// The mark of the secret with this name.
    pub fn of(name: &str) -> Option<Self> {
        let mut all = Self::ALL.iter();
        all.find(|(_, _, known)| *known == name).map(|(mark, ..)| *mark)
    }

    /// The number of its key.
    fn number(self) -> u32 {
        let mut all = Self::ALL.iter();
        all.find(|(mark, ..)| *mark == self).map_or(0, |(_, number, _)| *number)
    }

    fn is(self, key: &WrappedKey) -> bool {
        key.purpose == MARK && key.number == self.number()
    }
}

impl Keyring {
    /// Whether the keyring has this mark.
    pub fn has_mark(&self, mark: Mark) -> bool {
        self.ring.read().keys.iter().any(|key| mark.is(key))
    }

    /// Sets marks, which is to be done once their records are durable and before anything comes of them. Durable on return;
    /// nothing is written where all are set already.
    pub fn set_marks(&self, marks: &[Mark]) -> io::Result<()> {
        if marks.iter().all(|mark| self.has_mark(*mark)) {
            return Ok(());
        }
        let changing = self.changing.lock();
        let mut ring = self.ring.read().clone();
        marks.iter().for_each(|mark| self.add_mark(&mut ring, *mark));
        self.store(ring)?;
        drop(changing);
        Ok(())
    }

    /// Takes a mark out, which is to be done before the record goes. Durable on return.
    pub fn take_mark(&self, mark: Mark) -> io::Result<()> {
        let changing = self.changing.lock();
        let mut ring = self.ring.read().clone();
        let before = ring.keys.len();
        ring.keys.retain(|key| !mark.is(key));
        if ring.keys.len() < before {
            self.store(ring)?;
        }
        drop(changing);
        Ok(())
    }

    /// The highest security floor that was kept.
    pub fn floor(&self) -> Result<Option<u64>, KeyringError> {
        let ring = self.ring.read();
        let Some(wrapped) = ring.keys.iter().find(|key| is_floor(key)) else {
            return Ok(None);
        };
        let key = self.unwrap_key::<32>(&ring, wrapped)?;
        let floor = key.expose().last_chunk().copied().ok_or(KeyringError::Damaged)?;
        Ok(Some(u64::from_be_bytes(floor)))
    }

    /// Keeps a security floor, unless a higher one is kept. Durable on return.
    pub fn keep_floor(&self, floor: u64) -> Result<(), KeyringError> {
        if self.floor()? >= Some(floor) {
            return Ok(());
        }
        let changing = self.changing.lock();
        let mut ring = self.ring.read().clone();
        let key = [&[0; 24][..], &floor.to_be_bytes()].concat();
        ring.keys.retain(|key| !is_floor(key));
        ring.keys.push(self.wrap_as(&ring, MARK, FLOOR, &key));
        self.store(ring)?;
        drop(changing);
        Ok(())
    }

    pub(crate) fn add_mark(&self, ring: &mut Ring, mark: Mark) {
        if !ring.keys.iter().any(|key| mark.is(key)) {
            let key = self.wrap_as(ring, MARK, mark.number(), random_key(&*self.entropy).expose());
            ring.keys.push(key);
        }
    }
}

fn is_floor(key: &WrappedKey) -> bool {
    (key.purpose, key.number) == (MARK, FLOOR)
}
