//! Versions of firmware: four numbers of 16 bits, as TPMs tell them.

use serde::{Deserialize, Deserializer};
use std::str::FromStr;

/// A version. TPM_PT_FIRMWARE_VERSION_1 is the upper half, _2 the lower (TCG Part 2, 6.13); makers count by 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(pub u64);

/// Text that is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no version: four numbers of 0 to 65535, between full stops")]
pub struct VersionError(String);

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self(all) = self;
        write!(
            f,
            "{}.{}.{}.{}",
            all >> 48,
            all >> 32 & 0xFFFF,
            all >> 16 & 0xFFFF,
            all & 0xFFFF
        )
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let error = || VersionError(text.chars().take(40).collect());
        let numbers: Result<Vec<u16>, _> = text.split('.').map(str::parse).collect();
        match numbers.map_err(|_| error())?.as_slice() {
            numbers @ [_, _, _, _] => Ok(Self(
                numbers.iter().fold(0, |all, number| all << 16 | u64::from(*number)),
            )),
            _ => Err(error()),
        }
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::Version;

    #[test]
    fn versions_are_four_numbers() {
        let version: Version = "7.2.0.1".parse().unwrap();
        assert_eq!(version, Version(0x0007_0002_0000_0001));
        assert_eq!(version.to_string(), "7.2.0.1");
        assert!(version < "7.2.1.0".parse().unwrap());
        for text in [
            "",
            "7.2.1",
            "7.2.1.0.0",
            "7.2.1.65536",
            "7.2.-1.0",
            "7,2,1,0",
            "a.b.c.d",
        ] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }
}
