//! What the machine tells about how it was started: the firmware's event log, the running program, the image, the key in
//! the null hierarchy. Files are opened once, so that a sandbox that is entered afterwards keeps nothing from being read.

use aws_lc_rs::digest::{Context, SHA256};
use lamchat_attestation::limits::EVENT_LOG_BYTES_MAX;
use lamchat_attestation::{Sha256, from_hex};
use parking_lot::Mutex;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};

/// The kernel's copy of the firmware's log, of the machine's first TPM.
const EVENT_LOG: &str = "/sys/kernel/security/tpm0/binary_bios_measurements";
/// The name of the key that the kernel found in the null hierarchy at its start (Linux 6.10 and later).
const NULL_NAME: &str = "/sys/class/tpm/tpm0/null_name";
/// The running program, whatever became of its file.
const PROGRAM: &str = "/proc/self/exe";
/// Longest text of a name: an algorithm and SHA-512, in hexadecimal digits and with a line end.
const NULL_NAME_BYTES_MAX: u64 = 2 * 66 + 1;
/// Longest text of a digest, with a line end.
const DIGEST_BYTES_MAX: u64 = 2 * 32 + 1;
/// How much of a file is read at a time.
const PIECE_BYTES: usize = 64 << 10;

/// Where these things are. Absent ones are not looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The firmware's log.
    pub event_log: Option<PathBuf>,
    /// The running program.
    pub program: PathBuf,
    /// The file of the unified kernel image that was booted.
    pub uki: Option<PathBuf>,
    /// A file with that image's digest, in hexadecimal, where the image itself cannot be read. It may be written later.
    pub uki_sha256: Option<PathBuf>,
    /// The name of the key in the null hierarchy.
    pub null_key_name: Option<PathBuf>,
}

impl Places {
    /// Of the machine's own TPM.
    pub fn of_machine() -> Self {
        Self {
            event_log: Some(EVENT_LOG.into()),
            program: PROGRAM.into(),
            uki: None,
            uki_sha256: None,
            null_key_name: Some(NULL_NAME.into()),
        }
    }

    /// Of another TPM than the machine's: the machine's log is not its log.
    pub fn of_software_tpm() -> Self {
        Self {
            event_log: None,
            null_key_name: None,
            ..Self::of_machine()
        }
    }
}

/// A file that was opened, or why not.
#[derive(Debug)]
struct Opened {
    path: PathBuf,
    file: Result<Mutex<File>, io::Error>,
}

impl Opened {
    fn open(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            file: File::open(path).map(Mutex::new),
        }
    }

    /// Works on the file from its start; the error is a sentence with the path.
    fn with<T>(&self, work: impl FnOnce(&mut File) -> io::Result<T>) -> Result<T, String> {
        let named = |error: &io::Error| format!("{}: {error}", self.path.display());
        let mut file = self.file.as_ref().map_err(named)?.lock();
        let worked = file.rewind().and_then(|()| work(&mut file));
        worked.map_err(|error| named(&error))
    }

    /// The digest, which files that never change are asked for once.
    fn sha256(&self) -> Result<Sha256, String> {
        self.with(|file| {
            let mut context = Context::new(&SHA256);
            let mut piece = vec![0; PIECE_BYTES];
            loop {
                let read = file.read(&mut piece)?;
                match piece.get(..read) {
                    Some([]) | None => break,
                    Some(bytes) => context.update(bytes),
                }
            }
            let digest: [u8; 32] = context.finish().as_ref().try_into().map_err(io::Error::other)?;
            Ok(Sha256(digest))
        })
    }
}

/// The machine, as far as its files were there when it was opened.
#[derive(Debug)]
pub struct Machine {
    event_log: Option<Opened>,
    program: Opened,
    uki: Option<Opened>,
    uki_digest: Option<Opened>,
    null_key_name: Option<Opened>,
    program_sha256: Mutex<Option<Sha256>>,
    uki_sha256: Mutex<Option<Sha256>>,
}

impl Machine {
    /// Opens the files; what is not there is said when it is asked for.
    pub fn open(places: &Places) -> Self {
        let optional = |path: &Option<PathBuf>| path.as_deref().map(Opened::open);
        Self {
            event_log: optional(&places.event_log),
            program: Opened::open(&places.program),
            uki: optional(&places.uki),
            uki_digest: optional(&places.uki_sha256),
            // Kernels before 6.10 have no such file, which is nothing to report.
            null_key_name: optional(&places.null_key_name).filter(|opened| opened.file.is_ok()),
            program_sha256: Mutex::default(),
            uki_sha256: Mutex::default(),
        }
    }

    /// The firmware's log; or why there is none.
    pub fn event_log(&self) -> Result<Vec<u8>, String> {
        let opened = self.event_log.as_ref();
        let opened = opened.ok_or("the TPM is not this machine's, and attestation.event_log names no log of it")?;
        let mut log = Vec::new();
        opened.with(|file| file.take(EVENT_LOG_BYTES_MAX as u64 + 1).read_to_end(&mut log))?;
        if log.len() > EVENT_LOG_BYTES_MAX {
            return Err(format!(
                "{}: larger than the {EVENT_LOG_BYTES_MAX} bytes that a verifier reads",
                opened.path.display()
            ));
        }
        if log.is_empty() {
            return Err(format!("{}: it is empty", opened.path.display()));
        }
        Ok(log)
    }

    /// Digest of the running program.
    pub fn program(&self) -> Result<Sha256, String> {
        remembered(&self.program_sha256, || self.program.sha256())
    }

    /// Digest of the unified kernel image, where one is named.
    pub fn uki(&self) -> Result<Option<Sha256>, String> {
        if let Some(opened) = &self.uki {
            return remembered(&self.uki_sha256, || opened.sha256()).map(Some);
        }
        let Some(opened) = &self.uki_digest else {
            return Ok(None);
        };
        remembered(&self.uki_sha256, || digest(opened)).map(Some)
    }

    /// The name of the key in the null hierarchy, where the kernel tells it.
    pub fn null_key_name(&self) -> Result<Option<Vec<u8>>, String> {
        let Some(opened) = &self.null_key_name else {
            return Ok(None);
        };
        let mut text = String::new();
        opened.with(|file| file.take(NULL_NAME_BYTES_MAX).read_to_string(&mut text))?;
        let name = from_hex(text.trim_end()).filter(|name| (22..=66).contains(&name.len()));
        match name {
            Some(name) => Ok(Some(name)),
            None => Err(format!("{}: no name of a key", opened.path.display())),
        }
    }
}

/// A digest that somebody else found out.
fn digest(opened: &Opened) -> Result<Sha256, String> {
    let mut text = String::new();
    opened.with(|file| file.take(DIGEST_BYTES_MAX).read_to_string(&mut text))?;
    let digest = from_hex(text.trim_end()).and_then(|digest| digest.try_into().ok());
    digest
        .map(Sha256)
        .ok_or_else(|| format!("{}: it has no digest (yet)", opened.path.display()))
}

/// What was found out once.
fn remembered(place: &Mutex<Option<Sha256>>, find: impl FnOnce() -> Result<Sha256, String>) -> Result<Sha256, String> {
    let mut place = place.lock();
    match *place {
        Some(known) => Ok(known),
        None => Ok(*place.insert(find()?)),
    }
}
