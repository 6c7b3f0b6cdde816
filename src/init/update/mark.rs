//! Whether the release that runs is marked good: the boot loader's own word, from before it counted this attempt.
//!
//! What must never happen here: that a release is taken for good because nobody could tell. The database of one on trial
//! stays as the release before can read it, and it is marked when it has answered for long enough; a release that wrongly
//! counts as good does neither, and the fall back then finds data that it refuses.

use lamchat_machine::efi::{LOADER, Variables};
use lamchat_slots::Name;
use std::path::Path;

/// What is there exactly when UEFI firmware started the kernel, also while its variables cannot be read.
const UEFI: &str = "/sys/firmware/efi";
/// The boot loader's variable with the file that it started.
const ENTRY: &str = "LoaderEntrySelected";

/// What is known of the release that runs. What is marked good later stays on trial for this run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// It is marked good, or nothing counts attempts: a machine without UEFI has no such boot loader.
    Good,
    /// It is not, and had this many attempts left.
    Trial {
        /// Before this one. One without is started only where there is nothing else.
        left: u32,
    },
    /// Nobody can tell, and why. Whatever cannot be taken back waits, as on trial.
    Unknown(String),
}

impl Mark {
    /// Whether what cannot be taken back has to wait.
    pub fn is_on_trial(&self) -> bool {
        *self != Self::Good
    }

    /// Read from a machine's variables.
    fn of(variables: &Variables, has_uefi: bool) -> Self {
        if !has_uefi {
            return Self::Good;
        }
        let entry = match variables.text(ENTRY, LOADER) {
            Ok(Some(entry)) => entry,
            Ok(None) => return Self::Unknown(format!("there is no {ENTRY}")),
            Err(error) => return Self::Unknown(error.to_string()),
        };
        match Name::parse_path(&entry).map(|name| name.tries) {
            Some(None) => Self::Good,
            Some(Some((left, _))) => Self::Trial { left },
            None => Self::Unknown(format!("{entry:?} was started, which is no slot's file")),
        }
    }
}

/// Whether the release that runs is marked good.
pub fn mark() -> Mark {
    Mark::of(&Variables::of_machine(), Path::new(UEFI).exists())
}

/// Whether the attempts of the release that runs are counted: it is not marked good, and was started because it had
/// attempts left. Where nobody can tell, an early restart could help nobody.
pub fn is_counted() -> bool {
    matches!(mark(), Mark::Trial { left } if left > 0)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn of(content: Option<&[u8]>, has_uefi: bool) -> Mark {
        let folder = tempfile::tempdir().unwrap();
        if let Some(content) = content {
            let file = folder.path().join(format!("{ENTRY}-{LOADER}"));
            std::fs::write(file, content).unwrap();
        }
        Mark::of(&Variables::in_folder(folder.path()), has_uefi)
    }

    fn utf_16(name: &str) -> Vec<u8> {
        let units = name.encode_utf16().chain([0]);
        [6, 0, 0, 0]
            .into_iter()
            .chain(units.flat_map(u16::to_le_bytes))
            .collect()
    }

    #[test]
    fn what_nobody_can_tell_is_on_trial() {
        let entry = |name: &str| of(Some(&utf_16(name)), true);
        assert_eq!(entry("lamchat-a.efi"), Mark::Good);
        assert_eq!(entry("lamchat-b+3.efi"), Mark::Trial { left: 3 });
        assert_eq!(entry("lamchat-b+0-3.efi"), Mark::Trial { left: 0 });
        for unknown in [
            entry("shell.efi"),
            entry(""),
            of(None, true),
            of(Some(&[6, 0]), true),
            of(Some(&[6, 0, 0, 0, 1]), true),
        ] {
            assert!(matches!(unknown, Mark::Unknown(_)), "{unknown:?}");
            assert!(unknown.is_on_trial());
        }
        assert!(!Mark::Good.is_on_trial());
        assert!(entry("lamchat-b+3.efi").is_on_trial());
    }

    #[test]
    fn without_uefi_nothing_counts() {
        assert_eq!(of(None, false), Mark::Good);
    }
}
