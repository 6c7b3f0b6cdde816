//! The box's configuration where this release cannot read its newest version: which one is in effect instead, and who is
//! told. The newest one stays as it is until an operator makes another.
//!
//! What stands in a file never comes into a sentence here: whoever stands before a screen reads it. And a console PIN of
//! before never comes back: who damages the newest file without being able to read it (disk encryption notices nothing)
//! and knows an old PIN would be let in. The console asks for the recovery key until an operator has set another PIN.

use super::exchange;
use super::late::Act;
use super::state::Shared;
use lamchat_appliance::site::{InEffect, Instead, Site};
use std::path::Path;

/// What the audit log calls it.
const ACT: &str = "former-configuration";
/// Who does it: nobody at a terminal.
const TERMINAL: &str = "process 1";
/// Longest version that the audit log takes.
const ABOUT_BYTES_MAX: usize = 32;

/// That it is so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Former {
    /// The version in effect.
    version: u64,
    /// The newest one's, as far as its file tells.
    newest: Option<u64>,
}

impl Former {
    fn newest(&self) -> String {
        self.newest
            .map_or_else(|| "the newest one".to_owned(), |newest| format!("version {newest}"))
    }

    /// Which version is in effect and why: a sentence without its full stop.
    pub fn sentence(&self) -> String {
        format!(
            "version {} of the box's configuration is in effect, without its PIN: this release cannot read {}, which stays as it \
             is",
            self.version,
            self.newest()
        )
    }

    /// The same once an operator has made another version.
    pub fn left(&self, version: u64) -> String {
        format!(
            "version {version} of the box's configuration was made from version {}: this release could not read {}, \
             which is kept and not in effect",
            self.version,
            self.newest()
        )
    }

    /// For the audit log.
    fn about(&self) -> String {
        let both = self
            .newest
            .map(|newest| format!("{} instead of {newest}", self.version));
        both.filter(|both| both.len() <= ABOUT_BYTES_MAX)
            .unwrap_or_else(|| self.version.to_string())
    }
}

/// Reads it; whoever stands before a screen is told if it is not the newest one. The error is for them as well.
pub fn load(shared: &Shared) -> Result<Option<Site>, String> {
    read(shared, &exchange::site_file())
}

fn read(shared: &Shared, path: &Path) -> Result<Option<Site>, String> {
    let InEffect { mut site, instead } = match Site::in_effect(path) {
        Ok(Some(in_effect)) => in_effect,
        Ok(None) => return Ok(None),
        Err(error) => return Err(exchange::unreadable(shared, &error)),
    };
    if let Some(Instead { version, why }) = instead {
        let former = Former {
            version: site.version,
            newest: version,
        };
        shared.log.keep("site.toml", &why.to_string());
        shared.forget_notice(&former.sentence());
        shared.notice(&former.sentence());
        *shared.former.lock() = Some(former);
        site.pin = None;
    }
    Ok(Some(site))
}

/// Has the audit log say so, when the exchange answers.
pub fn note(shared: &Shared) {
    let Some(former) = shared.former.lock().clone() else {
        return;
    };
    let act = Act::new(ACT, TERMINAL).about(&former.about()).late();
    if let Err(error) = shared.late.keep_once(act) {
        shared.log.note(&format!(
            "which version of the configuration is in effect is not in the audit log: {error}"
        ));
    }
}

/// An operator has made another version, from the one that is in effect.
pub fn replaced(shared: &Shared, version: u64) {
    let Some(former) = shared.former.lock().take() else {
        return;
    };
    shared.forget_notice(&former.sentence());
    shared.notice(&former.left(version));
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::init::release::Release;
    use lamchat_appliance::site::parse_network;
    use lamchat_host::OsEntropy;

    #[test]
    fn a_box_goes_on_with_what_it_can_read_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.toml");
        let mut site = Site::new("chat.example.org", parse_network("dhcp").unwrap());
        site.pin = Some("$argon2id$x".to_owned());
        site.save(&path, &OsEntropy).unwrap();
        site.version = site.next_version();
        site.save(&path, &OsEntropy).unwrap();
        let shared = Shared::new(Release::default());
        let newest = read(&shared, &path).unwrap().unwrap();
        assert_eq!((newest.version, newest.pin), (2, site.pin));
        assert!(shared.former.lock().is_none() && shared.status.lock().notices.is_empty());

        let newest = "format = 1\nversion = 2\nserver_name = \"chat.example.org\"\n[network]\nmode = \"secret-word\"\n";
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, newest).unwrap();
        let read_again = read(&shared, &path).unwrap().unwrap();
        assert_eq!((read_again.version, read_again.next_version()), (1, 3));
        assert_eq!(
            read_again.pin, None,
            "it may have been changed because somebody knows it"
        );
        // As a start does whose data turn out to be damaged only then: told once.
        read(&shared, &path).unwrap();
        let notices = shared.status.lock().notices.clone();
        let told = "version 1 of the box's configuration is in effect, without its PIN: this release cannot read version 2, \
                    which stays as it is";
        assert_eq!(notices, [told]);
        // Why is for those who take the log along.
        assert!(
            shared
                .log
                .last_public(10)
                .iter()
                .all(|line| !line.contains("secret-word"))
        );
        assert!(shared.log.last(10).iter().any(|line| line.contains("secret-word")));

        replaced(&shared, 3);
        let notices = shared.status.lock().notices.clone();
        assert!(
            matches!(notices.as_slice(), [one] if one.contains("version 3") && one.contains("made from version 1"))
        );
        assert!(shared.former.lock().is_none());
        replaced(&shared, 4);
        assert_eq!(shared.status.lock().notices, notices, "once");
    }

    #[test]
    fn where_nothing_can_be_read_it_is_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("site.toml");
        let shared = Shared::new(Release::default());
        assert_eq!(read(&shared, &path), Ok(None));
        std::fs::write(&path, "torn = ").unwrap();
        let error = read(&shared, &path).unwrap_err();
        assert!(error.contains("cannot be read"), "{error}");
        assert!(shared.former.lock().is_none() && shared.status.lock().notices.is_empty());
    }

    #[test]
    fn the_audit_log_takes_what_it_is_about() {
        let about = |version, newest| Former { version, newest }.about();
        assert_eq!(about(5, Some(6)), "5 instead of 6");
        assert_eq!(about(5, None), "5");
        assert_eq!(about(5, Some(u64::MAX)), "5", "too long");
    }
}
