//! All listeners of the process, from opening to the last connection's end.

use crate::connection::{self, Phase, Shared};
use crate::listener::{Bind, ListenError, Listener, Socket};
use crate::router::Router;
use crate::seats::Seats;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// When accepting fails (mostly: no file descriptors left), wait before the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A running server. Dropping it ends everything at once; [`Server::stop`] ends it well.
#[derive(Debug)]
pub struct Server {
    phase: watch::Sender<Phase>,
    /// Its senders are held by listeners and connections: it ends when they have ended.
    ended: mpsc::Receiver<()>,
    addresses: Vec<SocketAddr>,
    unix_paths: Vec<PathBuf>,
    router: Arc<Router>,
}

impl Server {
    /// Opens all listeners, then serves `router` on them. If one cannot be opened, none is.
    pub async fn start(listeners: Vec<Listener>, router: Arc<Router>) -> Result<Self, ListenError> {
        let mut sockets = Vec::with_capacity(listeners.len());
        for listener in listeners {
            sockets.push((Socket::open(&listener.bind).await?, listener));
        }
        let (phase, _) = watch::channel(Phase::Running);
        let (alive, ended) = mpsc::channel(1);
        let limits = &router.limits;
        let seats = Seats::new(
            limits.connections,
            limits.connections_per_peer,
            Arc::clone(&router.metrics),
        );
        let (mut addresses, mut unix_paths) = (Vec::new(), Vec::new());
        for (socket, listener) in sockets {
            addresses.extend(socket.address());
            // What the service manager handed over stays, and takes connections for the next start.
            if let Bind::Unix { path, .. } = listener.bind
                && !lamchat_host::is_handed(&path)
            {
                unix_paths.push(path);
            }
            let shared = Shared {
                router: Arc::clone(&router),
                resources: listener.resources,
                tls: listener.tls,
            };
            tokio::spawn(accept(
                socket,
                Arc::new(shared),
                Arc::clone(&seats),
                phase.subscribe(),
                alive.clone(),
            ));
        }
        Ok(Self {
            phase,
            ended,
            addresses,
            unix_paths,
            router,
        })
    }

    /// The TCP addresses that are listened on, in the listeners' order, with the ports that the system chose.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Stops accepting, finishes requests in flight for at most `patience`, and ends what is left then.
    /// Answers how many connections had to be cut.
    pub async fn stop(mut self, patience: Duration) -> usize {
        self.phase.send_replace(Phase::Draining);
        for path in &self.unix_paths {
            if let Err(error) = std::fs::remove_file(path) {
                tracing::warn!(%error, "could not remove a socket");
            }
        }
        let cut = match tokio::time::timeout(patience, self.ended.recv()).await {
            Ok(_) => 0,
            Err(_) => usize::try_from(self.router.metrics.connections.get()).unwrap_or(0),
        };
        self.phase.send_replace(Phase::Over);
        // They end at their next poll.
        let _all_gone = tokio::time::timeout(Duration::from_secs(1), self.ended.recv()).await;
        cut
    }
}

async fn accept(
    socket: Socket,
    shared: Arc<Shared>,
    seats: Arc<Seats>,
    mut phase: watch::Receiver<Phase>,
    alive: mpsc::Sender<()>,
) {
    let connection_phase = phase.clone();
    loop {
        let stream = tokio::select! {
            stream = socket.accept() => stream,
            _ = phase.wait_for(|phase| *phase != Phase::Running) => return,
        };
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                // A connection that was gone before we took it is nothing; running out of descriptors is.
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(seat) = seats.take(stream.peer().address()) else {
            continue;
        };
        let (shared, phase, alive) = (Arc::clone(&shared), connection_phase.clone(), alive.clone());
        tokio::spawn(async move {
            connection::run(stream, shared, phase).await;
            drop((seat, alive));
        });
    }
}
