//! The holder's folder, which is all that it may change: `keys/` below the data folder, unless the configuration names
//! another.

use crate::{LOCK, SOCKET};
use std::fs::{DirBuilder, File, Permissions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The folder below the data folder, unless another is named.
pub const FOLDER: &str = "keys";
/// Files of the keyring that earlier versions had in the data folder itself. The keyring comes last: as long as it is
/// where it was, the move is not over.
const MOVED: [&str; 4] = [
    "secrets/audit-key.sealed",
    "secrets/audit-heads.sealed",
    "keyring.key",
    "keyring",
];
/// A holder whose exchange was killed ends within this time.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
const LOCK_PAUSE: Duration = Duration::from_millis(2);
const SOCKET_MODE: u32 = 0o600;

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Somebody else uses it.
    #[error("the keys in {0} are in use by another lamchat: it runs already, or waits to be unlocked")]
    Busy(PathBuf),
    /// The disk refused.
    #[error("{path}: {source}")]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Io { path, source }
}

/// Makes the folder `dir`, if need be, and moves there what earlier versions kept in the data folder.
pub fn prepare(data_dir: &Path, dir: &Path) -> Result<(), FolderError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(failed(dir))?;
    // A holder of another user does not see into the data folder, and then has nothing there.
    if data_dir.join("keyring").exists() {
        adopt(data_dir, dir)?;
    }
    Ok(())
}

fn adopt(data_dir: &Path, dir: &Path) -> Result<(), FolderError> {
    let secrets = dir.join("secrets");
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&secrets)
        .map_err(failed(&secrets))?;
    for name in MOVED {
        let (from, to) = (data_dir.join(name), dir.join(name));
        match std::fs::rename(&from, &to) {
            Ok(()) => sync(to.parent().unwrap_or(dir))?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&from)(error)),
        }
    }
    sync(data_dir)
}

fn sync(dir: &Path) -> Result<(), FolderError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed(dir))
}

/// Keeps other holders away for as long as it lives.
pub fn lock(dir: &Path) -> Result<File, FolderError> {
    let path = dir.join(LOCK);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(failed(&path))?;
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::WouldBlock) => return Err(FolderError::Busy(dir.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(&path)(error)),
        }
    }
}

/// The socket for what people type, in place of one that an earlier holder left behind. With the lock.
pub fn socket(dir: &Path) -> Result<UnixListener, FolderError> {
    let path = dir.join(SOCKET);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(&path)(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&path).map_err(failed(&path))?;
    std::fs::set_permissions(&path, Permissions::from_mode(SOCKET_MODE)).map_err(failed(&path))?;
    Ok(listener)
}
