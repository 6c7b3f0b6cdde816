//! Folders that look like `/sys`.

#![expect(clippy::unwrap_used, reason = "tests")]

use super::Root;

pub(crate) struct Tree {
    /// Where a test's kernel keeps its attributes.
    pub(crate) root: Root,
    folder: tempfile::TempDir,
}

/// A folder with these files.
pub(crate) fn tree(files: &[(&str, &str)]) -> Tree {
    let folder = tempfile::tempdir().unwrap();
    let tree = Tree {
        root: Root::at(folder.path()),
        folder,
    };
    for (name, text) in files {
        tree.write(name, text);
    }
    tree
}

impl Tree {
    /// Writes a file, and the folders on its way.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Removes a file.
    pub(crate) fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }
}
