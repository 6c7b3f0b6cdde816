//! What somebody changes in the firmware's settings, written into its flash memory while the machine is off.

use crate::emulated::flash::{DATABASE, Flash, HEADER, variable};

/// gEfiSecureBootEnableDisableGuid, as it is in memory: the switch in OVMF's set-up, one byte.
const SWITCH: [u8; 16] = [
    0xC7, 0x0B, 0xA3, 0xF0, 0x08, 0xAF, 0x56, 0x45, 0x99, 0xC4, 0x00, 0x10, 0x09, 0xC9, 0x3A, 0x44,
];
const SWITCH_NAME: &str = "SecureBootEnable";
/// EFI_CERT_SHA256_GUID, as it is in memory.
const DIGESTS: [u8; 16] = [
    0x26, 0x16, 0xC4, 0xC1, 0x4C, 0x50, 0x92, 0x40, 0xAC, 0xA9, 0x41, 0xF9, 0x36, 0x93, 0x43, 0x28,
];
/// EFI_CERT_X509_GUID, as it is in memory.
const CERTIFICATES: [u8; 16] = [
    0xA1, 0x59, 0xC0, 0xA5, 0xE4, 0x94, 0xA7, 0x4A, 0x87, 0xB5, 0xAB, 0x15, 0x5C, 0x2B, 0xF0, 0x72,
];
/// Bytes of EFI_SIGNATURE_LIST before its entries.
const LIST_HEADER: usize = 28;
/// Where in AUTHENTICATED_VARIABLE_HEADER the length of the content is.
const CONTENT_SIZE: usize = 40;
/// Of a variable's third byte: it is there, and not being replaced.
const IS_THERE: u8 = 0x3F;
/// The same: it was replaced (VAR_IN_DELETED_TRANSITION and VAR_DELETED).
const WAS_REPLACED: u8 = 0x3C;

/// Where a variable that is there begins and its content is.
fn find(flash: &Flash, vendor: [u8; 16], name: &str) -> Option<(usize, std::ops::Range<usize>)> {
    let name: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    let wanted = [&vendor[..], &name].concat();
    let mut at = flash.start();
    while let Some(length) = flash.length(at) {
        let variable = flash.0.get(at..at + length).unwrap();
        let found = variable.get(HEADER - vendor.len()..).unwrap().starts_with(&wanted);
        if found && variable.get(2) == Some(&IS_THERE) {
            let content = at + HEADER + name.len();
            let bytes = variable.get(CONTENT_SIZE..).unwrap().first_chunk().unwrap();
            return Some((at, content..content + u32::from_le_bytes(*bytes) as usize));
        }
        at += length;
    }
    None
}

/// Switches Secure Boot on or off. The firmware made the switch at its first start with the owner's keys.
pub fn switch_secure_boot(flash: &mut Flash, on: bool) {
    let (_, content) = find(flash, SWITCH, SWITCH_NAME).unwrap();
    *flash.0.get_mut(content.start).unwrap() = u8::from(on);
}

/// EFI_SIGNATURE_LIST of one entry (UEFI 2.10, 32.4.1).
fn list(kind: [u8; 16], content: &[u8]) -> Vec<u8> {
    let entry = [&[0; 16][..], content].concat();
    let length = |bytes: usize| u32::try_from(bytes).unwrap().to_le_bytes();
    let lengths = [length(LIST_HEADER + entry.len()), length(0), length(entry.len())].concat();
    [&kind[..], &lengths, &entry].concat()
}

/// Adds a list to db, as a later enrolment does.
fn enrol(flash: &mut Flash, list: &[u8]) {
    let (at, content) = find(flash, DATABASE, "db").unwrap();
    let all = [flash.0.get(content).unwrap(), list].concat();
    *flash.0.get_mut(at + 2).unwrap() = WAS_REPLACED;
    flash.append(&variable("db", DATABASE, &all));
}

/// Trusts whatever this certificate signed.
pub fn trust_signer(flash: &mut Flash, certificate: &[u8]) {
    enrol(flash, &list(CERTIFICATES, certificate));
}

/// Trusts a program by its digest, as the installer does with the drivers of cards.
pub fn trust_program(flash: &mut Flash, digest: [u8; 32]) {
    enrol(flash, &list(DIGESTS, &digest));
}

/// Revokes a program by its digest: a list in dbx.
pub fn revoke(flash: &mut Flash, digest: [u8; 32]) {
    flash.append(&variable("dbx", DATABASE, &list(DIGESTS, &digest)));
}

#[test]
fn what_is_added_to_db_stands_behind_what_was_there() {
    let mut flash = Flash::blank();
    flash.append(&variable("db", DATABASE, b"of before"));
    trust_program(&mut flash, [7; 32]);
    let (at, content) = find(&flash, DATABASE, "db").unwrap();
    let wanted = [&b"of before"[..], &list(DIGESTS, &[7; 32])].concat();
    assert_eq!(flash.0.get(content).unwrap(), wanted);
    *flash.0.get_mut(at + 2).unwrap() = WAS_REPLACED;
    assert!(find(&flash, DATABASE, "db").is_none(), "the one of before counts");
}
