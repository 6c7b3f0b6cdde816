//! The TPM's non-volatile memory: a counter against rollback, and certificates. The anchor is in `anchor.rs`.
//!
//! A fresh counter starts above the highest value that any counter of this TPM ever had (Part 1, 37.2.3): it may be
//! deleted and made anew, and still no old value comes back. Values are only ever compared with the one at sealing.

use crate::bytes::Reader;
use crate::error::{NvFault, TpmError};
use crate::session::{Auth, Session};
use crate::tpm::Tpm;
use crate::wire::{self, Handle, Kind, NvPublic, Property, Request};
use std::ops::RangeInclusive;

/// Most bytes of one index that are read: certificates have one or two thousand.
pub const NV_READ_BYTES_MAX: u16 = 8192;
/// Read at a time where the TPM does not say what it can.
const CHUNK_BYTES: u16 = 512;

/// A counter as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter {
    /// The NV index.
    pub index: u32,
    /// The name of the written index, which policies contain.
    pub name: [u8; 34],
    /// The present value.
    pub value: u64,
}

/// Why a counter cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CounterError {
    /// Something else lives under this index.
    #[error("the NV index {0:#x} is taken by something that is not our counter")]
    Foreign(u32),
    /// Every index of a range is taken.
    #[error("the TPM's NV indices from {0:#x} to {1:#x} are all taken; `tpm2_nvundefine` frees one that nothing uses")]
    Full(u32, u32),
    /// The TPM refused.
    #[error(transparent)]
    Tpm(#[from] TpmError),
}

impl Tpm {
    /// Makes a new counter at the first free index of `indices`, so that it belongs to nobody else.
    pub fn new_counter(&mut self, indices: RangeInclusive<u32>) -> Result<Counter, CounterError> {
        let (first, last) = (*indices.start(), *indices.end());
        for index in indices {
            if self.nv_public(index)?.is_none() {
                return self.ensure_counter(index);
            }
        }
        Err(CounterError::Full(first, last))
    }

    /// Makes the counter at `index` if there is none, and increments it once so that it has a value. A counter that is
    /// there already stays as it is.
    pub fn ensure_counter(&mut self, index: u32) -> Result<Counter, CounterError> {
        self.scope(|tpm| {
            let wanted = NvPublic::counter(index)?;
            let (root, public) = tpm.storage_root()?;
            let mut session = tpm.session(Kind::Hmac, &root, &public)?;
            let found = match tpm.nv_public(index)? {
                Some(found) => found,
                None => {
                    tpm.run_as_owner(&wire::nv_define(&wanted, &[])?, &mut session, true)?;
                    tpm.nv_public(index)?.ok_or(TpmError::Missing)?
                }
            };
            if !found.is_like(&wanted) {
                return Err(CounterError::Foreign(index));
            }
            if !found.is_written() {
                tpm.increment(&found.handle()?, &mut session)?;
            }
            tpm.counter_now(index, &mut session)
        })
    }

    /// The counter at `index`; `None` when there is no such index, or one that is no written counter.
    pub fn counter(&mut self, index: u32) -> Result<Option<Counter>, TpmError> {
        self.scope(|tpm| {
            match tpm.nv_public(index)? {
                Some(found) if found.is_counter() && found.is_written() => {}
                _ => return Ok(None),
            }
            let (root, public) = tpm.storage_root()?;
            let mut session = tpm.session(Kind::Hmac, &root, &public)?;
            match tpm.counter_now(index, &mut session) {
                Ok(counter) => Ok(Some(counter)),
                Err(CounterError::Foreign(_) | CounterError::Full(..)) => Ok(None),
                Err(CounterError::Tpm(error)) => Err(error),
            }
        })
    }

    /// Increments the counter at `index`: whatever was sealed at its former value stays closed for ever.
    pub fn increment_counter(&mut self, index: u32) -> Result<Counter, CounterError> {
        self.scope(|tpm| {
            let found = tpm.nv_public(index)?.ok_or(TpmError::Missing)?;
            if !found.is_like(&NvPublic::counter(index)?) {
                return Err(CounterError::Foreign(index));
            }
            let (root, public) = tpm.storage_root()?;
            let mut session = tpm.session(Kind::Hmac, &root, &public)?;
            tpm.increment(&found.handle()?, &mut session)?;
            tpm.counter_now(index, &mut session)
        })
    }

    /// Whether anything lives under this index.
    pub fn has_index(&mut self, index: u32) -> Result<bool, TpmError> {
        Ok(self.nv_public(index)?.is_some())
    }

    /// Deletes the index, if it is there.
    pub fn delete_index(&mut self, index: u32) -> Result<(), TpmError> {
        self.scope(|tpm| {
            let Some(found) = tpm.nv_public(index)? else {
                return Ok(());
            };
            let (root, public) = tpm.storage_root()?;
            let mut session = tpm.session(Kind::Hmac, &root, &public)?;
            tpm.run_as_owner(&wire::nv_undefine(&found.handle()?)?, &mut session, false)?;
            Ok(())
        })
    }

    /// Deletes the counters of `indices` that were made as [`Tpm::new_counter`] makes them, byte for byte, but those that are
    /// `kept`. Answers how many. Whoever calls this says that nobody else makes such counters here.
    ///
    /// What was sealed under one of them stays closed for ever: a counter that is made at the same index starts higher.
    pub fn reclaim_counters(&mut self, indices: RangeInclusive<u32>, kept: &[u32]) -> Result<usize, TpmError> {
        self.reclaim(indices, kept, NvPublic::counter)
    }

    /// The same for anything that is made in one way.
    pub(crate) fn reclaim(
        &mut self,
        indices: RangeInclusive<u32>,
        kept: &[u32],
        wanted: impl Fn(u32) -> Result<NvPublic, TpmError>,
    ) -> Result<usize, TpmError> {
        let mut reclaimed = 0;
        for index in indices.filter(|index| !kept.contains(index)) {
            let wanted = wanted(index)?;
            if self.nv_public(index)?.is_some_and(|found| found.is_exactly(&wanted)) {
                self.delete_index(index)?;
                reclaimed += 1;
            }
        }
        Ok(reclaimed)
    }

    /// All bytes of an index that may be read without authorization (endorsement certificates); `None` if there is no
    /// such index or it was never written.
    pub fn read_index(&mut self, index: u32) -> Result<Option<Vec<u8>>, TpmError> {
        self.scope(|tpm| {
            let Some(found) = tpm.nv_public(index)? else {
                return Ok(None);
            };
            if !found.is_written() || found.data_bytes > NV_READ_BYTES_MAX {
                return Ok(None);
            }
            let (root, public) = tpm.storage_root()?;
            let mut session = tpm.session(Kind::Hmac, &root, &public)?;
            let handle = found.handle()?;
            let (authority, value) = if found.reads_by_auth() {
                (handle.clone(), Vec::new())
            } else {
                (Handle::numbered(wire::OWNER), tpm.hierarchy_auth(wire::OWNER).to_vec())
            };
            let chunk = match tpm.property(Property::NvBufferMax)? {
                Some(bytes) => u16::try_from(bytes).unwrap_or(CHUNK_BYTES).clamp(64, CHUNK_BYTES),
                None => CHUNK_BYTES,
            };
            let mut data = Vec::with_capacity(usize::from(found.data_bytes));
            let mut offset = 0;
            while offset < found.data_bytes {
                let bytes = chunk.min(found.data_bytes - offset);
                let request = wire::nv_read(&authority, &handle, bytes, offset)?;
                data.extend_from_slice(&tpm.read_part(&request, &mut session, &value, bytes)?);
                offset += bytes;
            }
            Ok(Some(data))
        })
    }

    /// What is public about an index.
    pub(crate) fn nv_public(&mut self, index: u32) -> Result<Option<NvPublic>, TpmError> {
        match self.run(&wire::nv_read_public(index)?, &mut []) {
            Ok(answer) => NvPublic::parse(&answer.parameters).map(Some),
            Err(TpmError::Missing) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn increment(&mut self, index: &Handle, session: &mut Session) -> Result<(), TpmError> {
        let owner = Handle::numbered(wire::OWNER);
        self.run_as_owner(&wire::nv_increment(&owner, index)?, session, false)?;
        Ok(())
    }

    fn counter_now(&mut self, index: u32, session: &mut Session) -> Result<Counter, CounterError> {
        let found = self.nv_public(index)?.ok_or(TpmError::Missing)?;
        if !found.is_written() {
            return Err(TpmError::Nv(NvFault::Unwritten).into());
        }
        if !found.is_counter() || !found.reads_by_auth() {
            return Err(CounterError::Foreign(index));
        }
        let handle = found.handle()?;
        let request = wire::nv_read(&handle, &handle, 8, 0)?;
        let data = self.read_part(&request, session, &[], 8)?;
        let value = <[u8; 8]>::try_from(data.as_slice()).map_err(|_| TpmError::Malformed("NV_Read"))?;
        Ok(Counter {
            index,
            name: found.written_name()?,
            value: u64::from_be_bytes(value),
        })
    }

    /// Runs an NV_Read with an encrypted answer.
    pub(crate) fn read_part(
        &mut self,
        request: &Request,
        session: &mut Session,
        value: &[u8],
        bytes: u16,
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, TpmError> {
        let auth = Auth {
            session,
            value,
            decrypt: false,
            encrypt: true,
        };
        let answer = self.run(request, &mut [auth])?;
        let malformed = TpmError::malformed("NV_Read");
        let mut reader = Reader(&answer.parameters);
        let data = reader.sized().map_err(&malformed)?;
        reader.end().map_err(&malformed)?;
        if data.len() == usize::from(bytes) {
            Ok(zeroize::Zeroizing::new(data.to_vec()))
        } else {
            Err(TpmError::Malformed("NV_Read"))
        }
    }
}
