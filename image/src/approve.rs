//! An approver's signature on an update bundle.

use crate::file::{self, FileError};
use crate::keys::{self, KeyError, ReleaseKey};
use crate::signer::APPROVERS;
use lamchat_release::{ApprovalsError, Approvers, BundleError, Floor, Header, Start, Version};
use std::fs::OpenOptions;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};

/// Everything from the first release on: which one is approved, the approver decides.
const FLOOR: Floor = Floor {
    version: Version([0, 0, 0]),
    epoch: 0,
};

/// Why a bundle was not approved.
#[derive(Debug, thiserror::Error)]
pub enum ApproveError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A key is none.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The bundle is not what the release key signed.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// There are too many approvals.
    #[error(transparent)]
    Approvals(#[from] ApprovalsError),
}

/// Checks the whole of `bundle` against the release key (`release_public`, PEM), and writes it with an approval more to
/// `out`, which must not be there yet. Answers what was approved, and how many approvals it has.
pub fn approve(
    bundle: &Path,
    release_public: &Path,
    approver: &ReleaseKey,
    out: &Path,
) -> Result<(Header, usize), ApproveError> {
    let open = || {
        std::fs::File::open(bundle)
            .map(BufReader::new)
            .map_err(FileError::at(bundle))
    };
    let release = file::read(release_public)?;
    let release = keys::point_of_pem(&String::from_utf8_lossy(&release))?;
    lamchat_release::check(&mut open()?, &release, &FLOOR, &Approvers::none())?;

    let mut rest = open()?;
    let mut start = Start::read(&mut rest)?;
    let signature = approver.sign(&lamchat_release::message(&start.header));
    start.approvals.add(&approver.point()?, signature)?;
    let written = OpenOptions::new().read(true).write(true).create_new(true).open(out);
    let mut written = written.map_err(FileError::at(out))?;
    start.write(&mut written)?;
    let copied = std::io::copy(&mut rest, &mut written).and_then(|_| written.flush());
    copied.map_err(FileError::at(out))?;

    // What was written, and not what was checked before, is what boxes get.
    let written = std::fs::File::open(out).map_err(FileError::at(out))?;
    let one = Approvers::new(vec![approver.point()?], 1)?;
    let again = lamchat_release::check(&mut BufReader::new(written), &release, &FLOOR, &one)?;
    Ok((again.header, start.approvals.count()))
}

/// Writes into the folder of the operator's keys whose approvals a box asks for, `threshold` of these public keys (PEM).
/// What was named before is named no more.
pub fn name_approvers(keys: &Path, approvers: &[PathBuf], threshold: usize) -> Result<(), ApproveError> {
    let points = approvers.iter().map(|path| {
        let pem = file::read(path)?;
        Ok(keys::point_of_pem(&String::from_utf8_lossy(&pem))?)
    });
    let points: Result<Vec<_>, ApproveError> = points.collect();
    let named = Approvers::new(points?, threshold)?;
    Ok(file::write(&keys.join(APPROVERS), named.to_json().as_bytes())?)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests: a panic is the report")]
    use super::*;
    use lamchat_attestation::Sha256;
    use lamchat_release::File;

    #[test]
    fn an_approver_signs_what_the_release_key_signed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["release", "ann", "bob"] {
            ReleaseKey::make(folder.path(), name).unwrap();
        }
        let key = |name: &str| ReleaseKey::read(&path(&format!("{name}.key"))).unwrap();
        let contents: [(&str, &[u8]); 2] = [("uki", b"kernel"), ("boot-loader", b"loader")];
        let header = Header {
            product: "lamchat".into(),
            version: Version([0, 2, 0]),
            epoch: 1,
            commit: "abc".into(),
            built_at: 1,
            files: contents
                .iter()
                .map(|(name, content)| File {
                    name: (*name).into(),
                    bytes: content.len() as u64,
                    sha256: Sha256::of(content),
                })
                .collect(),
        };
        let bytes = header.to_bytes().unwrap();
        let mut bundle = Vec::new();
        let signature = key("release").sign(&lamchat_release::message(&bytes));
        lamchat_release::write(&mut bundle, &bytes, &signature, &contents.map(|(_, content)| content)).unwrap();
        std::fs::write(path("bundle"), &bundle).unwrap();

        let approve = |from: &str, release: &str, who: &str, to: &str| {
            super::approve(&path(from), &path(&format!("{release}.pub")), &key(who), &path(to))
        };
        let (approved, count) = approve("bundle", "release", "ann", "one").unwrap();
        assert_eq!((approved, count), (header, 1));
        assert_eq!(approve("one", "release", "bob", "two").unwrap().1, 2);
        let both = Approvers::new(vec![key("ann").point().unwrap(), key("bob").point().unwrap()], 2).unwrap();
        let release = key("release").point().unwrap();
        let two = std::fs::read(path("two")).unwrap();
        lamchat_release::check(&mut two.as_slice(), &release, &FLOOR, &both).unwrap();

        let there = approve("bundle", "release", "ann", "one");
        assert!(matches!(there, Err(ApproveError::File(_))), "a file was overwritten");
        let foreign = approve("bundle", "ann", "ann", "three");
        assert!(matches!(foreign, Err(ApproveError::Bundle(BundleError::Signature))));
        *bundle.last_mut().unwrap() ^= 1;
        std::fs::write(path("bundle"), &bundle).unwrap();
        let damaged = approve("bundle", "release", "ann", "three");
        assert!(matches!(damaged, Err(ApproveError::Bundle(BundleError::Damaged(_)))));
        assert!(!path("three").exists());
        std::fs::write(path("ann.key"), "nothing").unwrap();
        assert!(matches!(ReleaseKey::read(&path("ann.key")), Err(KeyError::Invalid(_))));
    }
}
