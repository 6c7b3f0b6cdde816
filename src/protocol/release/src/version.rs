//! Versions, and the floor below which no release may go.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A version of three numbers. Numbers are compared, not digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(pub [u32; 3]);

/// A text is not three numbers with dots, without leading zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a version is three numbers with dots between them")]
pub struct VersionError;

impl TryFrom<String> for Version {
    type Error = VersionError;

    fn try_from(text: String) -> Result<Self, VersionError> {
        let mut parts = text.split('.').map(|part| {
            let digits = part.bytes().all(|byte| byte.is_ascii_digit()) && (part == "0" || !part.starts_with('0'));
            digits.then(|| part.parse().ok()).flatten().ok_or(VersionError)
        });
        let mut next = || parts.next().ok_or(VersionError).flatten();
        let version = Self([next()?, next()?, next()?]);
        if parts.next().is_some() {
            return Err(VersionError);
        }
        Ok(version)
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

/// What a release has to reach: the version that runs, and the security epoch that opens the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// The lowest version.
    pub version: Version,
    /// The lowest security epoch.
    pub epoch: u64,
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests: a panic is the report")]
    use super::Version;

    #[test]
    fn versions_are_numbers_not_digits() {
        let version = |text: &str| Version::try_from(text.to_owned());
        assert!(version("0.10.0").unwrap() > version("0.9.12").unwrap());
        assert_eq!(version("1.2.3").unwrap().to_string(), "1.2.3");
        for wrong in [
            "",
            "1.2",
            "1.2.3.4",
            "01.2.3",
            "1.2.x",
            "1..3",
            "+1.2.3",
            "1.2.4294967296",
            " 1.2.3",
        ] {
            assert!(version(wrong).is_err(), "{wrong}");
        }
    }
}
