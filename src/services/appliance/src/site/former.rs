//! The versions before the newest one, in a folder beside the file: what a box goes on with where its release cannot read
//! the newest, because a later release wrote it or because it is damaged.
//!
//! A change of the network that nobody confirmed was never written down, so none comes back from here. What must never
//! happen: a version overwritten or deleted because this release cannot read it. It goes only as the oldest of many, when
//! an operator has made as many newer ones.

use super::{Site, SiteError};
use std::fs::{DirBuilder, File};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Where they are.
const FOLDER: &str = "site.former";
/// Versions that are kept, and files among them whose version nobody could read.
const FORMER_MAX: usize = 16;
/// How the name of a file begins whose version is not known, or is taken.
const UNREAD: &str = "unread-";
/// How every name ends.
const SUFFIX: &str = ".toml";
/// No version is as high, or the file is damaged: TOML's numbers end soon above it, and the next one must be one.
const VERSION_END: u64 = 1 << 62;
/// Bytes that are looked at for the version: it is among the first members.
const HEAD_BYTES: u64 = 64 << 10;

/// What a box goes by.
#[derive(Debug)]
pub struct InEffect {
    /// The configuration.
    pub site: Site,
    /// Why it is not the newest one; `None`: it is.
    pub instead: Option<Instead>,
}

/// A newest version that cannot be read.
#[derive(Debug)]
pub struct Instead {
    /// Its number, where the file tells that much.
    pub version: Option<u64>,
    /// Why not.
    pub why: SiteError,
}

impl Site {
    /// Reads the file, or the newest former version that this release can read wholly; `None` when there is no file. The
    /// error is the newest one's: no version can be read.
    pub fn in_effect(path: &Path) -> Result<Option<InEffect>, SiteError> {
        let why = match Self::load(path) {
            Ok(site) => return Ok(site.map(|site| InEffect { site, instead: None })),
            Err(why) => why,
        };
        let version = version_in(path);
        let (mut found, mut highest): (Option<Self>, u64) = (None, version.unwrap_or_default());
        // A folder that cannot be read has nothing to go on with, and the newest one's error stands.
        for file in files(path).unwrap_or_default() {
            highest = highest.max(version_in(&file).unwrap_or_default());
            // One that this release does not read either is no news.
            if let Ok(Some(former)) = Self::load(&file)
                && found.as_ref().is_none_or(|found| found.version < former.version)
            {
                found = Some(former);
            }
        }
        let Some(mut site) = found else { return Err(why) };
        site.highest = highest;
        let instead = Some(Instead { version, why });
        Ok(Some(InEffect { site, instead }))
    }
}

/// Keeps the file that is about to be replaced. Durable on return.
pub(super) fn keep(path: &Path) -> std::io::Result<()> {
    let kept = match std::fs::metadata(path) {
        Ok(kept) => kept,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let folder = folder(path);
    match DirBuilder::new().mode(0o700).create(&folder) {
        Ok(()) => File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()?,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    let numbered = version_in(path).map(|version| format!("{version}{SUFFIX}"));
    let unread = (1..=u64::MAX).map(|number| format!("{UNREAD}{number}{SUFFIX}"));
    for name in numbered.into_iter().chain(unread) {
        let place = folder.join(name);
        match std::fs::hard_link(path, &place) {
            Ok(()) => break,
            // A power cut came between this and the new file's name.
            Err(_) if std::fs::metadata(&place).is_ok_and(|there| is_same(&there, &kept)) => break,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    forget_oldest(path)?;
    File::open(&folder)?.sync_all()
}

fn is_same(one: &std::fs::Metadata, other: &std::fs::Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Of those with a number, and of the others, the newest stay.
fn forget_oldest(path: &Path) -> std::io::Result<()> {
    let (mut numbered, mut unread) = (Vec::new(), Vec::new());
    for file in files(path)? {
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let name = name.trim_end_matches(SUFFIX);
        match (name.parse::<u64>(), name.strip_prefix(UNREAD).map(str::parse::<u64>)) {
            (Ok(number), _) => numbered.push((number, file)),
            (_, Some(Ok(number))) => unread.push((number, file)),
            // Not ours.
            _ => {}
        }
    }
    for mut kept in [numbered, unread] {
        kept.sort();
        let many = kept.len().saturating_sub(FORMER_MAX);
        for (_, file) in kept.iter().take(many) {
            std::fs::remove_file(file)?;
        }
    }
    Ok(())
}

fn folder(path: &Path) -> PathBuf {
    path.with_file_name(FOLDER)
}

/// The files in the folder; none where there is no folder.
fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    match std::fs::read_dir(folder(path)) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The version that a file says it is of, whatever else is in it: the line as every release writes it, before any table.
fn version_in(path: &Path) -> Option<u64> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(HEAD_BYTES).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let mut members = text.lines().take_while(|line| !line.starts_with('['));
    let version: u64 = members.find_map(|line| line.strip_prefix("version = ")?.trim().parse().ok())?;
    Some(version).filter(|version| *version < VERSION_END)
}

#[cfg(test)]
#[path = "former_tests.rs"]
mod tests;
