//! How a process begins that stands in the exchange's place at the key holder for one task: confined as the exchange is,
//! before it reads anything.

use super::holder::{self, Link};
use super::{Start, StartError, data_dir, logging, sandbox};

/// Closes the sandbox, then connects to the key holder; what it hands over stays in memory.
pub fn begin(start: &Start) -> Result<Link, StartError> {
    data_dir::keep_files_private();
    sandbox::close(&start.config, start.place.config.as_deref())?;
    logging::start(&start.config.log)?;
    let holder = holder::start(start)?;
    if let Err(error) = lamchat_host::disable_core_dumps() {
        tracing::warn!(%error, "core dumps could not be switched off");
    }
    if let Err(error) = lamchat_host::lock_secrets() {
        tracing::warn!(%error, "keys may be written to a swap device");
    }
    Ok(holder)
}
