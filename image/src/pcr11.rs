//! PCR 11 before it exists: what systemd's stub (252) measures of a unified kernel image.
//!
//! `src/boot/efi/stub.c`: for each section that is there, in the order below, its name with a zero byte and then its
//! content. `.pcrsig` is left out, since it has the signature over the outcome.

use crate::pe::{self, PeError};
use lamchat_attestation::Sha256;

/// The sections in the order of measuring.
pub const MEASURED: [&str; 7] = [".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb", ".pcrpkey"];

/// The value of PCR 11 when the kernel of `image` starts.
pub fn predict(image: &[u8]) -> Result<Sha256, PeError> {
    let mut value = Sha256::ZERO;
    for name in MEASURED {
        if let Some(content) = pe::section(image, name)? {
            value = value.extended(&Sha256::of_parts(&[name.as_bytes(), &[0]]));
            value = value.extended(&Sha256::of(content));
        }
    }
    Ok(value)
}
