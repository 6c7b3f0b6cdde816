//! Who signs: the operator's keys, or the signatures of a published release. Both lead to the same image, so an auditor
//! without any key builds it and compares every byte.

use crate::authenticode::{self, SignError};
use crate::file::{self, FileError};
use crate::keys::{KeyError, Keys, ReleaseKey};
use crate::pe;
use crate::secure_boot::{self, Enrolment};
use crate::uki::{self, UkiError};
use lamchat_attestation::Sha256;
use std::collections::BTreeMap;
use std::path::Path;

/// The folder of a release that has its signatures, each a file.
pub const FOLDER: &str = "signatures";
/// The release key's public half.
const RELEASE_PUBLIC: &str = "release.pub";
/// The one of before, while it is rotated.
const FORMER_PUBLIC: &str = "former.pub";
/// Whose approvals a box asks for, if the operator names approvers.
pub const APPROVERS: &str = "approvers.json";
/// What may be handed out of a folder of keys.
const CERTIFICATES: [&str; 3] = ["PK.crt", "KEK.crt", "db.crt"];

/// A signature could not be made or found.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// A file could not be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A key refused.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A program could not be signed.
    #[error(transparent)]
    Program(#[from] SignError),
    /// An approval could not be made.
    #[error(transparent)]
    Approval(#[from] UkiError),
    /// The file of approvers.
    #[error(transparent)]
    Approvers(#[from] lamchat_release::ApprovalsError),
    /// A published signature is not of its kind.
    #[error("the published {0} is not what it should be")]
    Published(String),
}

/// Signs with keys, or takes what was published; remembers every signature by the name of its file.
pub struct Signer {
    keys: Option<Keys>,
    files: BTreeMap<String, Vec<u8>>,
}

impl Signer {
    /// Signs with the keys of a folder.
    pub fn with_keys(folder: &Path) -> Result<Self, SignerError> {
        let keys = Keys::read(folder)?;
        let mut files = BTreeMap::new();
        for name in CERTIFICATES {
            files.insert(name.to_owned(), file::read(&folder.join(name))?);
        }
        files.insert(RELEASE_PUBLIC.to_owned(), keys.release.public_pem()?.into_bytes());
        if let Some(former) = &keys.former {
            files.insert(FORMER_PUBLIC.to_owned(), former.public_pem()?.into_bytes());
        }
        let approvers = folder.join(APPROVERS);
        if approvers.exists() {
            files.insert(APPROVERS.to_owned(), file::read(&approvers)?);
        }
        Ok(Self {
            keys: Some(keys),
            files,
        })
    }

    /// Takes the signatures of a release, from its folder [`FOLDER`].
    pub fn published(folder: &Path) -> Result<Self, SignerError> {
        let mut files = BTreeMap::new();
        for entry in std::fs::read_dir(folder).map_err(FileError::at(folder))? {
            let entry = entry.map_err(FileError::at(folder))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            files.insert(name, file::read(&entry.path())?);
        }
        Ok(Self { keys: None, files })
    }

    /// All signatures, certificates and public keys, by the names of their files.
    pub fn files(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.files
    }

    /// The release key's public half, PEM.
    pub fn release_public(&self) -> Result<String, SignerError> {
        self.text(RELEASE_PUBLIC)
    }

    /// The public half of the release key of before, PEM, while it is rotated.
    pub fn former_public(&self) -> Result<Option<String>, SignerError> {
        if !self.files.contains_key(FORMER_PUBLIC) {
            return Ok(None);
        }
        self.text(FORMER_PUBLIC).map(Some)
    }

    /// The approvers that the image names, as [`APPROVERS`], if it names any.
    pub fn approvers(&self) -> Result<Option<&[u8]>, SignerError> {
        let named = self.files.get(APPROVERS).map(Vec::as_slice);
        if let Some(named) = named {
            lamchat_release::Approvers::from_json(named)?;
        }
        Ok(named)
    }

    /// Signs a program for the firmware.
    pub fn program(&mut self, name: &str, program: &[u8]) -> Result<Vec<u8>, SignerError> {
        let file = format!("{name}.p7s");
        if let Some(keys) = &self.keys {
            self.files
                .insert(file.clone(), authenticode::signature(program, &keys.db)?);
        }
        let signed = pe::with_signature(program, self.found(&file)?);
        Ok(signed.map_err(SignError::from)?)
    }

    /// The release key's approval of PCR 11, and while it is rotated, that of the key of before.
    pub fn approval(&mut self, value: Sha256, epoch: u64) -> Result<String, SignerError> {
        let file = "approval.json";
        if let Some(keys) = &self.keys {
            let signs: Vec<&ReleaseKey> = [&keys.release].into_iter().chain(&keys.former).collect();
            let approval = uki::approvals(value, epoch, &signs)?;
            self.files.insert(file.to_owned(), approval.into_bytes());
        }
        self.text(file)
    }

    /// The release key's signature over bytes: r and s of ECDSA with SHA-256.
    pub fn release(&mut self, name: &str, message: &[u8]) -> Result<[u8; 64], SignerError> {
        let file = format!("{name}.sig");
        if let Some(keys) = &self.keys {
            self.files.insert(file.clone(), keys.release.sign(message).to_vec());
        }
        self.signature(file)
    }

    /// The same by the key of before, while it is rotated.
    pub fn former(&mut self, name: &str, message: &[u8]) -> Result<Option<[u8; 64]>, SignerError> {
        if !self.files.contains_key(FORMER_PUBLIC) {
            return Ok(None);
        }
        let file = format!("{name}-former.sig");
        if let Some(former) = self.keys.as_ref().and_then(|keys| keys.former.as_ref()) {
            self.files.insert(file.clone(), former.sign(message).to_vec());
        }
        self.signature(file).map(Some)
    }

    fn signature(&self, file: String) -> Result<[u8; 64], SignerError> {
        let signature = self.found(&file)?.try_into();
        signature.map_err(|_| SignerError::Published(file))
    }

    /// The variables of Secure Boot: `db.auth`, `KEK.auth`, `PK.auth` and the lists in them, by file.
    pub fn enrolments(&mut self) -> Result<Vec<(String, Vec<u8>)>, SignerError> {
        let mut out = Vec::new();
        if let Some(keys) = &self.keys {
            for Enrolment { name, list, update } in secure_boot::enrolments(keys)? {
                self.files.insert(format!("{name}.esl"), list);
                self.files.insert(format!("{name}.auth"), update);
            }
        }
        for file in ["db.auth", "KEK.auth", "PK.auth"] {
            out.push((file.to_owned(), self.found(file)?.to_vec()));
        }
        Ok(out)
    }

    /// A signature, certificate or key by the name of its file.
    pub fn found(&self, file: &str) -> Result<&[u8], SignerError> {
        let missing = || SignerError::Published(file.to_owned());
        self.files.get(file).map(Vec::as_slice).ok_or_else(missing)
    }

    fn text(&self, file: &str) -> Result<String, SignerError> {
        let bytes = self.found(file)?.to_vec();
        String::from_utf8(bytes).map_err(|_| SignerError::Published(file.to_owned()))
    }
}
