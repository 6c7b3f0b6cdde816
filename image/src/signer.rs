//! Who signs: the operator's keys, or the signatures of a published release. Both lead to the same image, so an auditor
//! without any key builds it and compares every byte.

use crate::authenticode::{self, SignError, is_signature};
use crate::file::{self, FileError};
use crate::keys::{Certificate, KeyError, Keys, ReleaseKey, is_release};
use crate::pe;
use crate::secure_boot::{self, Enrolment, is_enrolment};
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
/// The approvals of PCR 11.
pub const APPROVAL: &str = "approval.json";
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
    /// Published signatures that are not what they should be, and files that are none.
    #[error("the folder of the published signatures is not right:\n{}", .0.join("\n"))]
    Wrong(Vec<String>),
    /// A published signature is not of its kind.
    #[error("the published {0} is not what it should be")]
    Published(String),
}

/// Signs with keys, or takes what was published; remembers every signature by the name of its file.
pub struct Signer {
    keys: Option<Keys>,
    files: BTreeMap<String, Vec<u8>>,
    /// What was signed, by the file of the signature.
    signed: BTreeMap<String, Signed>,
}

/// What was signed.
enum Signed {
    /// A program with this digest, by the certificate in db.
    Program(Sha256),
    /// These bytes, by the release key.
    Release(Vec<u8>),
    /// These bytes, by the release key of before.
    Former(Vec<u8>),
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
            signed: BTreeMap::new(),
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
        Ok(Self {
            keys: None,
            files,
            signed: BTreeMap::new(),
        })
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
        let digest = pe::authenticode(program).map_err(SignError::from)?;
        self.signed.insert(file.clone(), Signed::Program(digest));
        let signed = pe::with_signature(program, self.found(&file)?);
        Ok(signed.map_err(SignError::from)?)
    }

    /// The release key's approval of PCR 11, and while it is rotated, that of the key of before.
    pub fn approval(&mut self, value: Sha256, epoch: u64) -> Result<String, SignerError> {
        let file = APPROVAL;
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
        self.signed.insert(file.clone(), Signed::Release(message.to_vec()));
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
        self.signed.insert(file.clone(), Signed::Former(message.to_vec()));
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

    /// Checks every signature that a release asked for against the public keys beside it. What nobody asked for does not
    /// belong there.
    ///
    /// # Errors
    /// All that is wrong at once. Approvals are another check's business.
    pub fn check(&self) -> Result<(), SignerError> {
        let certificate = |name: &str| {
            let file = format!("{name}.crt");
            Certificate::from_pem(self.found(&file)?).ok_or(SignerError::Published(file))
        };
        let (pk, kek, db) = (certificate("PK")?, certificate("KEK")?, certificate("db")?);
        let release = self.release_public()?;
        let former = self.former_public()?;
        let mut wrong = Vec::new();
        for (file, signed) in &self.signed {
            let signature = self.found(file)?;
            let (is_right, whose) = match signed {
                Signed::Program(digest) => (is_signature(signature, digest, &db), "db.crt's on the program"),
                Signed::Release(message) => (is_release(&release, message, signature), "release.pub's"),
                Signed::Former(message) => {
                    let is_right = former.as_ref().is_some_and(|key| is_release(key, message, signature));
                    (is_right, "former.pub's")
                }
            };
            if !is_right {
                wrong.push(format!("{FOLDER}/{file} is no signature of {whose}"));
            }
        }
        for (name, content, signer) in [("db", &db, &kek), ("KEK", &kek, &pk), ("PK", &pk, &pk)] {
            let [list, update] = [format!("{name}.esl"), format!("{name}.auth")];
            if !is_enrolment(name, self.found(&list)?, self.found(&update)?, content, signer) {
                wrong.push(format!(
                    "{FOLDER}/{list} and {update} do not give a firmware {name}.crt"
                ));
            }
        }
        let strays = self.files.keys().filter(|file| !self.belongs(file));
        wrong.extend(strays.map(|file| format!("{FOLDER}/{file} belongs to nothing")));
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(SignerError::Wrong(wrong))
        }
    }

    /// Whether a file is one of a release's signatures, keys or certificates.
    fn belongs(&self, file: &str) -> bool {
        let is_variable = |name: &str| file == format!("{name}.esl") || file == format!("{name}.auth");
        self.signed.contains_key(file)
            || CERTIFICATES.contains(&file)
            || ["PK", "KEK", "db"].into_iter().any(is_variable)
            || [RELEASE_PUBLIC, FORMER_PUBLIC, APPROVERS, APPROVAL].contains(&file)
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests: a panic is the report")]
    use super::*;

    /// Asks for what a release asks for.
    fn ask(signer: &mut Signer) {
        signer.program("disk", &pe::example()).unwrap();
        signer.release("manifest", b"manifest").unwrap();
        signer.release("bundle", b"bundle").unwrap();
        signer.former("bundle", b"bundle").unwrap();
        signer.approval(Sha256([5; 32]), 1).unwrap();
        signer.enrolments().unwrap();
    }

    #[test]
    fn every_published_signature_is_checked_and_nothing_else_lies_beside_them() {
        let (keys, published) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        Keys::make(keys.path()).unwrap();
        crate::keys::rotate(keys.path()).unwrap();
        let mut signer = Signer::with_keys(keys.path()).unwrap();
        ask(&mut signer);
        signer.check().unwrap();
        let path = |name: &str| published.path().join(name);
        for (name, bytes) in signer.files() {
            std::fs::write(path(name), bytes).unwrap();
        }
        let check = || {
            let mut signer = Signer::published(published.path()).unwrap();
            ask(&mut signer);
            signer.check().map_err(|error| error.to_string())
        };
        check().unwrap();
        for (name, place, reason) in [
            ("disk.p7s", 40, "disk.p7s is no signature of db.crt's"),
            ("bundle.sig", 5, "bundle.sig is no signature of release.pub's"),
            ("manifest.sig", 63, "manifest.sig is no signature of release.pub's"),
            (
                "bundle-former.sig",
                5,
                "bundle-former.sig is no signature of former.pub's",
            ),
            ("db.auth", 300, "db.esl and db.auth do not give a firmware db.crt"),
            ("KEK.esl", 60, "KEK.esl and KEK.auth"),
            ("PK.auth", 3, "PK.esl and PK.auth"),
        ] {
            let right = std::fs::read(path(name)).unwrap();
            let mut changed = right.clone();
            *changed.get_mut(place).unwrap() ^= 1;
            std::fs::write(path(name), changed).unwrap();
            let said = check().unwrap_err();
            assert!(said.contains(reason) && said.lines().count() == 2, "{name}: {said}");
            std::fs::write(path(name), right).unwrap();
        }
        std::fs::write(path("more.sig"), b"x").unwrap();
        assert!(check().unwrap_err().contains("more.sig belongs to nothing"));
    }
}
