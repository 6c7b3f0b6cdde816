//! What the command line says.

use crate::Outcome;
use std::path::PathBuf;
use std::time::Duration;

const HELP: &str = "\
cargo bench --bench millions -- [OPTIONS]
  --dir DIR        where the filled folder is made and kept (default: target/millions)
  --events N       events to fill it with (default: 3000000)
  --rooms N        rooms that they are spread over (default: 2000)
  --clients N      most senders at a time (default: 64)
  --secs N         length of a stage of sending (default: 8)
  --starts N       how often each kind of start is measured (default: 5)
  --only NAME      measure `empty` or `full` only
  --binary FILE    measure this server (default: the one just built)";

/// What to measure.
pub struct Options {
    pub dir: PathBuf,
    pub events: usize,
    pub rooms: usize,
    pub clients: usize,
    pub length: Duration,
    /// The slowest start of each kind counts.
    pub starts: usize,
    pub only: Option<String>,
    pub binary: PathBuf,
}

impl Options {
    /// `None`: help was asked for and given.
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Outcome<Option<Self>> {
        let mut options = Self {
            dir: PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("millions"),
            events: 3_000_000,
            rooms: 2_000,
            clients: 64,
            length: Duration::from_secs(8),
            starts: 5,
            only: None,
            binary: PathBuf::from(env!("CARGO_BIN_EXE_lamchat")),
        };
        while let Some(name) = arguments.next() {
            if name == "--bench" {
                continue;
            }
            if name == "--help" {
                println!("{HELP}");
                return Ok(None);
            }
            let value = arguments
                .next()
                .ok_or_else(|| format!("{name} needs a value\n{HELP}"))?;
            match name.as_str() {
                "--dir" => options.dir = PathBuf::from(value),
                "--events" => options.events = value.parse()?,
                "--rooms" => options.rooms = value.parse()?,
                "--clients" => options.clients = value.parse()?,
                "--secs" => options.length = Duration::try_from_secs_f64(value.parse()?)?,
                "--starts" => options.starts = value.parse()?,
                "--only" => options.only = Some(value),
                "--binary" => options.binary = PathBuf::from(value),
                _ => return Err(format!("unknown option {name}\n{HELP}").into()),
            }
        }
        Ok(Some(options))
    }
}
