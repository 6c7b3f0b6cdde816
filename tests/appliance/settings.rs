//! What somebody changes in the firmware's settings, written into its flash memory while the machine is off.

use crate::flash::{DATABASE, Flash, HEADER, variable};

/// gEfiSecureBootEnableDisableGuid, as it is in memory: the switch in OVMF's set-up, one byte.
const SWITCH: [u8; 16] = [
    0xC7, 0x0B, 0xA3, 0xF0, 0x08, 0xAF, 0x56, 0x45, 0x99, 0xC4, 0x00, 0x10, 0x09, 0xC9, 0x3A, 0x44,
];
const SWITCH_NAME: &str = "SecureBootEnable";
/// EFI_CERT_SHA256_GUID, as it is in memory.
const DIGESTS: [u8; 16] = [
    0x26, 0x16, 0xC4, 0xC1, 0x4C, 0x50, 0x92, 0x40, 0xAC, 0xA9, 0x41, 0xF9, 0x36, 0x93, 0x43, 0x28,
];
/// Bytes of EFI_SIGNATURE_LIST before its entries.
const LIST_HEADER: usize = 28;
/// Of a variable's second byte: it is there, and not being replaced.
const IS_THERE: u8 = 0x3F;

/// Switches Secure Boot on or off. The firmware made the switch at its first start with the owner's keys.
pub fn switch_secure_boot(flash: &mut Flash, on: bool) {
    let name: Vec<u8> = SWITCH_NAME
        .encode_utf16()
        .chain([0])
        .flat_map(u16::to_le_bytes)
        .collect();
    let wanted = [&SWITCH[..], &name].concat();
    let mut at = flash.start();
    while let Some(length) = flash.length(at) {
        let variable = flash.0.get_mut(at..at + length).unwrap();
        let found = variable.get(HEADER - SWITCH.len()..).unwrap().starts_with(&wanted);
        if found && variable.get(2) == Some(&IS_THERE) {
            *variable.get_mut(HEADER + name.len()).unwrap() = u8::from(on);
            return;
        }
        at += length;
    }
    panic!("the firmware has no switch for Secure Boot");
}

/// Revokes a program by its digest: a list of one entry (UEFI 2.10, 32.4.1) in dbx.
pub fn revoke(flash: &mut Flash, digest: [u8; 32]) {
    let entry = [&[0; 16][..], &digest].concat();
    let length = |bytes: usize| u32::try_from(bytes).unwrap().to_le_bytes();
    let lengths = [length(LIST_HEADER + entry.len()), length(0), length(entry.len())].concat();
    let list = [&DIGESTS[..], &lengths, &entry].concat();
    flash.append(&variable("dbx", DATABASE, &list));
}
