//! What an auditor remembers of a box beside its enrolment, in ENROLMENT.seen: counters, clock and the audit log's head of
//! the last bundle that was accepted. Written after a success only.

use super::{Failure, named, read};
use lamchat_attestation::{Mark, TextError};
use std::fs::{File, rename};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The memory of one box.
pub struct Memory {
    path: PathBuf,
    /// What is remembered; `None` before the first bundle.
    pub seen: Option<Mark>,
}

impl Memory {
    /// Beside this enrolment.
    pub fn open(enrolment: &Path) -> Result<Self, Failure> {
        let path = with_ending(enrolment, ".seen");
        let seen = match path.try_exists() {
            Ok(false) => None,
            Ok(true) => Some(named(&path, Mark::from_bytes(&read(&path)?).map_err(Unreadable))?),
            Err(error) => return named(&path, Err(error)),
        };
        Ok(Self { path, seen })
    }

    /// Remembers a bundle that was accepted.
    pub fn keep(&self, mark: &Mark) -> Result<(), Failure> {
        if self.seen.as_ref() == Some(mark) {
            return Ok(());
        }
        let fresh = with_ending(&self.path, ".new");
        let written = File::create(&fresh).and_then(|mut file| {
            file.write_all(&mark.to_bytes())?;
            file.sync_all()?;
            rename(&fresh, &self.path)
        });
        named(&self.path, written)
    }

    /// The file's name.
    pub fn name(&self) -> String {
        self.path.display().to_string()
    }
}

#[derive(Debug, thiserror::Error)]
#[error(
    "what is remembered of this box cannot be read: {0}. Restore the file; removing it forgets what was accepted before"
)]
struct Unreadable(TextError);

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}
