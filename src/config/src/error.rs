//! What is wrong with a configuration file: all of it at once, each with its line.

use std::path::{Path, PathBuf};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line of the file, from 1; 0 when it belongs to no line.
    pub line: usize,
    /// The key, with its section: `limits.upload_bytes_max`; empty when it belongs to none.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file was read, and its content is wrong.
    #[error("{}", lines(path, problems))]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Everything that is wrong, by line.
        problems: Vec<Problem>,
    },
}

/// `FILE:LINE: key: message`, one a line, as compilers write it.
fn lines(path: &Path, problems: &[Problem]) -> String {
    let mut text = String::new();
    for problem in problems {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&path.display().to_string());
        if problem.line > 0 {
            text.push_str(&format!(":{}", problem.line));
        }
        text.push_str(": ");
        if !problem.key.is_empty() {
            text.push_str(&format!("`{}`: ", problem.key));
        }
        text.push_str(&problem.message);
    }
    text
}
