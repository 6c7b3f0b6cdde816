//! What changes between two bills of materials (CycloneDX, JSON). Shown before an update is accepted; decides nothing.

use serde::Deserialize;
use std::collections::BTreeMap;

/// Bytes of a bill that are read.
pub const SBOM_BYTES_MAX: usize = 16 << 20;
/// Components that are compared.
const COMPONENTS_MAX: usize = 20_000;
/// Characters of a name or version.
const TEXT_CHARS_MAX: usize = 100;

#[derive(Deserialize)]
struct Bill {
    #[serde(default)]
    components: Vec<Component>,
}

#[derive(Deserialize)]
struct Component {
    name: String,
    #[serde(default)]
    version: String,
}

/// A component that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its name, in printable ASCII.
    pub name: String,
    /// Its versions before; empty: it is new.
    pub from: String,
    /// Its versions afterwards; empty: it is gone.
    pub to: String,
}

/// A bill that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the bill of materials cannot be read: {0}")]
pub struct SbomError(#[from] serde_json::Error);

/// What differs, by name. A component that is there in several versions has them all, with commas.
pub fn differences(before: &[u8], after: &[u8]) -> Result<Vec<Change>, SbomError> {
    let (mut before, after) = (versions(before)?, versions(after)?);
    let mut changes = Vec::new();
    for (name, to) in after {
        let from = before.remove(&name).unwrap_or_default();
        if from != to {
            changes.push(Change { name, from, to });
        }
    }
    let to = String::new;
    changes.extend(before.into_iter().map(|(name, from)| Change { name, from, to: to() }));
    changes.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(changes)
}

fn versions(bill: &[u8]) -> Result<BTreeMap<String, String>, SbomError> {
    let bill: Bill = serde_json::from_slice(bill)?;
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for component in bill.components.into_iter().take(COMPONENTS_MAX) {
        let versions = all.entry(plain(&component.name)).or_default();
        versions.push(plain(&component.version));
    }
    let joined = all.into_iter().map(|(name, mut versions)| {
        versions.sort();
        versions.dedup();
        (name, versions.join(", "))
    });
    Ok(joined.collect())
}

fn plain(text: &str) -> String {
    let printable = |char: char| if matches!(char, ' '..='~') { char } else { '?' };
    text.chars().take(TEXT_CHARS_MAX).map(printable).collect()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::differences;

    #[test]
    fn changes_are_found_by_name() {
        let before = br#"{"components":[{"name":"a","version":"1"},{"name":"b","version":"1"},{"name":"c","version":"1"},{"name":"c","version":"2"}]}"#;
        let after = br#"{"components":[{"name":"a","version":"1"},{"name":"b","version":"2"},{"name":"c","version":"2"},{"name":"d\u001b","version":"3"}]}"#;
        let changes = differences(before, after).unwrap();
        let lines: Vec<String> = changes
            .iter()
            .map(|c| format!("{} {}>{}", c.name, c.from, c.to))
            .collect();
        assert_eq!(lines, ["b 1>2", "c 1, 2>2", "d? >3"]);
        let changes = differences(b"{}", after).unwrap();
        assert_eq!(changes.len(), 4);
        assert!(differences(b"[", b"{}").is_err());
    }
}
