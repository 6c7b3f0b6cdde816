//! What an auditor remembers of a box beside its enrolment, in ENROLMENT.seen: counters, clock and the audit log's head of
//! the last bundle that was accepted. Written after a success only. Between reading and writing it nobody else does: two
//! bundles that were judged by the same memory could both be accepted, and the older one be what is remembered.

use super::{Failure, named, output, read};
use lamchat_attestation::{Mark, TextError};
use std::fs::{File, TryLockError, rename};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The memory of one box.
pub struct Memory {
    path: PathBuf,
    /// What is remembered; `None` before the first bundle.
    pub seen: Option<Mark>,
    /// The enrolment, which stays what it is while the memory is replaced. Its lock goes with it.
    _lock: File,
}

impl Memory {
    /// Beside this enrolment. Waits while another process judges a bundle of the same box.
    pub fn open(enrolment: &Path) -> Result<Self, Failure> {
        let lock = lock(enrolment)?;
        let path = with_ending(enrolment, ".seen");
        let seen = match path.try_exists() {
            Ok(false) => None,
            Ok(true) => Some(named(&path, Mark::from_bytes(&read(&path)?).map_err(Unreadable))?),
            Err(error) => return named(&path, Err(error)),
        };
        Ok(Self {
            path,
            seen,
            _lock: lock,
        })
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

/// Some network file systems lock only what is open for writing; an enrolment that may only be read is locked elsewhere.
fn lock(enrolment: &Path) -> Result<File, Failure> {
    let writable = File::options().read(true).write(true).open(enrolment);
    let file = named(enrolment, writable.or_else(|_| File::open(enrolment)))?;
    let locked = match file.try_lock() {
        Err(TryLockError::WouldBlock) => {
            output::note(
                "note: another `lamchat attest verify` judges a bundle of this box: waiting until it has ended",
            );
            file.lock()
        }
        Err(TryLockError::Error(error)) => Err(error),
        Ok(()) => Ok(()),
    };
    named(enrolment, locked.map_err(Unlockable))?;
    Ok(file)
}

#[derive(Debug, thiserror::Error)]
#[error("it cannot be locked: {0}. Keep it where files can be locked, or use --no-memory and --previous")]
struct Unlockable(std::io::Error);

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}
