//! The pinned packages: known by name, version and digest, read from a folder, fetched with apt.

use crate::file::{self, FileError};
use lamchat_attestation::Sha256;
use serde::Deserialize;
use std::path::Path;
use std::process::Command;

/// The pinned packages, `inputs.toml`.
const PINNED: &str = include_str!("inputs.toml");

/// Inputs could not be fetched or are not the pinned ones.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The list of inputs is not readable.
    #[error("inputs.toml: {0}")]
    List(#[from] toml::de::Error),
    /// A package is not the pinned one.
    #[error("{file} is not the pinned package: its SHA-256 is {found}")]
    Digest {
        /// The package's file.
        file: String,
        /// Its digest.
        found: Sha256,
    },
    /// apt could not be started.
    #[error("apt-get cannot be started: {0}")]
    Apt(std::io::Error),
    /// apt did not find a package.
    #[error("apt-get does not get {0}: superseded packages vanish; take a release's inputs with --inputs")]
    Gone(String),
}

/// A pinned package.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// Debian's name.
    pub name: String,
    /// Debian's version.
    pub version: String,
    /// Digest of the file, in hexadecimal digits.
    pub sha256: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    package: Vec<Package>,
}

impl Package {
    /// The name of its file, as apt writes it: a colon would be an epoch.
    pub fn file(&self) -> String {
        format!("{}_{}_amd64.deb", self.name, self.version.replace(':', "%3a"))
    }
}

/// The pinned packages.
pub fn pinned() -> Result<Vec<Package>, InputError> {
    Ok(toml::from_str::<List>(PINNED)?.package)
}

/// Reads a package from a folder and checks its digest.
pub fn read(folder: &Path, package: &Package) -> Result<Vec<u8>, InputError> {
    let bytes = file::read(&folder.join(package.file()))?;
    let found = Sha256::of(&bytes);
    if found.to_string() != package.sha256 {
        return Err(InputError::Digest {
            file: package.file(),
            found,
        });
    }
    Ok(bytes)
}

/// Fetches what `folder` does not have yet; nothing is installed.
pub fn fetch(folder: &Path) -> Result<(), InputError> {
    file::make_folder(folder)?;
    for package in pinned()? {
        if folder.join(package.file()).exists() {
            read(folder, &package)?;
            continue;
        }
        let status = Command::new("apt-get")
            .args(["download", "-qq", &format!("{}={}", package.name, package.version)])
            .current_dir(folder)
            .status()
            .map_err(InputError::Apt)?;
        if !status.success() {
            return Err(InputError::Gone(format!("{} {}", package.name, package.version)));
        }
        read(folder, &package)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests: a panic is the report")]
    use super::*;

    #[test]
    fn only_the_pinned_bytes_are_taken() {
        let folder = tempfile::tempdir().unwrap();
        let mut package = pinned().unwrap().pop().unwrap();
        package.version = "1:2".into();
        assert!(package.file().contains("_1%3a2_amd64.deb"));
        std::fs::write(folder.path().join(package.file()), b"other").unwrap();
        assert!(matches!(read(folder.path(), &package), Err(InputError::Digest { .. })));
        package.sha256 = Sha256::of(b"other").to_string();
        assert_eq!(read(folder.path(), &package).unwrap(), b"other");
        package.version = "3".into();
        assert!(matches!(read(folder.path(), &package), Err(InputError::File(_))));
    }
}
