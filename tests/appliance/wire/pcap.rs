//! The capture that QEMU's `filter-dump` writes: draft-ietf-opsawg-pcap, in this machine's byte order.

use std::path::Path;

const MAGIC: u32 = 0xA1B2_C3D4;
const HEADER_BYTES: usize = 24;

/// The frames of a capture.
pub fn read(path: &Path) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(path).unwrap();
    let four = |at: usize| u32::from_ne_bytes(*bytes.get(at..).unwrap().first_chunk().unwrap());
    assert_eq!(four(0), MAGIC, "no capture");
    let (mut frames, mut at) = (Vec::new(), HEADER_BYTES);
    while let Some(header) = bytes.get(at..at + 16) {
        let length = u32::from_ne_bytes(*header.get(8..).unwrap().first_chunk().unwrap()) as usize;
        // QEMU may still be writing the last one.
        let Some(frame) = bytes.get(at + 16..at + 16 + length) else {
            break;
        };
        frames.push(frame.to_vec());
        at += 16 + length;
    }
    frames
}
