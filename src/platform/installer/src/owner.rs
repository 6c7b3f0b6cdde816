//! Whose the firmware is, and making it the operator's (UEFI 2.10, 32.3 and 8.2.2).

use crate::drivers::Driver;
use lamchat_machine::efi::{DATABASE, GLOBAL, VariableError, Variables};
use std::path::Path;

/// Non-volatile, for boot services and the running system, written with a time; and the same for adding.
const WRITE: u32 = 0x27;
const APPEND: u32 = WRITE | 0x40;
/// EFI_TIME: 16 bytes at the start of every authenticated write.
const TIME_BYTES: usize = 16;
/// WIN_CERTIFICATE_UEFI_GUID without a signature: length, revision 2.0, type 0x0EF1, EFI_CERT_TYPE_PKCS7_GUID. In set-up
/// mode the firmware asks for none.
const UNSIGNED: [u8; 24] = [
    24, 0, 0, 0, 0x00, 0x02, 0xF1, 0x0E, 0x9D, 0xD2, 0xAF, 0x4A, 0xDF, 0x68, 0xEE, 0x49, 0x8A, 0xA9, 0x34, 0x7D, 0x37,
    0x56, 0x65, 0xA7,
];
/// EFI_CERT_SHA256_GUID.
const DIGESTS: [u8; 16] = [
    0x26, 0x16, 0xC4, 0xC1, 0x4C, 0x50, 0x92, 0x40, 0xAC, 0xA9, 0x41, 0xF9, 0x36, 0x93, 0x43, 0x28,
];
/// Bytes of a list before its first entry, and of an entry's owner.
const LIST_HEADER: usize = 28;
const OWNER_BYTES: usize = 16;

/// Whose a firmware is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Nobody's: it waits for keys.
    Nobody,
    /// It has the operator's platform key.
    Operator,
    /// It has another platform key.
    Another,
    /// It cannot do Secure Boot, or is no UEFI.
    Without,
}

/// The authenticated writes that the installer brings along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Updates {
    /// Of db.
    pub db: Vec<u8>,
    /// Of KEK.
    pub kek: Vec<u8>,
    /// Of PK.
    pub pk: Vec<u8>,
}

/// The firmware was not made the operator's.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// A variable.
    #[error(transparent)]
    Variable(#[from] VariableError),
    /// The installer has no proper update.
    #[error("the installer's update of {0} is damaged")]
    Damaged(&'static str),
    /// The firmware did not keep what it took.
    #[error("the firmware took {0} and does not have it")]
    Lost(&'static str),
}

impl Updates {
    /// Reads `db.auth`, `KEK.auth` and `PK.auth` of a folder.
    pub fn read(folder: &Path) -> std::io::Result<Self> {
        let read = |name: &str| std::fs::read(folder.join(name));
        Ok(Self {
            db: read("db.auth")?,
            kek: read("KEK.auth")?,
            pk: read("PK.auth")?,
        })
    }
}

/// The list of signatures in an authenticated write: what the variable becomes.
fn list(update: &[u8]) -> Option<&[u8]> {
    let header = update.get(TIME_BYTES..)?;
    let length = u32::from_le_bytes(*header.first_chunk()?);
    header
        .get(usize::try_from(length).ok()?..)
        .filter(|list| list.len() > LIST_HEADER + OWNER_BYTES)
}

/// Whose the firmware is.
pub fn owner(variables: &Variables, updates: &Updates) -> Result<Owner, EnrolError> {
    let ours = list(&updates.pk).ok_or(EnrolError::Damaged("PK"))?;
    match variables.read("SetupMode", GLOBAL)?.as_deref() {
        None => Ok(Owner::Without),
        Some([1]) => Ok(Owner::Nobody),
        Some(_) if variables.read("PK", GLOBAL)?.as_deref() == Some(ours) => Ok(Owner::Operator),
        Some(_) => Ok(Owner::Another),
    }
}

/// Writes db, the digests of drivers that shall start as well, KEK, and PK last, since it ends the set-up mode. Cut off,
/// it can be done again.
pub fn enrol(variables: &Variables, updates: &Updates, drivers: &[Driver]) -> Result<(), EnrolError> {
    let steps = [
        ("db", DATABASE, &updates.db),
        ("KEK", GLOBAL, &updates.kek),
        ("PK", GLOBAL, &updates.pk),
    ];
    for (name, vendor, update) in steps {
        let wanted = list(update).ok_or(EnrolError::Damaged(name))?;
        variables.write(name, vendor, WRITE, update)?;
        let mut wanted = wanted.to_vec();
        if name == "db" && !drivers.is_empty() {
            let addition = digests(&wanted, drivers).ok_or(EnrolError::Damaged(name))?;
            let time = update.get(..TIME_BYTES).unwrap_or_default();
            variables.write(name, vendor, APPEND, &[time, &UNSIGNED, &addition].concat())?;
            wanted.extend(addition);
        }
        if variables.read(name, vendor)?.as_deref() != Some(&wanted) {
            return Err(EnrolError::Lost(name));
        }
    }
    Ok(())
}

/// EFI_SIGNATURE_LIST with digests, of the owner that `list` names.
fn digests(list: &[u8], drivers: &[Driver]) -> Option<Vec<u8>> {
    let owner = list.get(LIST_HEADER..LIST_HEADER + OWNER_BYTES)?;
    let entry = u32::try_from(OWNER_BYTES + 32).ok()?;
    let bytes = u32::try_from(drivers.len()).ok()?.checked_mul(entry)?.checked_add(28)?;
    let mut out = [DIGESTS.as_slice(), &[bytes, 0, entry].map(u32::to_le_bytes).concat()].concat();
    for driver in drivers {
        out.extend_from_slice(owner);
        out.extend_from_slice(&driver.digest.0);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use lamchat_attestation::Sha256;
    use proptest::prelude::*;

    /// An authenticated write with a signature of ten bytes.
    fn update(content: &[u8]) -> Vec<u8> {
        let mut bytes = vec![3; TIME_BYTES];
        bytes.extend_from_slice(&34u32.to_le_bytes());
        bytes.extend_from_slice(&[0; 30]);
        bytes.extend_from_slice(content);
        bytes
    }

    fn updates() -> Updates {
        Updates {
            db: update(&[1; 60]),
            kek: update(&[2; 60]),
            pk: update(&[3; 60]),
        }
    }

    #[test]
    fn the_owner_is_told_by_set_up_mode_and_platform_key() {
        let folder = tempfile::tempdir().unwrap();
        let variables = Variables::in_folder(folder.path());
        let mut updates = updates();
        let expect = |owner: Owner, updates: &Updates| assert_eq!(super::owner(&variables, updates).unwrap(), owner);
        expect(Owner::Without, &updates);
        variables.write("SetupMode", GLOBAL, 6, &[1]).unwrap();
        expect(Owner::Nobody, &updates);
        variables.write("SetupMode", GLOBAL, 6, &[0]).unwrap();
        expect(Owner::Another, &updates);
        variables.write("PK", GLOBAL, WRITE, &[3; 60]).unwrap();
        expect(Owner::Operator, &updates);
        updates.pk.truncate(30);
        assert!(matches!(
            super::owner(&variables, &updates),
            Err(EnrolError::Damaged("PK"))
        ));
    }

    #[test]
    fn a_firmware_that_does_not_keep_what_it_took_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let variables = Variables::in_folder(folder.path());
        // Here a write is kept as it came, with its signature.
        let lost = enrol(&variables, &updates(), &[]);
        assert!(matches!(lost, Err(EnrolError::Lost("db"))), "{lost:?}");
    }

    #[test]
    fn digests_become_a_list_of_the_same_owner() {
        let driver = |byte| Driver {
            digest: Sha256([byte; 32]),
            place: String::new(),
        };
        let mut list = vec![9; LIST_HEADER];
        list.extend_from_slice(&[5; 40]);
        let out = digests(&list, &[driver(1), driver(2)]).unwrap();
        assert_eq!(out.len(), 28 + 2 * 48);
        assert_eq!(out.get(16..28).unwrap(), [124, 0, 0, 0, 0, 0, 0, 0, 48, 0, 0, 0]);
        assert_eq!(out.get(28..76).unwrap(), [[5; 16].as_slice(), &[1; 32]].concat());
        assert_eq!(digests(&[], &[driver(1)]), None);
    }

    proptest! {
        #[test]
        fn any_update_is_answered(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = list(&bytes);
        }
    }
}
