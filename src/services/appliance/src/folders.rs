//! Where things are below the data folder: one definition for the server, backup and restore.

use std::path::{Path, PathBuf};

/// The folders of an exchange.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    /// The data folder itself, in which small secrets are.
    pub data: PathBuf,
    /// For the database and its log.
    pub store: PathBuf,
    /// For media.
    pub media: PathBuf,
}

impl Folders {
    /// The folders below `data_dir`.
    pub fn below(data_dir: &Path) -> Self {
        Self {
            data: data_dir.to_owned(),
            store: data_dir.join("store"),
            media: data_dir.join("media"),
        }
    }
}
