//! Bundles that are refused, each for its reason.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests: a panic is the report"
)]

use super::{BundleError, check, message, write};
use crate::header::{File, Header, HeaderError};
use crate::version::{Floor, Version};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use lamchat_attestation::Sha256;
use proptest::prelude::*;

const CONTENTS: [(&str, &[u8]); 3] = [("uki", b"kernel"), ("boot-loader", b"loader"), ("changelog", b"text")];

struct Signed {
    key: [u8; 65],
    pair: EcdsaKeyPair,
}

fn signer() -> Signed {
    let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
    Signed {
        key: pair.public_key().as_ref().try_into().unwrap(),
        pair,
    }
}

fn header() -> Header {
    Header {
        product: "lamchat".into(),
        version: Version([0, 2, 0]),
        epoch: 2,
        commit: "abc".into(),
        built_at: 1,
        files: CONTENTS
            .iter()
            .map(|(name, content)| File {
                name: (*name).into(),
                bytes: content.len() as u64,
                sha256: Sha256::of(content),
            })
            .collect(),
    }
}

fn bundle(signer: &Signed, header: &[u8]) -> Vec<u8> {
    let signature = signer.pair.sign(&SystemRandom::new(), &message(header)).unwrap();
    let mut out = Vec::new();
    let files: Vec<&[u8]> = CONTENTS.iter().map(|(_, content)| *content).collect();
    write(&mut out, header, signature.as_ref().try_into().unwrap(), &files).unwrap();
    out
}

const FLOOR: Floor = Floor {
    version: Version([0, 1, 0]),
    epoch: 1,
};

#[test]
fn an_honest_bundle_is_read_and_its_files_are_found() {
    let signer = signer();
    let bytes = bundle(&signer, &header().to_bytes().unwrap());
    let checked = check(&mut bytes.as_slice(), &signer.key, &FLOOR).unwrap();
    assert_eq!(checked.header, header());
    for (name, content) in CONTENTS {
        let (offset, file) = checked.find(name).unwrap();
        let offset = usize::try_from(offset).unwrap();
        assert_eq!(&bytes[offset..offset + usize::try_from(file.bytes).unwrap()], content);
    }
    assert_eq!(checked.find("sbom"), None);
}

#[test]
fn every_cut_and_every_flipped_byte_is_refused() {
    let signer = signer();
    let bytes = bundle(&signer, &header().to_bytes().unwrap());
    for length in 0..bytes.len() {
        assert!(
            check(&mut &bytes[..length], &signer.key, &FLOOR).is_err(),
            "cut at {length}"
        );
    }
    for offset in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[offset] ^= 1;
        assert!(
            check(&mut changed.as_slice(), &signer.key, &FLOOR).is_err(),
            "byte {offset}"
        );
    }
    let longer = [bytes.as_slice(), b"x"].concat();
    let refused = check(&mut longer.as_slice(), &signer.key, &FLOOR);
    assert!(matches!(refused, Err(BundleError::Trailing)));
}

#[test]
fn another_signer_an_older_release_and_another_product_are_refused() {
    let signer = signer();
    let bytes = bundle(&signer, &header().to_bytes().unwrap());
    let other = self::signer();
    let refused = check(&mut bytes.as_slice(), &other.key, &FLOOR);
    assert!(matches!(refused, Err(BundleError::Signature)));
    let floor = Floor {
        version: Version([0, 2, 1]),
        epoch: 1,
    };
    let refused = check(&mut bytes.as_slice(), &signer.key, &floor);
    assert!(matches!(refused, Err(BundleError::BelowVersion { .. })));
    let floor = Floor {
        version: Version([0, 1, 0]),
        epoch: 3,
    };
    let refused = check(&mut bytes.as_slice(), &signer.key, &floor);
    assert!(matches!(refused, Err(BundleError::BelowEpoch { found: 2, floor: 3 })));
    let mut foreign = header();
    foreign.product = "toaster".into();
    let bytes = bundle(&signer, &serde_json::to_vec(&foreign).unwrap());
    let refused = check(&mut bytes.as_slice(), &signer.key, &FLOOR);
    assert!(matches!(refused, Err(BundleError::Header(HeaderError::Product(name))) if name == "toaster"));
}

#[test]
fn signed_headers_that_break_a_rule_are_refused() {
    let signer = signer();
    let changes: [fn(&mut Header); 6] = [
        |header| header.files.truncate(1),
        |header| header.files[2].name = "uki".into(),
        |header| header.files[2].name = "../uki".into(),
        |header| header.files[2].bytes = 0,
        |header| header.files[2].bytes = u64::MAX,
        |header| header.commit = "a b".into(),
    ];
    for change in changes {
        let mut header = header();
        change(&mut header);
        assert!(header.to_bytes().is_err());
        let bytes = bundle(&signer, &serde_json::to_vec(&header).unwrap());
        let refused = check(&mut bytes.as_slice(), &signer.key, &FLOOR);
        assert!(
            matches!(refused, Err(BundleError::Header(HeaderError::Rule(_)))),
            "{refused:?}"
        );
    }
}

proptest! {
    #[test]
    fn strangers_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let start = [b"LAMUPDT\x01".as_slice(), &bytes].concat();
        prop_assert!(check(&mut start.as_slice(), &[4; 65], &FLOOR).is_err());
    }
}
