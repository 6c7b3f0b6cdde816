//! Checks a published release: builds it again with its own signatures, compares every byte, and computes PCR 11 anew.

use crate::assemble::{AssembleError, Sources, assemble};
use crate::file::{self, FileError};
use crate::pe::{self, PeError};
use crate::signer::{self, Signer, SignerError};
use crate::statements::{MANIFEST, MANIFEST_SIGNATURE};
use crate::{pcr11, uki};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lamchat_attestation::Sha256;
use lamchat_tpm::{PcrValues, SignedPolicy};
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::pkcs8::{DecodePublicKey, EncodePublicKey};
use std::collections::BTreeSet;
use std::path::Path;

/// Why a release is not what its source gives.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The published signatures.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// It could not be built.
    #[error("building it again fails: {0}")]
    Build(#[from] AssembleError),
    /// The image is damaged.
    #[error(transparent)]
    Program(#[from] PeError),
    /// The release is of another source.
    #[error("the release was built from commit {published}, this source is {here}")]
    Source {
        /// The commit in the published manifest.
        published: String,
        /// The commit of this source.
        here: String,
    },
    /// Files differ, or are only in one of the two.
    #[error("the release is not what the source gives:\n{}", .0.join("\n"))]
    Differs(Vec<String>),
    /// The image is not measured as the manifest says: program, packages or builder are others.
    #[error(
        "the source gives an image that is measured as PCR 11 = {here}, and the manifest says {published}: the release is \
         of another program, other packages or another builder"
    )]
    Measured {
        /// The value in the published manifest.
        published: String,
        /// The value of the rebuilt image.
        here: Sha256,
    },
    /// The approval is for another value of PCR 11, or not signed by the release key.
    #[error("the approval in the image is not the release key's for PCR 11 = {0}")]
    Approval(String),
    /// The manifest or its signature.
    #[error("the manifest is not signed by the release key")]
    Manifest,
}

/// What was compared.
#[derive(Debug)]
pub struct Verified {
    /// Every file with its digest.
    pub files: Vec<(String, Sha256)>,
    /// PCR 11, computed from the rebuilt image.
    pub pcr11: Sha256,
}

/// Builds into `work`, which is a new folder, and compares with `release`. What needs no build is checked first.
pub fn verify(sources: &Sources<'_>, release: &Path, work: &Path) -> Result<Verified, VerifyError> {
    let mut signer = Signer::published(&release.join(signer::FOLDER))?;
    let key = VerifyingKey::from_public_key_pem(&signer.release_public()?).map_err(|_| VerifyError::Manifest)?;
    let manifest = file::read(&release.join(MANIFEST))?;
    if !verifies(&key, &manifest, &file::read(&release.join(MANIFEST_SIGNATURE))?) {
        return Err(VerifyError::Manifest);
    }
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).map_err(|_| VerifyError::Manifest)?;
    let text = |pointer| {
        manifest
            .pointer(pointer)
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default()
    };
    let published = text("/commit");
    if published != sources.release.commit {
        return Err(VerifyError::Source {
            published: published.to_owned(),
            here: sources.release.commit.clone(),
        });
    }
    let published = text("/predictions/pcr11/0");
    check_approval(&signer, &key, published, sources.release.epoch)?;

    file::make_folder(work)?;
    assemble(sources, &mut signer, work)?;
    let image = format!("lamchat-{}.efi", sources.release.version);
    let pcr11 = pcr11::predict(&file::read(&work.join(&image))?)?;
    if pcr11.to_string() != published {
        return Err(VerifyError::Measured {
            published: published.to_owned(),
            here: pcr11,
        });
    }
    signer.check()?;
    let mut files = Vec::new();
    let mut differences = Vec::new();
    let (theirs, ours) = (names(release)?, names(work)?);
    for name in theirs.union(&ours) {
        if !(theirs.contains(name) && ours.contains(name)) {
            differences.push(format!("only one of the two has {name}"));
            continue;
        }
        let (published, rebuilt) = (file::read(&release.join(name))?, file::read(&work.join(name))?);
        if published == rebuilt {
            files.push((name.clone(), Sha256::of(&published)));
        } else {
            differences.push(difference(name, &published, &rebuilt));
        }
    }
    if !differences.is_empty() {
        return Err(VerifyError::Differs(differences));
    }
    Ok(Verified { files, pcr11 })
}

/// Where a file differs first; in a program, in which section.
fn difference(name: &str, published: &[u8], rebuilt: &[u8]) -> String {
    let same = published.iter().zip(rebuilt).take_while(|(left, right)| left == right);
    let offset = same.count();
    let section = pe::section_at(rebuilt, offset).ok().flatten();
    let place = section.map_or_else(String::new, |section| format!(", in the section {section}"));
    format!("{name} differs, first at byte {offset}{place}")
}

/// The files of a release, without the folder of its signatures, which is checked by itself.
fn names(folder: &Path) -> Result<BTreeSet<String>, FileError> {
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(folder).map_err(FileError::at(folder))? {
        let entry = entry.map_err(FileError::at(folder))?;
        if entry.file_type().map_err(FileError::at(folder))?.is_file() {
            names.insert(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

fn verifies(key: &VerifyingKey, message: &[u8], signature: &[u8]) -> bool {
    let signature = Signature::from_slice(signature);
    signature.is_ok_and(|signature| key.verify(message, &signature).is_ok())
}

/// The approvals that the image carries: of the release key, and while it is rotated of the one before, for the value of
/// the manifest, in this epoch.
fn check_approval(signer: &Signer, key: &VerifyingKey, pcr11: &str, epoch: u64) -> Result<(), VerifyError> {
    let wrong = || VerifyError::Approval(pcr11.to_owned());
    let value: [u8; 32] = lamchat_attestation::from_hex(pcr11)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(wrong)?;
    let mut keys = vec![*key];
    if let Some(former) = signer.former_public()? {
        keys.push(VerifyingKey::from_public_key_pem(&former).map_err(|_| wrong())?);
    }
    let published = signer.found(signer::APPROVAL)?;
    let approvals: serde_json::Value = serde_json::from_slice(published).map_err(|_| wrong())?;
    let values = PcrValues::new([(11, value)]).map_err(|_| wrong())?;
    let message = SignedPolicy::message(&values, epoch).map_err(|_| wrong())?;
    let mut signed = Vec::new();
    for (place, key) in keys.iter().enumerate() {
        let signature = approvals.pointer(&format!("/sha256/{place}/sig"));
        let signature = signature.and_then(serde_json::Value::as_str);
        let signature = signature
            .and_then(|text| STANDARD.decode(text).ok())
            .unwrap_or_default();
        if !verifies(key, &message, &signature) {
            return Err(wrong());
        }
        let public = key.to_public_key_der().map_err(|_| wrong())?;
        signed.push((public.into_vec(), signature));
    }
    // All of it follows from value, epoch and keys, but for the signatures.
    let expected = uki::approvals_with(Sha256(value), epoch, &signed).map_err(|_| wrong())?;
    if expected.as_bytes() != published {
        return Err(wrong());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests: a panic is the report")]
    use super::*;
    use crate::keys::{self, KeyError, Keys};

    /// What both keys approve is published, and nobody may leave one of them out.
    #[test]
    fn a_release_of_a_rotation_is_approved_by_both_keys() {
        let folder = tempfile::tempdir().unwrap();
        Keys::make(folder.path()).unwrap();
        let public = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        let before = public("release.pub");
        keys::rotate(folder.path()).unwrap();
        assert!(matches!(keys::rotate(folder.path()), Err(KeyError::Rotating)));
        assert_eq!(public("former.pub"), before);
        assert_ne!(public("release.pub"), before);

        let value = Sha256([5; 32]);
        let mut signer = Signer::with_keys(folder.path()).unwrap();
        signer.approval(value, 3).unwrap();
        let former = signer.former("bundle", b"message").unwrap().unwrap();
        let key = |pem: &str| VerifyingKey::from_public_key_pem(pem).unwrap();
        assert!(verifies(&key(&before), b"message", &former));
        let release = key(&public("release.pub"));
        let published = tempfile::tempdir().unwrap();
        let write = |files: &std::collections::BTreeMap<String, Vec<u8>>| {
            for (name, bytes) in files {
                std::fs::write(published.path().join(name), bytes).unwrap();
            }
        };
        let check = |epoch| {
            let signer = Signer::published(published.path()).unwrap();
            check_approval(&signer, &release, &value.to_string(), epoch)
        };
        write(signer.files());
        check(3).unwrap();
        assert!(check(4).is_err());
        std::fs::remove_file(published.path().join("former.pub")).unwrap();
        assert!(check(3).is_err(), "an approval of somebody who is not named");

        keys::end_rotation(folder.path()).unwrap();
        let mut signer = Signer::with_keys(folder.path()).unwrap();
        signer.approval(value, 3).unwrap();
        assert_eq!(signer.former("bundle", b"message").unwrap(), None);
        write(signer.files());
        check(3).unwrap();
    }
}
