//! The life of a holder: takes its folder, gives everything else up, and answers until the exchange is gone.

use crate::files::{self, FolderError};
use crate::frame::{self, FrameError};
use crate::notices::Notices;
use crate::peer;
use crate::reply::{Reason, Reply};
use crate::sandbox::{self, Files, Network, SandboxError};
use crate::serve::{ServeError, serve, serve_typed};
use crate::state::{Holder, Setup};
use nix::unistd::Pid;
use std::fs::File;
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Why a holder did not come up, or ended otherwise than with its exchange.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The sandbox.
    #[error(transparent)]
    Confine(#[from] SandboxError),
    /// On the box, where everything else has to be given up.
    #[error("the key holder would be {0}, and does not start so")]
    Open(String),
    /// The system.
    #[error("the key holder could not be started: {0}")]
    Io(#[from] std::io::Error),
    /// The exchange.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// Where a holder is, and for whom.
#[derive(Debug, Clone)]
pub struct Post {
    /// The data folder, from which what earlier versions kept there is moved.
    pub data_dir: PathBuf,
    /// The holder's own folder.
    pub keys_dir: PathBuf,
    /// The user that the exchange runs as; `None`: this process's own.
    pub exchange_uid: Option<u32>,
    /// Whether the TPM is reached through the network.
    pub needs_network: bool,
}

/// Runs until the exchange closes its ends: `requests` for what it asks, `notices` for what it is told. `setup` makes the
/// rest once the folder is known and nobody else uses it. Whatever fails before is the answer to the first request.
pub fn run(
    requests: UnixStream,
    notices: UnixStream,
    post: &Post,
    setup: impl FnOnce() -> Setup,
) -> Result<(), RunError> {
    let answers = requests.try_clone()?;
    let exchange = peer::exchange(&requests, post.exchange_uid).map_err(ServeError::from)?;
    peer::exchange(&notices, post.exchange_uid).map_err(ServeError::from)?;
    match start(notices, post, exchange, setup) {
        Ok(holder) => Ok(serve(requests, &holder, &AtomicBool::new(false))?),
        // The exchange tells it; if that is gone, this process does.
        Err(error) => refuse(answers, &error).or(Err(error)),
    }
}

/// Answers one request by why nothing can be answered.
fn refuse(mut stream: UnixStream, error: &RunError) -> Result<(), FrameError> {
    frame::read(&mut stream)?;
    frame::write(&mut stream, &Reply::Refused(Reason::NotNow, error.to_string()).encode())
}

fn start(
    notices: UnixStream,
    post: &Post,
    exchange: Pid,
    setup: impl FnOnce() -> Setup,
) -> Result<Arc<Holder>, RunError> {
    let place = Place::take(post, setup)?;
    let (notices, acks) = Notices::new(notices)?;
    let (holder, lock) = place.open(notices, Some(exchange))?;
    // Whatever the holder is busy with, it goes with the exchange: files are replaced as a whole.
    thread::Builder::new().name("exchange".to_owned()).spawn(move || {
        let ended = acks.run();
        if let Err(error) = &ended {
            tracing::error!(%error, "the key holder ends");
        }
        drop(lock);
        process::exit(i32::from(ended.is_err()))
    })?;
    Ok(holder)
}

/// Runs on the bootable image until process 1 ends it: exchanges come and go at `listener`, each by connecting twice, for
/// requests first; the keys stay open meanwhile.
pub fn run_on_box(listener: &UnixListener, post: &Post, setup: impl FnOnce() -> Setup) -> Result<(), RunError> {
    let place = Place::take(post, setup)?;
    place.must_be_closed()?;
    let network = place.network;
    let (holder, _lock) = place.open(Notices::unattached(), None)?;
    loop {
        let (requests, _) = listener.accept()?;
        let (notices, _) = listener.accept()?;
        // A broken exchange is process 1's to start anew; it must not cost the keys.
        if let Err(error) = attend(requests, notices, (post, network), &holder) {
            tracing::error!(%error, "a connection of the exchange was closed");
        }
        holder.notices.detach();
        holder.forget_hand();
    }
}

/// Serves one exchange until it goes.
pub(crate) fn attend(
    requests: UnixStream,
    notices: UnixStream,
    (post, network): (&Post, Network),
    holder: &Arc<Holder>,
) -> Result<(), RunError> {
    for stream in [&requests, &notices] {
        peer::exchange_on_box(stream, post.exchange_uid, network).map_err(ServeError::from)?;
    }
    let (gone, end) = (Arc::new(AtomicBool::new(false)), requests.try_clone()?);
    let acks = holder.notices.attach(notices)?;
    let tells = Arc::clone(&gone);
    thread::Builder::new().name("exchange".to_owned()).spawn(move || {
        if let Err(error) = acks.run() {
            tracing::error!(%error, "the exchange is let go");
        }
        tells.store(true, Ordering::Relaxed);
        // It may have closed only one of its ends.
        if let Err(error) = end.shutdown(Shutdown::Both) {
            tracing::debug!(%error, "the exchange had closed both ends");
        }
    })?;
    Ok(serve(requests, holder, &gone)?)
}

/// What a holder has taken, and that everything else was given up.
struct Place {
    setup: Setup,
    lock: File,
    listener: UnixListener,
    network: Network,
    files: Files,
}

impl Place {
    /// Takes the folder and closes everything else.
    fn take(post: &Post, setup: impl FnOnce() -> Setup) -> Result<Self, RunError> {
        let dir = &post.keys_dir;
        files::prepare(&post.data_dir, dir)?;
        let lock = files::lock(dir)?;
        let listener = files::socket(dir)?;
        let network = if post.needs_network {
            Network::Open
        } else {
            sandbox::leave_network()
        };
        // Before there is a secret, and not before the network is left: whoever is unreadable cannot write who it is.
        lamchat_host::disable_core_dumps().map_err(std::io::Error::from)?;
        let setup = setup();
        let files = sandbox::confine(dir, setup.tpm.place())?;
        Ok(Self {
            setup,
            lock,
            listener,
            network,
            files,
        })
    }

    /// On the box the kernel is the image's own, and can do all of it.
    fn must_be_closed(&self) -> Result<(), RunError> {
        match (self.files, self.network) {
            (Files::Enforced, Network::Empty { .. }) => Ok(()),
            (files, network) => Err(RunError::Open(sandbox::sentence(network, files))),
        }
    }

    /// The holder, which answers whoever types from now on; `exchange` is no such process.
    fn open(self, notices: Notices, exchange: Option<Pid>) -> Result<(Arc<Holder>, File), RunError> {
        let sentence = sandbox::sentence(self.network, self.files);
        let holder = Arc::new(Holder::new(self.setup, notices, sentence));
        let (shared, listener, network) = (Arc::clone(&holder), self.listener, self.network);
        thread::Builder::new().name("typed".to_owned()).spawn(move || {
            if let Err(error) = serve_typed(&listener, &shared, network, exchange) {
                tracing::error!(%error, "the key holder takes nothing any more that somebody types");
            }
        })?;
        Ok((holder, self.lock))
    }
}
