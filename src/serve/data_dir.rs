//! The data folder.

use super::StartError;
use nix::sys::stat::{Mode, umask};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// Files and sockets that this process makes are for its own user only.
pub fn keep_files_private() {
    umask(Mode::from_bits_truncate(0o077));
}

/// Makes the folder, for its owner only. One that is there and open to others is closed to them.
pub fn prepare(dir: &Path) -> Result<(), StartError> {
    let what = || format!("the data folder {} cannot be made", dir.display());
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(StartError::io(what()))?;
    let mode = std::fs::metadata(dir)
        .map_err(StartError::io(what()))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        let closed = std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700));
        closed.map_err(StartError::io(format!(
            "the data folder {} cannot be closed to others",
            dir.display()
        )))?;
        tracing::warn!("the data folder was open to other users; it is closed now");
    }
    Ok(())
}
