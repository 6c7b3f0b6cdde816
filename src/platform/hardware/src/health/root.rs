//! The folder that stands for `/sys`, read with limits on everything.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Longest attribute that is read: a page, which sysfs gives at most.
const ATTRIBUTE_BYTES_MAX: u64 = 4096;
/// Longest name or text that is passed on, in characters.
const TEXT_CHARS_MAX: usize = 80;
/// The most entries of a folder that are looked at.
const ENTRIES_MAX: usize = 1024;

/// A folder of sysfs, or one that a test made.
#[derive(Debug, Clone)]
pub struct Root(PathBuf);

impl Root {
    /// The kernel's.
    pub fn kernel() -> Self {
        Self("/sys".into())
    }

    /// Another.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// A folder within.
    pub fn within(&self, path: impl AsRef<Path>) -> Self {
        Self(self.0.join(path))
    }

    /// Its own name.
    pub fn name(&self) -> String {
        let name = self.0.file_name().unwrap_or_default();
        clean(&name.to_string_lossy())
    }

    /// Whether there is a file or folder of this name.
    pub fn has(&self, path: &str) -> bool {
        self.0.join(path).exists()
    }

    /// The last part of where a link leads.
    pub fn target(&self, path: &str) -> Option<String> {
        let target = std::fs::read_link(self.0.join(path)).ok()?;
        Some(clean(&target.file_name()?.to_string_lossy()))
    }

    /// An attribute as text, without space around it; `None` when it is not there or the hardware does not answer.
    pub fn text(&self, path: &str) -> Option<String> {
        Some(clean(self.all(path)?.trim()))
    }

    /// An attribute as a number.
    pub fn number<T: FromStr>(&self, path: &str) -> Option<T> {
        self.all(path)?.trim().parse().ok()
    }

    /// Whether an attribute is 1.
    pub fn flag(&self, path: &str) -> Option<bool> {
        self.number::<u64>(path).map(|value| value != 0)
    }

    /// An attribute of several lines.
    pub fn all(&self, path: &str) -> Option<String> {
        let file = File::open(self.0.join(path)).ok()?;
        let mut bytes = Vec::new();
        file.take(ATTRIBUTE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The names in a folder, in their order; none when it is not there.
    pub fn entries(&self, path: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.0.join(path)) else {
            return Vec::new();
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.take(ENTRIES_MAX).collect();
        // By number within a name: hwmon10 comes after hwmon9.
        names.sort_by_key(|name| {
            (
                name.trim_end_matches(|c: char| c.is_ascii_digit()).len(),
                name.len(),
                name.clone(),
            )
        });
        names
    }

    /// The folders in a folder.
    pub fn folders(&self, path: &str) -> Vec<Self> {
        let names = self.entries(path);
        names.iter().map(|name| self.within(path).within(name)).collect()
    }
}

/// What hardware says of itself goes to terminals and into logs.
fn clean(text: &str) -> String {
    let text = text.chars().take(TEXT_CHARS_MAX);
    text.map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use crate::health::testing::tree;

    #[test]
    fn attributes_are_bounded_and_clean() {
        let folder = tree(&[
            ("a/name", " chip\n"),
            ("a/bell", "be\x07ll"),
            ("a/long", &"x".repeat(10_000)),
            ("a/number", "-12\n"),
            ("a/word", "twelve"),
            ("hwmon2/x", ""),
            ("hwmon10/x", ""),
        ]);
        let root = folder.root.within("a");
        assert_eq!(root.text("name").unwrap(), "chip");
        assert_eq!(root.text("bell").unwrap(), "be ll");
        assert_eq!(root.all("long").unwrap().len(), 4096);
        assert_eq!(root.text("long").unwrap().len(), 80);
        assert_eq!(root.number::<i64>("number"), Some(-12));
        assert_eq!(root.number::<u64>("number"), None);
        assert_eq!(root.number::<i64>("word"), None);
        assert_eq!(root.text("nothing"), None);
        assert_eq!(folder.root.entries(""), ["a", "hwmon2", "hwmon10"]);
        assert!(folder.root.entries("nothing").is_empty());
    }
}
