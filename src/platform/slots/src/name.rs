//! The names of the slots' files, with the counters of systemd-boot.
//!
//! "The boot counter … `+`, followed by a number … is the number of boot attempts left, then optionally `-` and the
//! number of attempts made" (systemd, "Automatic Boot Assessment"). An entry without a counter is good; one with no
//! attempt left is tried last.

/// Attempts of a new release.
pub const TRIES: u32 = 3;
/// Digits of a counter at most.
const DIGITS_MAX: usize = 4;

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Slot {
    /// The one that a new disk has.
    A,
    /// The other.
    B,
}

impl Slot {
    /// The one that this is not.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// The beginning of its files' names.
    fn stem(self) -> &'static str {
        match self {
            Self::A => "lamchat-a",
            Self::B => "lamchat-b",
        }
    }

    /// Its file while it is being written: systemd-boot looks only at names that end with `.efi`.
    pub(crate) fn unfinished(self) -> String {
        format!("{}.new", self.stem())
    }
}

impl std::fmt::Display for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::A => "a",
            Self::B => "b",
        })
    }
}

/// A file's name, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Name {
    /// Whose file it is.
    pub slot: Slot,
    /// Attempts left and made; `None`: it is marked good.
    pub tries: Option<(u32, u32)>,
}

impl Name {
    /// A release that nobody has started yet.
    pub fn fresh(slot: Slot) -> Self {
        Self {
            slot,
            tries: Some((TRIES, 0)),
        }
    }

    /// One that is marked good.
    pub fn good(slot: Slot) -> Self {
        Self { slot, tries: None }
    }

    /// Reads a name; `None`: it is no slot's.
    pub fn parse(text: &str) -> Option<Self> {
        let stem = text.strip_suffix(".efi")?;
        let slot = [Slot::A, Slot::B]
            .into_iter()
            .find(|slot| stem.starts_with(slot.stem()))?;
        let rest = stem.strip_prefix(slot.stem())?;
        if rest.is_empty() {
            return Some(Self::good(slot));
        }
        let counter = rest.strip_prefix('+')?;
        let (left, made) = counter.split_once('-').unwrap_or((counter, "0"));
        let number = |text: &str| {
            let is_number = (1..=DIGITS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| text.parse().ok()).flatten()
        };
        Some(Self {
            slot,
            tries: Some((number(left)?, number(made)?)),
        })
    }

    /// The last part of a path as EFI variables have it (`\EFI\Linux\lamchat-a+2-1.efi`).
    pub fn parse_path(text: &str) -> Option<Self> {
        Self::parse(text.rsplit(['\\', '/']).next()?)
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.slot.stem())?;
        match self.tries {
            None => {}
            Some((left, 0)) => write!(f, "+{left}")?,
            Some((left, made)) => write!(f, "+{left}-{made}")?,
        }
        f.write_str(".efi")
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{Name, Slot};

    #[test]
    fn names_are_taken_apart_and_put_together() {
        for (text, slot, tries) in [
            ("lamchat-a.efi", Slot::A, None),
            ("lamchat-b.efi", Slot::B, None),
            ("lamchat-a+3.efi", Slot::A, Some((3, 0))),
            ("lamchat-b+2-1.efi", Slot::B, Some((2, 1))),
            ("lamchat-b+0-3.efi", Slot::B, Some((0, 3))),
        ] {
            let name = Name::parse(text).unwrap();
            assert_eq!((name.slot, name.tries), (slot, tries));
            assert_eq!(name.to_string(), text);
        }
        assert_eq!(
            Name::parse_path("\\EFI\\Linux\\lamchat-a+2-1.efi").unwrap().tries,
            Some((2, 1))
        );
        for other in [
            "lamchat-a.new",
            "lamchat-c.efi",
            "lamchat-install.efi",
            "lamchat-a+.efi",
            "lamchat-a+x.efi",
            "lamchat-a+1-.efi",
            "lamchat-a+99999.efi",
            "lamchat-a1.efi",
            "lamchat-a++1.efi",
            "",
        ] {
            assert_eq!(Name::parse(other), None, "{other}");
        }
    }
}
