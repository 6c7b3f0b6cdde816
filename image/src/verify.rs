//! Checks a published release: builds it again with its own signatures, compares every byte, and computes PCR 11 anew.

use crate::assemble::{AssembleError, Sources, assemble};
use crate::file::{self, FileError};
use crate::pcr11;
use crate::pe::PeError;
use crate::signer::{self, Signer, SignerError};
use crate::statements::{MANIFEST, MANIFEST_SIGNATURE};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lamchat_attestation::Sha256;
use lamchat_tpm::{PcrValues, SignedPolicy};
use p256::ecdsa::signature::Verifier;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::pkcs8::DecodePublicKey;
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
    /// A file is published that the source does not give, or the other way round.
    #[error("only one of release and rebuilt release has the file {0}")]
    Lists(String),
    /// A file differs.
    #[error("{file} differs from what the source gives, first at byte {offset}")]
    Differs {
        /// The file.
        file: String,
        /// The first byte that differs.
        offset: usize,
    },
    /// The approval is for another value of PCR 11, or not signed by the release key.
    #[error("the approval in the image is not the release key's for PCR 11 = {0}")]
    Approval(Sha256),
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

/// Builds into `work`, which is a new folder, and compares with `release`.
pub fn verify(sources: &Sources<'_>, release: &Path, work: &Path) -> Result<Verified, VerifyError> {
    let manifest: serde_json::Value =
        serde_json::from_slice(&file::read(&release.join(MANIFEST))?).map_err(|_| VerifyError::Manifest)?;
    let published = manifest
        .get("commit")
        .and_then(serde_json::Value::as_str)
        .unwrap_or_default();
    if published != sources.release.commit {
        return Err(VerifyError::Source {
            published: published.to_owned(),
            here: sources.release.commit.clone(),
        });
    }
    let mut signer = Signer::published(&release.join(signer::FOLDER))?;
    file::make_folder(work)?;
    assemble(sources, &mut signer, work)?;
    let names = names(release)?;
    if let Some(name) = names.symmetric_difference(&self::names(work)?).next() {
        return Err(VerifyError::Lists(name.clone()));
    }
    let mut files = Vec::new();
    for name in names {
        let published = file::read(&release.join(&name))?;
        let rebuilt = file::read(&work.join(&name))?;
        if published != rebuilt {
            let same = published.iter().zip(&rebuilt).take_while(|(left, right)| left == right);
            return Err(VerifyError::Differs {
                file: name,
                offset: same.count(),
            });
        }
        files.push((name, Sha256::of(&published)));
    }
    let image = file::read(&work.join(format!("lamchat-{}.efi", sources.release.version)))?;
    let pcr11 = pcr11::predict(&image)?;
    check_signatures(sources, &signer, pcr11, work)?;
    Ok(Verified { files, pcr11 })
}

/// The files of a release, without the folder of its signatures: those that belong are in the files.
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

fn check_signatures(sources: &Sources<'_>, signer: &Signer, pcr11: Sha256, work: &Path) -> Result<(), VerifyError> {
    let key = VerifyingKey::from_public_key_pem(&signer.release_public()?).map_err(|_| VerifyError::Manifest)?;
    let verifies = |message: &[u8], signature: &[u8]| {
        let signature = Signature::from_slice(signature);
        signature.is_ok_and(|signature| key.verify(message, &signature).is_ok())
    };
    let manifest = file::read(&work.join(MANIFEST))?;
    if !verifies(&manifest, &file::read(&work.join(MANIFEST_SIGNATURE))?) {
        return Err(VerifyError::Manifest);
    }
    let approval: serde_json::Value =
        serde_json::from_slice(signer.found("approval.json")?).map_err(|_| VerifyError::Approval(pcr11))?;
    let signature = approval.pointer("/sha256/0/sig").and_then(serde_json::Value::as_str);
    let signature = signature
        .and_then(|text| STANDARD.decode(text).ok())
        .unwrap_or_default();
    let message = PcrValues::new([(11, pcr11.0)])
        .ok()
        .and_then(|values| SignedPolicy::message(&values, sources.release.epoch).ok());
    if !message.is_some_and(|message| verifies(&message, &signature)) {
        return Err(VerifyError::Approval(pcr11));
    }
    Ok(())
}
