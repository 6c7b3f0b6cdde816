//! The release that is tested, and its keys.

use lamchat_image::{Keys, Signer};
use std::path::PathBuf;

fn named(variable: &str) -> PathBuf {
    match std::env::var_os(variable) {
        Some(folder) => folder.into(),
        None => panic!("{variable} is not set: run `tests/run boot`"),
    }
}

/// The folder of the release.
pub fn folder() -> PathBuf {
    named("LAMCHAT_IMAGE_RELEASE")
}

/// The image of the disk.
pub fn image() -> PathBuf {
    folder().join(format!("lamchat-{}.img", env!("CARGO_PKG_VERSION")))
}

/// The image of the installer's stick.
pub fn stick() -> PathBuf {
    folder().join(format!("lamchat-{}-installer.img", env!("CARGO_PKG_VERSION")))
}

/// PCR 11 and 12 as the auditor's file has them.
pub fn predicted() -> [String; 2] {
    let reference = std::fs::read(folder().join("reference.json")).unwrap();
    let reference: serde_json::Value = serde_json::from_slice(&reference).unwrap();
    ["/images/0/pcr11/0", "/values/0/sha256/0"].map(|pointer| {
        let value = reference.pointer(pointer).unwrap();
        value.as_str().unwrap().to_owned()
    })
}

/// Signs an image with the operator's key.
pub fn signed_again(image: &[u8]) -> Vec<u8> {
    let mut signer = Signer::with_keys(&named("LAMCHAT_IMAGE_KEYS")).unwrap();
    signer.program("changed", image).unwrap()
}

/// Signs an image with a key that the firmware does not know.
pub fn signed_by_a_stranger(image: &[u8]) -> Vec<u8> {
    let keys = tempfile::tempdir().unwrap();
    Keys::make(keys.path()).unwrap();
    let mut signer = Signer::with_keys(keys.path()).unwrap();
    signer.program("stranger", image).unwrap()
}
