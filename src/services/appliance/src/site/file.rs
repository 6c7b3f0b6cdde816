//! The configuration's file: read as the release before or after may have written it, written as a whole.
//!
//! What must never happen here: a member lost that this release does not know, or a file half written.

use super::later::Later;
use super::{Site, SiteError, former};
use lamchat_base::Entropy;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Largest file, in bytes.
const FILE_BYTES_MAX: u64 = 64 << 10;

impl Site {
    /// Reads and checks the file's text; what a later release has added is passed over and kept.
    pub fn parse(text: &str) -> Result<Self, SiteError> {
        let malformed = |error: toml::de::Error| SiteError::Malformed(error.message().to_owned());
        let mut table: toml::Table = toml::from_str(text).map_err(malformed)?;
        let later = Later::take(&mut table);
        let site = Self {
            later,
            ..table.try_into().map_err(malformed)?
        };
        site.check()?;
        Ok(site)
    }

    /// The file's text.
    fn text(&self) -> Result<String, SiteError> {
        let malformed = |error: toml::ser::Error| SiteError::Malformed(error.to_string());
        let mut table = toml::Table::try_from(self).map_err(malformed)?;
        self.later.put_back(&mut table);
        toml::to_string(&table).map_err(malformed)
    }

    /// The names of what is in the file and does nothing here: a later release has written it.
    pub fn later(&self) -> Vec<String> {
        self.later.names()
    }

    /// Reads and checks a file; `None` when there is none.
    pub fn load(path: &Path) -> Result<Option<Self>, SiteError> {
        let io = |source| SiteError::Io {
            path: path.to_owned(),
            source,
        };
        match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io(error)),
            Ok(metadata) if metadata.len() > FILE_BYTES_MAX => {
                return Err(SiteError::Wrong("the configuration is too large".to_owned()));
            }
            Ok(_) => {}
        }
        Self::parse(&std::fs::read_to_string(path).map_err(io)?).map(Some)
    }

    /// Writes the file anew: durable before the name points to it, and what was there is kept among the former versions.
    pub fn save(&self, path: &Path, entropy: &dyn Entropy) -> Result<(), SiteError> {
        self.check()?;
        let text = self.text()?;
        let io = |source| SiteError::Io {
            path: path.to_owned(),
            source,
        };
        let mut suffix = [0; 8];
        entropy.fill(&mut suffix);
        let new = path.with_extension(format!("{:016x}.new", u64::from_ne_bytes(suffix)));
        let mut options = std::fs::OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)
            .map_err(io)?;
        let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
        written
            .and_then(|()| former::keep(path))
            .and_then(|()| std::fs::rename(&new, path))
            .map_err(io)?;
        let folder = path.parent().unwrap_or(Path::new("/"));
        std::fs::File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(io)
    }
}
