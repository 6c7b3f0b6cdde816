//! `modules.alias`: patterns of device names, and the modules that drive what matches.

use std::collections::HashMap;

/// Most patterns; Debian's whole kernel has 22,000.
const PATTERNS_MAX: usize = 100_000;
/// Longest pattern, and longest name of a device that is looked up, in bytes.
const NAME_BYTES_MAX: usize = 4096;

/// The patterns, by the bus that stands before their first colon.
#[derive(Debug, Default)]
pub struct Aliases {
    by_bus: HashMap<String, Vec<(String, String)>>,
}

impl Aliases {
    /// Lines `alias PATTERN MODULE`; other lines are comments.
    pub fn parse(text: &str) -> Self {
        let mut by_bus: HashMap<String, Vec<(String, String)>> = HashMap::new();
        let words = text.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next()? == "alias").then_some(())?;
            Some((words.next()?, words.next()?))
        });
        for (pattern, module) in words.take(PATTERNS_MAX) {
            if pattern.len() <= NAME_BYTES_MAX {
                let entry = (pattern.to_owned(), super::normal_name(module));
                by_bus.entry(bus(pattern).to_owned()).or_default().push(entry);
            }
        }
        Self { by_bus }
    }

    /// The modules for a device, in the order of the file, each once.
    pub fn modules(&self, device: &str) -> Vec<&str> {
        let mut found: Vec<&str> = Vec::new();
        if device.len() > NAME_BYTES_MAX {
            return found;
        }
        for (pattern, module) in self.by_bus.get(bus(device)).into_iter().flatten() {
            if !found.contains(&module.as_str()) && matches(pattern.as_bytes(), device.as_bytes()) {
                found.push(module);
            }
        }
        found
    }
}

fn bus(name: &str) -> &str {
    name.split_once(':').map_or("", |(bus, _)| bus)
}

/// Whether a pattern of fnmatch(3) matches: `*`, `?` and sets such as `[0-9a]`. Takes time in proportion to the product of
/// the lengths at most.
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where to go on when what follows the last star does not match: one more byte belongs to the star.
    let mut star = None;
    while n < name.len() {
        let rest = pattern.get(p..).unwrap_or_default();
        let byte = name.get(n).copied().unwrap_or_default();
        let step = match rest {
            [b'*', ..] => {
                star = Some((p + 1, n));
                p += 1;
                continue;
            }
            [b'?', ..] => Some(1),
            [b'[', set @ ..] => in_set(set, byte),
            [literal, ..] => (*literal == byte).then_some(1),
            [] => None,
        };
        match (step, star) {
            (Some(length), _) => {
                p += length;
                n += 1;
            }
            (None, Some((after, taken))) => {
                p = after;
                n = taken + 1;
                star = Some((after, n));
            }
            (None, None) => return false,
        }
    }
    pattern.get(p..).unwrap_or_default().iter().all(|byte| *byte == b'*')
}

/// Whether a byte is in the set that begins behind `[`; if so, how long the set is with both brackets. A set without an end
/// matches nothing.
fn in_set(set: &[u8], byte: u8) -> Option<usize> {
    let end = set.iter().position(|byte| *byte == b']')?;
    let mut members = set.get(..end)?;
    let mut found = false;
    while let Some((first, rest)) = members.split_first() {
        members = if let [b'-', last, rest @ ..] = rest {
            found |= (*first..=*last).contains(&byte);
            rest
        } else {
            found |= *first == byte;
            rest
        };
    }
    found.then_some(end + 2)
}

#[cfg(test)]
mod tests {
    use super::{Aliases, matches};
    use proptest::prelude::*;

    #[test]
    fn devices_find_their_modules() {
        let text = "# Aliases\nalias pci:v00008086d000010D3sv*sd*bc*sc*i* e1000e\n\
                    alias pci:v*d*sv*sd*bc01sc06i01* ahci\nalias usb:v*p*d*dc*dsc*dp*ic08isc06ip50in* usb-storage\n\
                    alias cpu:type:x86,ven*fam*mod*:feature:*0099* aesni-intel\nalias broken\n";
        let aliases = Aliases::parse(text);
        let e1000e = "pci:v00008086d000010D3sv00008086sd00000000bc02sc00i00";
        assert_eq!(aliases.modules(e1000e), ["e1000e"]);
        assert_eq!(
            aliases.modules("pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01"),
            ["ahci"]
        );
        let cpu = "cpu:type:x86,ven0000fam0006mod006A:feature:,0000,0099,009A";
        assert_eq!(aliases.modules(cpu), ["aesni_intel"]);
        assert!(aliases.modules("pci:").is_empty());
        assert!(aliases.modules("virtio:d00000001v00001AF4").is_empty());
        assert!(aliases.modules(&"x".repeat(5000)).is_empty());
    }

    #[test]
    fn patterns_are_fnmatch() {
        for (pattern, name, expected) in [
            ("", "", true),
            ("*", "", true),
            ("a*b*c", "aXbXbc", true),
            ("a*b*c", "aXbXb", false),
            ("a?c", "abc", true),
            ("a[0-9b]c", "a7c", true),
            ("a[0-9b]c", "abc", true),
            ("a[0-9b]c", "axc", false),
            ("a[0-9", "a0", false),
            ("a[-]c", "a-c", true),
            ("abc", "abcd", false),
            ("*[a]", "aaaaaaab", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
    }

    proptest! {
        #[test]
        fn every_name_matches_itself_and_stars(name in "[a-z0-9:]{0,40}", at in 0usize..40) {
            prop_assert!(matches(name.as_bytes(), name.as_bytes()));
            let at = at.min(name.len());
            let starred = format!("{}*{}", name.get(..at).unwrap_or_default(), name.get(at..).unwrap_or_default());
            prop_assert!(matches(starred.as_bytes(), name.as_bytes()));
        }

        #[test]
        fn any_bytes_are_answered(pattern in proptest::collection::vec(any::<u8>(), 0..200), name in proptest::collection::vec(any::<u8>(), 0..200)) {
            matches(&pattern, &name);
        }
    }
}
