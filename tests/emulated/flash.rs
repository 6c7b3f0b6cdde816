//! What OVMF remembers: its variables in the flash memory (EDK II, MdeModulePkg/Include/Guid/VariableFormat.h). Shared by
//! the tests of the image and those of the box.

use std::path::Path;

/// OVMF with Secure Boot.
pub const CODE: &str = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";
/// Its variables before anybody owns the machine.
const VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
/// EFI_GLOBAL_VARIABLE and EFI_IMAGE_SECURITY_DATABASE_GUID, as they are in memory.
const GLOBAL: [u8; 16] = [
    0x61, 0xDF, 0xE4, 0x8B, 0xCA, 0x93, 0xD2, 0x11, 0xAA, 0x0D, 0x00, 0xE0, 0x98, 0x03, 0x2B, 0x8C,
];
pub const DATABASE: [u8; 16] = [
    0xCB, 0xB2, 0x19, 0xD7, 0x3A, 0x3D, 0x96, 0x45, 0xA3, 0xBC, 0xDA, 0xD0, 0x0E, 0x67, 0x65, 0x6F,
];
/// gEfiAuthenticatedVariableGuid: what the store begins with.
const STORE: [u8; 16] = [
    0x78, 0x2C, 0xF3, 0xAA, 0x7B, 0x94, 0x9A, 0x43, 0xA1, 0x80, 0x2E, 0x14, 0x4E, 0xC3, 0x77, 0x92,
];
/// Bytes of VARIABLE_STORE_HEADER.
const STORE_HEADER: usize = 28;
/// Bytes of AUTHENTICATED_VARIABLE_HEADER, and where in it the lengths of name and content are.
pub const HEADER: usize = 60;
const NAME_SIZE: usize = 36;
/// 1 January 2026.
const TIME: [u8; 16] = [0xEA, 0x07, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// The flash memory.
pub struct Flash(pub Vec<u8>);

impl Flash {
    /// Of a machine of nobody.
    pub fn blank() -> Self {
        Self(std::fs::read(VARIABLES).unwrap())
    }

    /// Of a machine that has the keys of a release, as if somebody had enrolled them.
    pub fn owned(release: &Path) -> Self {
        let mut flash = Self::blank();
        for (name, vendor) in [("PK", GLOBAL), ("KEK", GLOBAL), ("db", DATABASE)] {
            let list = std::fs::read(release.join(format!("signatures/{name}.esl"))).unwrap();
            flash.append(&variable(name, vendor, &list));
        }
        flash
    }

    /// Where the next variable goes.
    fn end(&self) -> usize {
        let mut at = self.start();
        while let Some(length) = self.length(at) {
            at += length;
        }
        at
    }

    /// Where the first variable is.
    pub fn start(&self) -> usize {
        let store = self.0.windows(STORE.len()).position(|window| window == STORE);
        store.unwrap() + STORE_HEADER
    }

    /// Bytes of the variable that starts here, with its padding; `None`: nothing was written here yet.
    pub fn length(&self, at: usize) -> Option<usize> {
        let four = |at: usize| u32::from_le_bytes(*self.0.get(at..).unwrap().first_chunk().unwrap()) as usize;
        let is_one = self.0.get(at..at + 2) == Some(&[0xAA, 0x55]);
        is_one.then(|| (HEADER + four(at + NAME_SIZE) + four(at + NAME_SIZE + 4)).next_multiple_of(4))
    }

    /// Writes a variable of [`variable`] behind the last one.
    pub fn append(&mut self, variable: &[u8]) {
        let at = self.end();
        let place = self.0.get_mut(at..at + variable.len()).unwrap();
        assert!(place.iter().all(|byte| *byte == 0xFF), "the flash memory is full");
        place.copy_from_slice(variable);
    }
}

/// AUTHENTICATED_VARIABLE_HEADER, name, content, padding.
pub fn variable(name: &str, vendor: [u8; 16], content: &[u8]) -> Vec<u8> {
    let name: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    // It is there and valid; non-volatile, for boot services and the running system, written with a time.
    let mut bytes = vec![0xAA, 0x55, 0x3F, 0x00, 0x27, 0, 0, 0];
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&TIME);
    bytes.extend_from_slice(&[0; 4]);
    for length in [name.len(), content.len()] {
        bytes.extend_from_slice(&u32::try_from(length).unwrap().to_le_bytes());
    }
    bytes.extend_from_slice(&vendor);
    bytes.extend_from_slice(&name);
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0xFF);
    bytes
}
