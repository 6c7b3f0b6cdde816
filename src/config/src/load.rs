//! From a file to a checked configuration, and back to a documented example.

use crate::check;
use crate::error::{ConfigError, Problem};
use crate::reader::Reader;
use crate::sections::{self, Config};
use std::path::Path;
use toml::de::DeTable;

/// Largest configuration file, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads and checks the file at `path`.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > FILE_BYTES_MAX {
        return Err(unreadable(std::io::Error::other(format!(
            "{length} bytes is too large for a configuration"
        ))));
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    let text = String::from_utf8(bytes).map_err(|_| unreadable(std::io::Error::other("the file is not UTF-8 text")))?;
    parse(&text, path)
}

/// Checks `text` as the content of the file at `path`.
pub fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut reader = Reader::new(text, folder, sections::known_keys());
    let mut config = Config::default();
    match DeTable::parse(text) {
        Ok(table) => {
            config = sections::read(table.get_ref(), &mut reader);
            if !reader.has("data_dir") {
                config.data_dir = folder.join(&config.data_dir);
            }
            check::check(&mut config, &mut reader);
        }
        Err(error) => {
            let line = reader.line_at(error.span().map_or(0, |span| span.start));
            reader.problems.push(Problem {
                line,
                key: String::new(),
                message: error.message().to_owned(),
            });
        }
    }
    if reader.problems.is_empty() {
        return Ok(config);
    }
    let mut problems = reader.problems;
    problems.sort_by_key(|problem| problem.line);
    Err(ConfigError::Invalid {
        path: path.to_owned(),
        problems,
    })
}

/// Every key with its default and one sentence, as a file that can be used.
pub fn example() -> String {
    format!(
        "# LamChat's configuration: every key with its default. Keys behind # have none.\n\
         # A reload (SIGHUP) applies all keys but those that need a restart.\n\n{}",
        Config::default().document()
    )
}

#[cfg(test)]
#[path = "load_tests.rs"]
mod tests;
