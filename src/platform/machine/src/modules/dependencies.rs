//! `modules.dep` of the image: what must be loaded before a module.

use std::collections::HashMap;

/// Most modules, and most dependencies of one.
const MODULES_MAX: usize = 20_000;
const DEPENDENCIES_MAX: usize = 256;

/// Each module and what comes before it.
#[derive(Debug, Default)]
pub struct Dependencies {
    before: HashMap<String, Vec<String>>,
}

/// Modules are known under both spellings; files of the image have underscores only.
pub fn normal_name(name: &str) -> String {
    name.replace('-', "_")
}

impl Dependencies {
    /// Lines `NAME: FIRST SECOND …`, in the order in which they must be loaded, dependencies of dependencies included.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        let entry = |(name, before): (&str, &str)| {
            let before = before.split_whitespace().take(DEPENDENCIES_MAX).map(normal_name);
            (normal_name(name.trim()), before.collect())
        };
        Self {
            before: lines.take(MODULES_MAX).map(entry).collect(),
        }
    }

    /// Whether the image has a module.
    pub fn has(&self, name: &str) -> bool {
        self.before.contains_key(name)
    }

    /// What must be loaded before a module, first things first.
    pub fn before(&self, name: &str) -> &[String] {
        self.before.get(name).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn lines_are_read() {
        let dependencies = super::Dependencies::parse("ext4: crc16 mbcache jbd2\ndm-crypt: dm_mod\ncrc16:\nnonsense\n");
        assert_eq!(dependencies.before("ext4"), ["crc16", "mbcache", "jbd2"]);
        assert_eq!(dependencies.before("dm_crypt"), ["dm_mod"]);
        assert!(dependencies.has("crc16") && !dependencies.has("nonsense"));
        assert!(dependencies.before("nonsense").is_empty());
    }
}
