//! The bytes of the file `keyring`, as `FORMAT.md` documents them: two copies, each with a checksum and a MAC.
//!
//! Parsing treats the file as written by a stranger: every length is checked, nothing is allocated beyond the file.

use crate::cipher::NONCE_BYTES;
use crate::passphrase::PassphraseCost;
use crate::sealer::BLOB_BYTES_MAX;
use crate::slot::{Slot, SlotKind, SlotLock};
use aws_lc_rs::{digest, hmac};
use lamchat_base::Secret;

const MAGIC: &[u8; 8] = b"LAMKEYRG";
/// The newest version; one that a program before it can read is written with the older number.
const VERSION: u32 = 2;
/// The version without `recovery` and `tpm` slots.
const VERSION_BEFORE_RECOVERY: u32 = 1;
const MAC_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 32;
/// Copies start at multiples of this, so that no sector holds a part of both.
const ALIGNMENT: usize = 4096;
/// Largest file that is read at all.
const FILE_BYTES_MAX: usize = 1 << 20;

/// What a keyring file says, still wrapped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ring {
    /// Random; binds slots and data keys to this keyring.
    pub id: [u8; 16],
    /// Counts the writes of the file.
    pub generation: u64,
    pub slots: Vec<Slot>,
    pub keys: Vec<WrappedKey>,
}

/// A numbered data key under the master key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrappedKey {
    pub purpose: u8,
    pub number: u32,
    pub nonce: [u8; NONCE_BYTES],
    pub sealed: Vec<u8>,
}

/// A copy that was read and whose checksum fits; the MAC is checked once the master key is known.
#[derive(Debug)]
pub(crate) struct Parsed {
    pub ring: Ring,
    /// Whether the other copy was damaged or older.
    pub one_copy_only: bool,
    signed: Vec<u8>,
    mac: [u8; MAC_BYTES],
}

impl Parsed {
    /// Whether the holder of the master key wrote this copy; compares in constant time.
    pub fn is_authentic(&self, mac_key: &Secret<32>) -> bool {
        hmac::verify(
            &hmac::Key::new(hmac::HMAC_SHA256, mac_key.expose()),
            &self.signed,
            &self.mac,
        )
        .is_ok()
    }
}

/// Why a keyring file cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Not a keyring, or both copies are damaged.
    #[error("both copies in it are damaged; restore it from a copy or restore a backup")]
    Damaged,
    /// Written by a newer program.
    #[error("it has format version {found}, this program knows {VERSION}: install a newer lamchat")]
    TooNew {
        /// The version in the file.
        found: u32,
    },
}

/// One copy, without padding.
pub(crate) fn encode(ring: &Ring, mac_key: &Secret<32>) -> Vec<u8> {
    let mut body = Vec::new();
    for slot in &ring.slots {
        let mut payload = slot.lock.parameters();
        payload.extend_from_slice(&slot.nonce);
        payload.extend_from_slice(&slot.sealed);
        body.push(slot.lock.kind().code());
        body.extend_from_slice(&slot.id.to_be_bytes());
        body.extend_from_slice(&(payload.len() as u16).to_be_bytes());
        body.extend_from_slice(&payload);
    }
    for key in &ring.keys {
        body.push(key.purpose);
        body.extend_from_slice(&key.number.to_be_bytes());
        body.extend_from_slice(&key.nonce);
        body.extend_from_slice(&(key.sealed.len() as u16).to_be_bytes());
        body.extend_from_slice(&key.sealed);
    }
    let total = 44 + body.len() + MAC_BYTES + CHECKSUM_BYTES;
    let mut copy = Vec::with_capacity(total);
    copy.extend_from_slice(MAGIC);
    copy.extend_from_slice(&version_of(ring).to_be_bytes());
    copy.extend_from_slice(&(total as u32).to_be_bytes());
    copy.extend_from_slice(&ring.id);
    copy.extend_from_slice(&ring.generation.to_be_bytes());
    copy.extend_from_slice(&(ring.slots.len() as u16).to_be_bytes());
    copy.extend_from_slice(&(ring.keys.len() as u16).to_be_bytes());
    copy.extend_from_slice(&body);
    let mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, mac_key.expose()), &copy);
    copy.extend_from_slice(mac.as_ref());
    let checksum = digest::digest(&digest::SHA256, &copy);
    copy.extend_from_slice(checksum.as_ref());
    copy
}

/// The file: twice the copy, each padded with zeros.
pub(crate) fn file_bytes(copy: &[u8]) -> Vec<u8> {
    let padded = copy.len().next_multiple_of(ALIGNMENT);
    let mut file = Vec::with_capacity(2 * padded);
    for end in [padded, 2 * padded] {
        file.extend_from_slice(copy);
        file.resize(end, 0);
    }
    file
}

/// Reads the better of the two copies of a file.
pub(crate) fn parse_file(file: &[u8]) -> Result<Parsed, FormatError> {
    if file.len() > FILE_BYTES_MAX {
        return Err(FormatError::Damaged);
    }
    let (first, second) = file.split_at(file.len() / 2);
    match (parse_copy(first), parse_copy(second)) {
        (Ok(first), Ok(second)) => {
            let differs = first.ring.generation != second.ring.generation;
            let better = if second.ring.generation > first.ring.generation {
                second
            } else {
                first
            };
            Ok(Parsed {
                one_copy_only: differs,
                ..better
            })
        }
        (Ok(only), Err(_)) | (Err(_), Ok(only)) => Ok(Parsed {
            one_copy_only: true,
            ..only
        }),
        (Err(first @ FormatError::TooNew { .. }), Err(_)) => Err(first),
        (Err(_), Err(second)) => Err(second),
    }
}

/// Reads one copy; bytes after its end are ignored (padding).
pub(crate) fn parse_copy(bytes: &[u8]) -> Result<Parsed, FormatError> {
    let mut header = Reader(bytes);
    if header.take::<8>()? != *MAGIC {
        return Err(FormatError::Damaged);
    }
    let version = header.u32()?;
    let total = header.u32()? as usize;
    let copy = bytes.get(..total).ok_or(FormatError::Damaged)?;
    let (content, checksum) = copy
        .split_at_checked(total.wrapping_sub(CHECKSUM_BYTES))
        .ok_or(FormatError::Damaged)?;
    if digest::digest(&digest::SHA256, content).as_ref() != checksum {
        return Err(FormatError::Damaged);
    }
    // Only now: a flipped bit in the version must not look like a newer program's file.
    if version == 0 || version > VERSION {
        return Err(FormatError::TooNew { found: version });
    }
    let (signed, mac) = content.split_last_chunk::<MAC_BYTES>().ok_or(FormatError::Damaged)?;
    let mut reader = Reader(signed);
    reader.take::<16>()?;
    let id = reader.take::<16>()?;
    let generation = u64::from_be_bytes(reader.take()?);
    let slot_count = reader.u16()?;
    let key_count = reader.u16()?;
    let mut slots = Vec::new();
    for _ in 0..slot_count {
        slots.push(parse_slot(&mut reader, version)?);
    }
    let mut keys = Vec::new();
    for _ in 0..key_count {
        let purpose = reader.u8()?;
        let number = reader.u32()?;
        let nonce = reader.take()?;
        let length = usize::from(reader.u16()?);
        keys.push(WrappedKey {
            purpose,
            number,
            nonce,
            sealed: reader.bytes(length)?.to_vec(),
        });
    }
    if !reader.0.is_empty() {
        return Err(FormatError::Damaged);
    }
    let ring = Ring {
        id,
        generation,
        slots,
        keys,
    };
    Ok(Parsed {
        ring,
        one_copy_only: false,
        signed: signed.to_vec(),
        mac: *mac,
    })
}

/// The lowest version that can say what is in `ring`: older programs keep opening what they understand.
fn version_of(ring: &Ring) -> u32 {
    let newer = |slot: &Slot| matches!(slot.lock.kind(), SlotKind::Recovery | SlotKind::Tpm);
    if ring.slots.iter().any(newer) {
        VERSION
    } else {
        VERSION_BEFORE_RECOVERY
    }
}

fn parse_slot(reader: &mut Reader<'_>, version: u32) -> Result<Slot, FormatError> {
    let kind = reader.u8()?;
    let id = reader.u32()?;
    let length = usize::from(reader.u16()?);
    let mut payload = Reader(reader.bytes(length)?);
    let lock = match kind {
        1 => SlotLock::File,
        2 => {
            let cost = PassphraseCost {
                memory_kib: payload.u32()?,
                passes: payload.u32()?,
                lanes: payload.u32()?,
            };
            if !cost.is_sane() {
                return Err(FormatError::Damaged);
            }
            SlotLock::Passphrase {
                cost,
                salt: payload.take()?,
            }
        }
        3 if version > VERSION_BEFORE_RECOVERY => SlotLock::Recovery {
            verified_ms: u64::from_be_bytes(payload.take()?),
            salt: payload.take()?,
        },
        4 if version > VERSION_BEFORE_RECOVERY => {
            let length = usize::from(payload.u16()?);
            if !(1..=BLOB_BYTES_MAX).contains(&length) {
                return Err(FormatError::Damaged);
            }
            SlotLock::Tpm {
                blob: payload.bytes(length)?.to_vec(),
            }
        }
        _ => return Err(FormatError::Damaged),
    };
    Ok(Slot {
        id,
        lock,
        nonce: payload.take()?,
        sealed: payload.0.to_vec(),
    })
}

/// Takes bytes from the front.
pub(crate) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn bytes(&mut self, length: usize) -> Result<&'a [u8], FormatError> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(FormatError::Damaged)?;
        self.0 = rest;
        Ok(head)
    }

    pub fn take<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let (head, rest) = self.0.split_first_chunk::<N>().ok_or(FormatError::Damaged)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, FormatError> {
        Ok(u8::from_be_bytes(self.take()?))
    }

    fn u16(&mut self) -> Result<u16, FormatError> {
        Ok(u16::from_be_bytes(self.take()?))
    }

    pub fn u32(&mut self) -> Result<u32, FormatError> {
        Ok(u32::from_be_bytes(self.take()?))
    }
}
