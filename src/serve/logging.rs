//! Logs on standard error. Nothing here ever adds content, tokens, addresses or names of people and rooms; nobody else may
//! either. Who did what is in the audit log.

use super::StartError;
use lamchat_config::LogFormat;
use std::io::IsTerminal;
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

/// The running log, whose level can change.
pub struct Log {
    filter: reload::Handle<EnvFilter, Registry>,
}

/// Starts logging.
pub fn start(config: &lamchat_config::Log) -> Result<Log, StartError> {
    let (filter, handle) = reload::Layer::new(parse(&config.level)?);
    let terminal = std::io::stderr().is_terminal();
    let json = match config.format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(terminal);
    let registry = tracing_subscriber::registry().with(filter);
    let started = if json {
        registry
            .with(lines.json().flatten_event(true).with_span_list(false))
            .try_init()
    } else {
        registry.with(lines.with_target(false)).try_init()
    };
    started.map_err(super::refused)?;
    Ok(Log { filter: handle })
}

impl Log {
    /// Changes what is logged.
    pub fn set_level(&self, level: &str) -> Result<(), StartError> {
        self.filter.reload(parse(level)?).map_err(super::refused)
    }
}

/// ruma tells each step of an authorization as news: nothing for an operator, and work on the way of every message.
const QUIET: &str = "ruma_state_res=warn";

fn parse(level: &str) -> Result<EnvFilter, StartError> {
    // Directives of the configuration come later and win.
    EnvFilter::builder().parse(format!("{QUIET},{level}")).map_err(|error| {
        StartError::Refused(format!(
            "log.level {level:?} is not understood ({error}): write error, warn, info, debug or trace"
        ))
    })
}
