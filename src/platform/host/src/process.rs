//! Limits of this process: who may read its files, how many it may open, no core dumps.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::stat::{Mode, umask};

/// File descriptors that are asked for: connections, the log, media.
const OPEN_FILES_WANTED: u64 = 65_536;

/// Files and sockets that this process makes are for its own user only.
pub fn keep_files_private() {
    umask(Mode::from_bits_truncate(0o077));
}

/// No core dumps: they would hold keys. Errors are answered, for the log.
pub fn forbid_core_dumps() -> Result<(), std::io::Error> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(Into::into)
}

/// Raises the number of files that may be open as far as is allowed and useful. Answers it.
pub fn raise_open_files() -> Result<u64, std::io::Error> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = OPEN_FILES_WANTED.min(hard);
    if wanted <= soft {
        return Ok(soft);
    }
    setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)?;
    Ok(wanted)
}
