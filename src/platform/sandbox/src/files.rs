//! Files: all of them are given up but those under a few places.

use crate::SandboxError;
use landlock::{
    ABI, Access, AccessFs, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus,
};
use std::path::Path;

/// The box's kernel is 6.1; a newer ABI would be half enforced there.
const LANDLOCK_ABI: ABI = ABI::V2;

/// What may be done under a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// Everything but running what lies there.
    Own,
    /// Reading files and listing folders.
    Read,
    /// Reading and writing what is there, as a device.
    Device,
}

/// A place that stays open, with all beneath it.
#[derive(Debug, Clone, Copy)]
pub struct Place<'p> {
    path: &'p Path,
    keep: Keep,
    required: bool,
}

impl<'p> Place<'p> {
    /// A place that must be there.
    pub fn required(path: &'p Path, keep: Keep) -> Self {
        Self {
            path,
            keep,
            required: true,
        }
    }

    /// A place that may be missing; what is not there now cannot be opened later either.
    pub fn optional(path: &'p Path, keep: Keep) -> Self {
        Self {
            path,
            keep,
            required: false,
        }
    }
}

/// How far the kernel enforces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Files {
    /// All.
    Enforced,
    /// Some.
    Partly,
    /// None: the kernel is too old.
    Open,
}

/// Gives up all files but those under `places`.
pub fn close_files(places: &[Place<'_>]) -> Result<Files, SandboxError> {
    nix::sys::prctl::set_no_new_privs()?;
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK_ABI))?
        .create()?;
    for place in places {
        match PathFd::new(place.path) {
            Ok(opened) => rules = rules.add_rule(PathBeneath::new(opened, access(place.keep)))?,
            Err(error) if place.required => return Err(error.into()),
            Err(_) => {}
        }
    }
    Ok(match rules.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Files::Enforced,
        RulesetStatus::PartiallyEnforced => Files::Partly,
        RulesetStatus::NotEnforced => Files::Open,
    })
}

fn access(keep: Keep) -> BitFlags<AccessFs> {
    match keep {
        Keep::Own => AccessFs::from_all(LANDLOCK_ABI) & !AccessFs::Execute,
        Keep::Read => AccessFs::ReadFile | AccessFs::ReadDir,
        Keep::Device => AccessFs::ReadFile | AccessFs::WriteFile,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{Files, Keep, Place, close_files};
    use crate::SandboxError;
    use std::fs::{read, write};

    /// In a thread of its own, which stays confined.
    #[test]
    fn only_the_places_that_are_kept_can_be_reached() {
        let folder = tempfile::tempdir().unwrap();
        let [own, shown, hidden] = ["own", "shown", "hidden"].map(|name| folder.path().join(name));
        for place in [&own, &shown, &hidden] {
            std::fs::create_dir(place).unwrap();
            write(place.join("file"), "x").unwrap();
        }
        let missing = folder.path().join("missing");
        let confined = std::thread::spawn(move || {
            let places = [
                Place::required(&own, Keep::Own),
                Place::required(&shown, Keep::Read),
                Place::optional(&missing, Keep::Own),
            ];
            assert_eq!(close_files(&places).unwrap(), Files::Enforced);
            write(own.join("new"), "x").unwrap();
            assert_eq!(read(shown.join("file")).unwrap(), b"x");
            assert!(write(shown.join("file"), "y").is_err());
            assert!(read(hidden.join("file")).is_err());
        });
        confined.join().unwrap();
    }

    #[test]
    fn a_required_place_that_is_missing_is_an_error() {
        let refused = std::thread::spawn(|| {
            let nowhere = std::path::Path::new("/nowhere/at/all");
            close_files(&[Place::required(nowhere, Keep::Own)])
        });
        assert!(matches!(refused.join().unwrap(), Err(SandboxError::Place(_))));
    }
}
