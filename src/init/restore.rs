//! A backup that a set-up takes back from a stick. The stick has a process of its own, the backup is read by another one,
//! and process 1 carries the bytes from the one to the other and knows nothing of them.
//!
//! The first look tells whether all parts are there, and hands over the keyring for the key holder; then, with the keyring
//! installed and the data open, everything is read twice: checked from its first byte to its last, and written.

use super::exchange;
use super::service::follow;
use super::state::Shared;
use super::stick;
use lamchat_appliance::{MANIFEST_FILE, Outcome, Rack, Step, carry};
use lamchat_machine::usb::UsbDisk;
use lamchat_stick::{Entry, FILE_BYTES_MAX, Stick, StickError};
use std::io::{Error, ErrorKind, Read, Result};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the process may take to end after its last word.
const END_MAX: Duration = Duration::from_secs(60);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// A folder of a stick that may be a backup.
#[derive(Debug, Clone)]
pub struct Place {
    /// The stick.
    pub disk: UsbDisk,
    /// The folder's name.
    pub folder: String,
}

/// What a look at a backup told.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its keyring, which nothing has authenticated.
    pub keyring: Vec<u8>,
    /// Bytes of all of its parts.
    pub bytes: u64,
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// Whose backup it was.
    pub server_name: String,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
    /// Media that were not in it.
    pub media_missing: u64,
}

/// The folders of a stick that have a backup's manifest.
pub fn folders(shared: &Arc<Shared>, disk: &UsbDisk) -> std::result::Result<Vec<String>, String> {
    let sentence = |error: StickError| error.to_string();
    let mut stick = stick::open(shared, disk)?;
    let mut found = Vec::new();
    for entry in stick.list("").map_err(sentence)? {
        if !entry.is_folder || !lamchat_stick::check_path(&entry.name) {
            continue;
        }
        let inside = stick.list(&entry.name).map_err(sentence)?;
        if inside.iter().any(|file| is_file(file, MANIFEST_FILE)) {
            found.push(entry.name);
        }
    }
    found.sort();
    // Nothing was written on it.
    drop(stick.close());
    Ok(found)
}

/// Looks at one, before anything is written anywhere.
pub fn look(shared: &Arc<Shared>, place: &Place) -> std::result::Result<Found, String> {
    let mut command = command();
    command.args(["restorer", "--look"]).gid(stick::USER).uid(stick::USER);
    match run(shared, place, &mut command, &mut |_| {})? {
        Outcome::Beginning { keyring, bytes } => Ok(Found { keyring, bytes }),
        Outcome::Failed { reason } => Err(reason),
        Outcome::Restored { .. } => Err("what reads the backup says something else".to_owned()),
    }
}

/// Checks it and fills the exchange's folder from it. The keys are open, and so are the data.
pub fn fill(
    shared: &Arc<Shared>,
    place: &Place,
    progress: &mut dyn FnMut(Step<'_>),
) -> std::result::Result<Restored, String> {
    let config = exchange::prepare_restore().map_err(|error| error.to_string())?;
    let program = exchange::program();
    let mut command = command();
    command
        .args(["restorer", "--config"])
        .arg(config)
        .envs(program.environment)
        .gid(program.group)
        .uid(program.user);
    match run(shared, place, &mut command, progress)? {
        Outcome::Restored {
            server_name,
            created_ms,
            media_missing,
            ..
        } => Ok(Restored {
            server_name,
            created_ms,
            media_missing,
        }),
        Outcome::Failed { reason } => Err(reason),
        Outcome::Beginning { .. } => Err("what reads the backup says something else".to_owned()),
    }
}

fn command() -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("lamchat").env_clear().current_dir("/");
    command
}

/// Carries what the process asks for until it tells how it ended, and waits until it is gone.
fn run(
    shared: &Arc<Shared>,
    place: &Place,
    command: &mut Command,
    progress: &mut dyn FnMut(Step<'_>),
) -> std::result::Result<Outcome, String> {
    // Of the look before: the device is free a moment later.
    let mut rack = StickRack::open(stick::open(shared, &place.disk)?, &place.folder)?;
    let (stream, child) =
        start(shared, command).map_err(|error| format!("what reads the backup does not start: {error}"))?;
    let outcome = carry(&stream, &mut rack, progress);
    // It ends at once if it is waiting for more.
    drop((stream, rack));
    await_end(shared, &child)?;
    outcome.map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => "what reads the backup has ended: the log says why".to_owned(),
        _ => format!("what reads the backup failed, as a damaged one may do it: {error}"),
    })
}

fn start(shared: &Arc<Shared>, command: &mut Command) -> Result<(UnixStream, Child)> {
    let (ours, theirs) = UnixStream::pair()?;
    command
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = shared.start_helper("what reads the backup", command)?;
    // The command keeps the other end open for as long as it is there.
    command.stdin(Stdio::null());
    if let Some(output) = child.stderr.take() {
        let log = Arc::clone(&shared.log);
        let thread = std::thread::Builder::new().name("log".to_owned());
        thread.spawn(move || follow(output, "restorer", &log))?;
    }
    Ok((ours, child))
}

/// Until then it may be writing, and has the data open.
fn await_end(shared: &Shared, child: &Child) -> std::result::Result<(), String> {
    let since = Instant::now();
    while shared.helper_runs(child) {
        if since.elapsed() > END_MAX {
            return Err("what reads the backup does not end: start the machine again".to_owned());
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

fn is_file(entry: &Entry, name: &str) -> bool {
    !entry.is_folder && entry.name.eq_ignore_ascii_case(name)
}

/// The files of one folder of a stick.
struct StickRack {
    stick: Stick,
    folder: String,
    files: Vec<Entry>,
}

impl StickRack {
    fn open(mut stick: Stick, folder: &str) -> std::result::Result<Self, String> {
        let files = stick.list(folder).map_err(|error| error.to_string())?;
        Ok(Self {
            stick,
            folder: folder.to_owned(),
            files,
        })
    }
}

impl Rack for StickRack {
    fn length(&mut self, name: &str) -> Result<u64> {
        let found = self.files.iter().find(|file| is_file(file, name));
        found.map(|file| file.bytes).ok_or(Error::from(ErrorKind::NotFound))
    }

    fn begin(&mut self, name: &str) -> Result<()> {
        self.length(name)?;
        let path = format!("{}/{name}", self.folder);
        let begun = self.stick.begin(&path, FILE_BYTES_MAX);
        begun.map(drop).map_err(|error| Error::other(error.to_string()))
    }
}

impl Read for StickRack {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.stick.content(buffer)
    }
}
