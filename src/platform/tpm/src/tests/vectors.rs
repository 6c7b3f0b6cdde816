//! The vectors of `FORMAT.md`: what was sealed by an older version must open with a newer one.

#![expect(clippy::unwrap_used, reason = "tests")]

use crate::{Anchor, ImageBinding, PcrValues, Point, PublicArea, SealedBlob, SignedPolicy};

fn name(byte: u8) -> [u8; 34] {
    let mut name = [byte; 34];
    name[0] = 0x00;
    name[1] = 0x0b;
    name
}

fn values(pcr: u8, byte: u8) -> PcrValues {
    PcrValues::new([(pcr, [byte; 32])]).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn blob(image: Option<ImageBinding>, pin: bool) -> SealedBlob {
    let mut blob = SealedBlob {
        root_name: name(0x11),
        pin,
        counter_index: 0x0180_1111,
        counter_name: name(0x22),
        counter_value: 5,
        fixed: values(7, 0x33),
        image,
        private: vec![0x77; 3],
        public: PublicArea::sealed(&[0; 32], pin).unwrap(),
    };
    blob.public = PublicArea::sealed(&blob.policy().unwrap().digest().unwrap(), pin).unwrap();
    blob
}

fn image() -> ImageBinding {
    ImageBinding {
        release_key: Point {
            x: [0x44; 32],
            y: [0x55; 32],
        },
        epochs: vec![3],
        signed: values(11, 0x66),
    }
}

#[test]
fn the_formats_are_what_they_were() {
    let plain = blob(None, false);
    let full = blob(Some(image()), true);
    let format = include_str!("../../FORMAT.md");
    let digest = |blob: &SealedBlob| hex(&blob.policy().unwrap().digest().unwrap());
    let message = hex(&SignedPolicy::message(&values(11, 0x66), 3).unwrap());
    for vector in [digest(&plain), digest(&full), message] {
        assert!(format.contains(&format!("`{vector}`")), "{vector}");
    }
    let written = format!(
        "4c414d54504d00010100{}01801111{}00000000000000050107{}0003777777002e{}",
        hex(&name(0x11)),
        hex(&name(0x22)),
        hex(&[0x33; 32]),
        hex(plain.public.bytes()),
    );
    assert_eq!(hex(&plain.encode()), written);
    for blob in [plain, full] {
        assert_eq!(SealedBlob::parse(&blob.encode()), Ok(blob));
    }
}

#[test]
fn an_image_blob_is_parsed_strictly() {
    let bytes = blob(Some(image()), true).encode();
    for end in 0..bytes.len() {
        assert!(SealedBlob::parse(bytes.get(..end).unwrap()).is_err());
    }
    // Epochs out of order, none at all, too many; a PCR twice; a PCR that does not exist.
    let with = |epochs: Vec<u64>| ImageBinding { epochs, ..image() };
    let good = blob(None, false);
    for epochs in [vec![], vec![4, 3], vec![3, 3], (0..9).collect()] {
        let bad = SealedBlob {
            image: Some(with(epochs)),
            ..good.clone()
        };
        assert!(SealedBlob::parse(&bad.encode()).is_err());
    }
    let mut bytes = good.encode();
    let pcr = bytes.iter().position(|byte| *byte == 0x33).unwrap() - 1;
    *bytes.get_mut(pcr).unwrap() = 24;
    assert!(SealedBlob::parse(&bytes).is_err());
}

#[test]
fn the_anchors_bytes_are_what_they_were() {
    let anchor = Anchor {
        audit_head: [0xaa; 32],
        audit_entries: 2,
        commit: 3,
    };
    let head = format!("0100000000000000{}{:016x}{:016x}", "aa".repeat(32), 2, 3);
    assert!(hex(&anchor.encode()).starts_with(&head));
}
