//! Platform configuration registers of the SHA-256 bank: selections and values.

use crate::bytes::{MalformedError, Reader};
use crate::crypto::sha256;
use crate::error::TpmError;
use crate::tpm::Tpm;
use crate::wire;
use std::collections::BTreeMap;

/// PCRs of the PC Client profile: 0 to 23.
pub const PCRS: u8 = 24;
/// The most digests in one answer of PCR_Read.
const VALUES_PER_READ: usize = 8;
/// How often reading is begun anew because a PCR changed meanwhile.
const READ_ATTEMPTS: u32 = 8;

/// A set of PCRs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PcrSelection([u8; 3]);

/// A PCR above 23.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("there is no PCR {0}: they go from 0 to 23")]
pub struct NoSuchPcr(pub u8);

impl PcrSelection {
    /// The set of `pcrs`; duplicates count once.
    pub fn new(pcrs: &[u8]) -> Result<Self, NoSuchPcr> {
        let mut selection = Self::default();
        for pcr in pcrs {
            selection.insert(*pcr)?;
        }
        Ok(selection)
    }

    fn insert(&mut self, pcr: u8) -> Result<(), NoSuchPcr> {
        let byte = self.0.get_mut(usize::from(pcr / 8)).ok_or(NoSuchPcr(pcr))?;
        *byte |= 1 << (pcr % 8);
        Ok(())
    }

    /// TPMS_PCR_SELECT: bit n of byte m stands for PCR 8m + n.
    pub fn bitmap(&self) -> [u8; 3] {
        self.0
    }

    /// Whether `pcr` is in the set.
    pub fn contains(&self, pcr: u8) -> bool {
        self.0
            .get(usize::from(pcr / 8))
            .is_some_and(|byte| byte & (1 << (pcr % 8)) != 0)
    }

    /// The PCRs, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u8> + '_ {
        (0..PCRS).filter(|pcr| self.contains(*pcr))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 3]
    }
}

/// PCRs with their values, ascending.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PcrValues(BTreeMap<u8, [u8; 32]>);

impl PcrValues {
    /// Takes over values; a PCR above 23 is refused.
    pub fn new(values: impl IntoIterator<Item = (u8, [u8; 32])>) -> Result<Self, NoSuchPcr> {
        let values: BTreeMap<u8, [u8; 32]> = values.into_iter().collect();
        match values.keys().find(|pcr| **pcr >= PCRS) {
            Some(pcr) => Err(NoSuchPcr(*pcr)),
            None => Ok(Self(values)),
        }
    }

    /// Which PCRs these are.
    pub fn selection(&self) -> PcrSelection {
        let mut selection = PcrSelection::default();
        for pcr in self.0.keys() {
            // The constructor refused what is out of range.
            let _in_range = selection.insert(*pcr);
        }
        selection
    }

    /// The value of `pcr`.
    pub fn value(&self, pcr: u8) -> Option<&[u8; 32]> {
        self.0.get(&pcr)
    }

    /// All, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &[u8; 32])> {
        self.0.iter().map(|(pcr, value)| (*pcr, value))
    }

    /// SHA-256 over the values in ascending order: what PolicyPCR and quotes contain.
    pub fn digest(&self) -> [u8; 32] {
        let values: Vec<&[u8]> = self.0.values().map(<[u8; 32]>::as_slice).collect();
        sha256(&values)
    }
}

impl Tpm {
    /// Reads the PCRs of `selection` in the SHA-256 bank, all at one moment.
    ///
    /// [`TpmError::Missing`] when the TPM has no SHA-256 bank for one of them.
    pub fn read_pcrs(&mut self, selection: &PcrSelection) -> Result<PcrValues, TpmError> {
        'again: for _ in 0..READ_ATTEMPTS {
            let mut values = BTreeMap::new();
            let mut counter = None;
            let pcrs: Vec<u8> = selection.iter().collect();
            for part in pcrs.chunks(VALUES_PER_READ) {
                let part = PcrSelection::new(part).map_err(|_| TpmError::Unencodable("PCR_Read"))?;
                let answer = self.run(&wire::pcr_read(&part)?, &mut [])?;
                let (update, read) = parse(&answer.parameters).map_err(TpmError::malformed("PCR_Read"))?;
                if *counter.get_or_insert(update) != update {
                    continue 'again;
                }
                let wanted: Vec<u8> = part.iter().collect();
                if read.len() != wanted.len() {
                    return Err(TpmError::Missing);
                }
                values.extend(wanted.into_iter().zip(read));
            }
            return Ok(PcrValues(values));
        }
        Err(TpmError::Busy(READ_ATTEMPTS))
    }

    /// Extends `pcr` by `digest`: what a measured boot does, and a service that closes a phase of its life.
    pub fn extend_pcr(&mut self, pcr: u8, digest: &[u8; 32]) -> Result<(), TpmError> {
        self.scope(|tpm| {
            let (root, public) = tpm.storage_root()?;
            let mut session = tpm.session(wire::Kind::Hmac, &root, &public)?;
            let request = wire::pcr_extend(pcr, digest)?;
            tpm.run(&request, &mut [crate::session::Auth::plain(&mut session, &[])])?;
            Ok(())
        })
    }
}

/// PCR_Read's answer: the update counter and the values of the one selected bank.
fn parse(answer: &[u8]) -> Result<(u32, Vec<[u8; 32]>), MalformedError> {
    let mut reader = Reader(answer);
    let counter = reader.u32()?;
    let selections = reader.u32()?;
    if selections > 1 {
        return Err(MalformedError);
    }
    for _ in 0..selections {
        let _bank = reader.u16()?;
        let bytes = reader.u8()?;
        reader.take(usize::from(bytes))?;
    }
    let count = reader.u32()?;
    if count > 8 {
        return Err(MalformedError);
    }
    let mut values = Vec::new();
    for _ in 0..count {
        values.push(<[u8; 32]>::try_from(reader.sized()?).map_err(|_| MalformedError)?);
    }
    reader.end()?;
    Ok((counter, values))
}

#[cfg(test)]
mod tests {
    use super::{PcrSelection, PcrValues, parse};

    #[test]
    fn selections_are_sets() {
        let selection = PcrSelection::new(&[23, 7, 11, 7, 0]).unwrap();
        assert_eq!(selection.bitmap(), [0x81, 0x08, 0x80]);
        assert_eq!(selection.iter().collect::<Vec<_>>(), [0, 7, 11, 23]);
        assert!(PcrSelection::new(&[24]).is_err());
        assert!(!selection.contains(200));
        assert!(PcrValues::new([(24, [0; 32])]).is_err());
    }

    #[test]
    fn answers_are_bounded() {
        assert!(parse(&[]).is_err());
        assert!(parse(&[0, 0, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(parse(&[0, 0, 0, 1, 0xff, 0, 0, 0]).is_err());
        assert_eq!(parse(&[0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap(), (9, vec![]));
    }
}
