//! Bundles that are refused, each for its reason.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests: a panic is the report"
)]

use super::{BundleError, Start, check, message, write};
use crate::approvals::{APPROVERS_MAX, ApprovalsError, Approvers};
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
    let checked = check(&mut bytes.as_slice(), &signer.key, &FLOOR, &Approvers::none()).unwrap();
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
            check(&mut &bytes[..length], &signer.key, &FLOOR, &Approvers::none()).is_err(),
            "cut at {length}"
        );
    }
    for offset in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[offset] ^= 1;
        assert!(
            check(&mut changed.as_slice(), &signer.key, &FLOOR, &Approvers::none()).is_err(),
            "byte {offset}"
        );
    }
    let longer = [bytes.as_slice(), b"x"].concat();
    let refused = check(&mut longer.as_slice(), &signer.key, &FLOOR, &Approvers::none());
    assert!(matches!(refused, Err(BundleError::Trailing)));
}

#[test]
fn another_signer_an_older_release_and_another_product_are_refused() {
    let signer = signer();
    let bytes = bundle(&signer, &header().to_bytes().unwrap());
    let other = self::signer();
    let refused = check(&mut bytes.as_slice(), &other.key, &FLOOR, &Approvers::none());
    assert!(matches!(refused, Err(BundleError::Signature)));
    let floor = Floor {
        version: Version([0, 2, 1]),
        epoch: 1,
    };
    let refused = check(&mut bytes.as_slice(), &signer.key, &floor, &Approvers::none());
    assert!(matches!(refused, Err(BundleError::BelowVersion { .. })));
    let floor = Floor {
        version: Version([0, 1, 0]),
        epoch: 3,
    };
    let refused = check(&mut bytes.as_slice(), &signer.key, &floor, &Approvers::none());
    assert!(matches!(refused, Err(BundleError::BelowEpoch { found: 2, floor: 3 })));
    let mut foreign = header();
    foreign.product = "toaster".into();
    let bytes = bundle(&signer, &serde_json::to_vec(&foreign).unwrap());
    let refused = check(&mut bytes.as_slice(), &signer.key, &FLOOR, &Approvers::none());
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
        let refused = check(&mut bytes.as_slice(), &signer.key, &FLOOR, &Approvers::none());
        assert!(
            matches!(refused, Err(BundleError::Header(HeaderError::Rule(_)))),
            "{refused:?}"
        );
    }
}

/// The bundle with further approvals.
fn approved(bundle: &[u8], approvers: &[&Signed]) -> Vec<u8> {
    let mut rest = bundle;
    let mut start = Start::read(&mut rest).unwrap();
    for approver in approvers {
        let signature = approver
            .pair
            .sign(&SystemRandom::new(), &message(&start.header))
            .unwrap();
        start
            .approvals
            .add(&approver.key, signature.as_ref().try_into().unwrap())
            .unwrap();
    }
    let mut out = Vec::new();
    start.write(&mut out).unwrap();
    out.extend_from_slice(rest);
    out
}

#[test]
fn enough_approvers_have_to_sign() {
    let release = signer();
    let [ann, bob, eve] = [signer(), signer(), signer()];
    let plain = bundle(&release, &header().to_bytes().unwrap());
    let two = Approvers::new(vec![ann.key, bob.key], 2).unwrap();
    let refused = |bytes: &[u8]| check(&mut &*bytes, &release.key, &FLOOR, &two).unwrap_err();
    let too_few = |error: &BundleError, count| matches!(error, BundleError::Approvals(ApprovalsError::TooFew { found, needed: 2 }) if *found == count);
    assert!(too_few(&refused(&plain), 0));
    assert!(too_few(&refused(&approved(&plain, &[&ann])), 1));
    assert!(
        too_few(&refused(&approved(&plain, &[&ann, &ann])), 1),
        "nobody counts twice"
    );
    assert!(
        too_few(&refused(&approved(&plain, &[&ann, &eve])), 1),
        "a stranger counts nothing"
    );

    let both = approved(&approved(&plain, &[&ann]), &[&eve, &bob]);
    let checked = check(&mut both.as_slice(), &release.key, &FLOOR, &two).unwrap();
    let (offset, file) = checked.find("uki").unwrap();
    let offset = usize::try_from(offset).unwrap();
    assert_eq!(&both[offset..offset + usize::try_from(file.bytes).unwrap()], b"kernel");
    check(&mut both.as_slice(), &release.key, &FLOOR, &Approvers::none()).unwrap();

    // An approval of another release, moved over.
    let mut other = header();
    other.version = Version([9, 0, 0]);
    let other = approved(&bundle(&release, &other.to_bytes().unwrap()), &[&ann, &bob]);
    let mut rest = both.as_slice();
    let mut start = Start::read(&mut rest).unwrap();
    start.approvals = Start::read(&mut other.as_slice()).unwrap().approvals;
    let mut moved = Vec::new();
    start.write(&mut moved).unwrap();
    moved.extend_from_slice(rest);
    assert!(matches!(
        refused(&moved),
        BundleError::Approvals(ApprovalsError::Wrong(_))
    ));

    for length in 0..both.len() {
        assert!(
            check(&mut &both[..length], &release.key, &FLOOR, &two).is_err(),
            "cut at {length}"
        );
    }
    for offset in 0..both.len() {
        let mut changed = both.clone();
        changed[offset] ^= 1;
        // Approvals of strangers are not looked at.
        let result = check(&mut changed.as_slice(), &release.key, &FLOOR, &two);
        assert!(result.is_err() || result.unwrap() == checked, "byte {offset}");
    }
}

#[test]
fn thresholds_that_mean_nothing_cannot_be_set() {
    let keys: Vec<[u8; 65]> = (0..=APPROVERS_MAX).map(|number| [number as u8; 65]).collect();
    let two = Approvers::new(keys[..3].to_vec(), 2).unwrap();
    assert_eq!(Approvers::from_json(two.to_json().as_bytes()), Ok(two.clone()));
    for wrong in [
        "",
        "{}",
        "[]",
        r#"{"threshold":1,"keys":["04"]}"#,
        r#"{"threshold":1,"keys":[],"more":1}"#,
    ] {
        assert_eq!(
            Approvers::from_json(wrong.as_bytes()),
            Err(ApprovalsError::File),
            "{wrong}"
        );
    }
    let none = two.to_json().replace("\"threshold\":2", "\"threshold\":4");
    assert!(matches!(
        Approvers::from_json(none.as_bytes()),
        Err(ApprovalsError::Threshold { .. })
    ));
    let new = |count: usize, threshold| Approvers::new(keys[..count].to_vec(), threshold);
    assert_eq!(new(0, 0), Err(ApprovalsError::Keys));
    assert_eq!(Approvers::new(vec![keys[0], keys[0]], 1), Err(ApprovalsError::Keys));
    assert_eq!(new(APPROVERS_MAX + 1, 1), Err(ApprovalsError::TooMany));
    for (threshold, approvers) in [(0, 2), (3, 2)] {
        assert_eq!(
            new(2, threshold),
            Err(ApprovalsError::Threshold { threshold, approvers })
        );
    }
    assert!(new(APPROVERS_MAX, APPROVERS_MAX).is_ok());
}

proptest! {
    #[test]
    fn strangers_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let start = [b"LAMUPDT\x01".as_slice(), &bytes].concat();
        prop_assert!(check(&mut start.as_slice(), &[4; 65], &FLOOR, &Approvers::none()).is_err());
    }
}
