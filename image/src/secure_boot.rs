//! What the firmware takes to become the operator's: lists of signatures (UEFI 2.10, 32.4.1) and authenticated writes of
//! the variables PK, KEK and db (8.2.2).

use crate::authenticode::{detached, is_detached};
use crate::guid::Guid;
use crate::keys::{Certificate, KeyError, Keys, SigningCertificate};

/// EFI_CERT_X509_GUID.
const X509: Guid = Guid::new(0xA5C059A1_94E4_4AA7_87B5_AB155C2BF072);
/// EFI_CERT_TYPE_PKCS7_GUID.
const PKCS7: Guid = Guid::new(0x4AAFD29D_68DF_49EE_8AA9_347D375665A7);
/// EFI_GLOBAL_VARIABLE: where PK and KEK are.
pub const GLOBAL: Guid = Guid::new(0x8BE4DF61_93CA_11D2_AA0D_00E098032B8C);
/// EFI_IMAGE_SECURITY_DATABASE_GUID: where db is.
pub const DATABASE: Guid = Guid::new(0xD719B2CB_3D3A_4596_A3BC_DAD00E67656F);
/// Bytes of a list before its first entry.
pub const LIST_HEADER: usize = 28;
/// Bytes of WIN_CERTIFICATE_UEFI_GUID before the signature.
const WRITE_HEADER: usize = 24;
/// Non-volatile, for boot services and the running system, written with a time.
const ATTRIBUTES: u32 = 0x27;
/// EFI_TIME of every write: 1 January 2026, 0:00 UTC. Firmware takes a write only if it is later than the last one; the
/// first write has none before it, and leaving the user mode forgets the times.
const TIME: [u8; 16] = [0xEA, 0x07, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// One variable of Secure Boot.
pub struct Enrolment {
    /// `PK`, `KEK` or `db`.
    pub name: &'static str,
    /// The list of signatures that it gets: `.esl`.
    pub list: Vec<u8>,
    /// The same, as an authenticated write: `.auth`.
    pub update: Vec<u8>,
}

/// The variables in the order in which they have to be written: PK last, since it ends the set-up mode.
pub fn enrolments(keys: &Keys) -> Result<[Enrolment; 3], KeyError> {
    Ok([
        enrolment("db", DATABASE, &keys.db, &keys.kek, keys.owner)?,
        enrolment("KEK", GLOBAL, &keys.kek, &keys.pk, keys.owner)?,
        enrolment("PK", GLOBAL, &keys.pk, &keys.pk, keys.owner)?,
    ])
}

fn enrolment(
    name: &'static str,
    vendor: Guid,
    content: &SigningCertificate,
    signer: &SigningCertificate,
    owner: [u8; 16],
) -> Result<Enrolment, KeyError> {
    let list = signature_list(content.public(), owner);
    let signature = detached(&message(name, vendor, &list), signer)?;
    let update = update(&signature, &list);
    Ok(Enrolment { name, list, update })
}

/// Whether this is what [`enrolments`] makes of `name` with those certificates, for whatever owner: the list, and the
/// write that is signed by the key of `signer`.
pub fn is_enrolment(name: &str, list: &[u8], update: &[u8], content: &Certificate, signer: &Certificate) -> bool {
    let vendor = if name == "db" { DATABASE } else { GLOBAL };
    let owner = list.get(LIST_HEADER..).and_then(|entry| entry.first_chunk().copied());
    let signed = update
        .strip_suffix(list)
        .and_then(|write| write.get(TIME.len() + WRITE_HEADER..));
    let (Some(owner), Some(signed)) = (owner, signed) else {
        return false;
    };
    list == signature_list(content, owner)
        && is_detached(signed, &message(name, vendor, list), signer)
        && update == self::update(signed, list)
}

/// What is signed of an authenticated write.
fn message(name: &str, vendor: Guid, list: &[u8]) -> Vec<u8> {
    let wide: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    [&wide, vendor.0.as_slice(), &ATTRIBUTES.to_le_bytes(), &TIME, list].concat()
}

/// EFI_VARIABLE_AUTHENTICATION_2, and what is written.
fn update(signature: &[u8], list: &[u8]) -> Vec<u8> {
    // WIN_CERTIFICATE_UEFI_GUID: length with this header of 24 bytes, revision 2.0, type 0x0EF1.
    let length = u32::try_from(signature.len() + WRITE_HEADER).unwrap_or(u32::MAX);
    let header = [length.to_le_bytes(), [0x00, 0x02, 0xF1, 0x0E]].concat();
    [TIME.as_slice(), &header, &PKCS7.0, signature, list].concat()
}

/// EFI_SIGNATURE_LIST with one certificate.
fn signature_list(certificate: &Certificate, owner: [u8; 16]) -> Vec<u8> {
    let certificate = &certificate.certificate;
    // A certificate has a few kilobytes.
    let entry = u32::try_from(certificate.len() + 16).unwrap_or(u32::MAX);
    let sizes = [entry + 28, 0, entry].map(u32::to_le_bytes).concat();
    [X509.0.as_slice(), &sizes, &owner, certificate].concat()
}
