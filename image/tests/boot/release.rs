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

/// PCR 11 as the manifest has it.
pub fn predicted_pcr11() -> String {
    let manifest = std::fs::read(folder().join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    let value = manifest.pointer("/predictions/pcr11/0").unwrap();
    value.as_str().unwrap().to_owned()
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
