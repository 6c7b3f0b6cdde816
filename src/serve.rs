//! Runs the server. The only place that wires, starts and stops things.

mod anchor;
mod attestation;
mod audit;
mod certificates;
mod clock;
mod configuration;
mod confined;
mod data_dir;
mod exchange;
mod federation;
mod greeting;
mod hardware;
mod holder;
mod locked;
pub mod logging;
mod notices;
mod outside;
mod progress;
mod pull;
mod rekey;
mod reload;
mod rescue;
mod restorer;
mod sandbox;
mod server_name;
mod settings;
mod signing_key;
mod upkeep;
mod watchdog;
mod wiring;

pub use data_dir::keep_files_private;
pub use rescue::run as rescue;
pub use restorer::{fill as restore_carried, look as look_at_backup};
pub use wiring::tables;

use crate::cli::Place;
use lamchat_config::Config;
use lamchat_host::Notice;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

/// What to run.
pub struct Start {
    /// The checked configuration.
    pub config: Config,
    /// Where it comes from.
    pub place: Place,
    /// Whether to give up files and system calls by itself: on the bootable image, where no service manager does it.
    pub confined: bool,
}

/// Why the server did not start: one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Something of the machine: folders, the runtime, signals.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Anything that already is a sentence of its own.
    #[error("{0}")]
    Refused(String),
}

impl StartError {
    fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// Any error of the floors below, as its sentence.
fn refused(error: impl std::fmt::Display) -> StartError {
    StartError::Refused(error.to_string())
}

/// Runs until SIGTERM or SIGINT; `Ok` when everything has ended well.
pub fn run(start: Start) -> Result<(), StartError> {
    data_dir::keep_files_private();
    if start.confined {
        sandbox::close(&start.config, start.place.config.as_deref())?;
    }
    lamchat_host::take_handed_sockets().map_err(StartError::io("sockets of the service manager"))?;
    let log = logging::start(&start.config.log)?;
    // First of all: it takes its folder and gives everything else up while the rest of this starts.
    let holder = holder::start(&start)?;
    if let Err(error) = lamchat_host::accept_signals() {
        tracing::warn!(%error, "signals may not arrive");
    }
    if let Err(error) = lamchat_host::disable_core_dumps() {
        tracing::warn!(%error, "core dumps could not be switched off");
    }
    if let Err(error) = lamchat_host::lock_secrets() {
        tracing::warn!(%error, "keys may be written to a swap device");
    }
    if let Err(error) = lamchat_host::use_small_pages() {
        tracing::warn!(%error, "huge pages could not be switched off; the server will take more memory");
    }
    if let Err(error) = lamchat_host::raise_open_files() {
        tracing::warn!(%error, "the number of files that may be open could not be raised");
    }
    // One thread a core: everything that blocks goes to threads of its own.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("lamchat")
        .thread_keep_alive(crate::allocator::THREADS_KEPT_FOR)
        .build()
        .map_err(StartError::io("the threads could not be started"))?;
    let result = runtime.block_on(serve(start, log, holder));
    // Blocking work that is still under way (a thumbnail) is of no use to anybody any more.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result
}

async fn serve(start: Start, log: logging::Log, mut holder: holder::Link) -> Result<(), StartError> {
    // Before anything that takes time: a signal during the start must end it well, too.
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::io("signals"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(StartError::io("signals"))?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(StartError::io("signals"))?;

    tokio::spawn(crate::allocator::give_back());

    // Opening waits only for somebody to unlock the keys; until then there is nothing to finish.
    // While it waits nothing can hang but the threads themselves.
    let waiting = watchdog::feed(None);
    let opened = tokio::select! {
        opened = wiring::open(&start.config, &holder) => opened?,
        _ = terminate.recv() => {
            end_locked(&holder);
            return Ok(());
        }
        _ = interrupt.recv() => {
            end_locked(&holder);
            return Ok(());
        }
    };
    let server = Arc::new(opened);
    audit::note_start(&server, &start.config).await?;
    holder.take_notices(&server.store).await?;
    let listening = wiring::listen(&server, &start.config).await?;
    greeting::print(&server, &start, &listening).await?;
    tell(Notice::Ready);
    waiting.abort();
    watchdog::feed(Some(server.store.clone()));
    upkeep::start(&server, &start.config);

    let mut reload = reload::Reload::new(start, log, Arc::clone(&server));
    let mut renewal = tokio::time::interval(certificates::RENEWAL_CHECK);
    let result = loop {
        tokio::select! {
            _ = terminate.recv() => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            _ = holder.ended() => break Err(StartError::Refused(holder::ENDED.to_owned())),
            _ = renewal.tick() => server.certificates.renew(&server.clock),
            received = hang_up.recv() => if received.is_some() {
                tell(Notice::Reloading);
                reload.run().await;
                tell(Notice::Ready);
            },
        }
    };
    if let Err(error) = &result {
        tracing::error!(%error, "stopping");
    }

    tell(Notice::Stopping);
    tracing::info!("stopping: requests in flight are finished");
    server.app.syncer.end_waits();
    let cut = listening.stop(reload.config().http.stop_timeout).await;
    if cut > 0 {
        tracing::warn!(cut, "connections were cut because their requests took too long");
    }
    audit::note_stop(&server).await;
    server.store.close().await;
    holder.client.close();
    tracing::info!("stopped");
    result
}

/// The end of a start that was still waiting for a key.
fn end_locked(holder: &holder::Link) {
    // Whoever waits for an answer of the key holder's stops waiting.
    holder.client.close();
    tell(Notice::Stopping);
    tracing::info!("stopped while the keys were locked");
}

fn tell(notice: Notice) {
    if let Err(error) = lamchat_host::notify(notice) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}
