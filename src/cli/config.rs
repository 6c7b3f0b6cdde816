//! `lamchat config check|example|canonical`

use super::{Failure, Place, output};
use std::path::PathBuf;

/// Subcommands.
#[derive(Debug, clap::Subcommand)]
pub enum Config {
    /// Check a configuration file: exit code 0 when it is right, 1 with every mistake and its line when not.
    Check {
        /// The file; --config FILE means the same.
        file: Option<PathBuf>,
    },
    /// Print every key with its default and one sentence, as a file to start from.
    Example,
    /// Print every key in effect with its value, secrets hidden: the text whose SHA-256 is in the evidence of `lamchat attest`.
    Canonical,
}

/// Runs it.
pub fn run(place: &Place, command: Config) -> Result<(), Failure> {
    match command {
        Config::Check { file } => {
            let file = file.or_else(|| place.config.clone());
            let file = file.ok_or("which file? Write `lamchat config check FILE`")?;
            lamchat_config::load(&file)?;
            output::line(format!("{}: fine", file.display()));
        }
        Config::Example => output::text(&lamchat_config::example()),
        Config::Canonical => output::text(&place.load()?.canonical()),
    }
    Ok(())
}
