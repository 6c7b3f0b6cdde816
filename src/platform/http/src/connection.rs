//! One connection: the handshake, the protocol, its end.

use crate::activity::{Activity, Verdict, Watched};
use crate::body::Outgoing;
use crate::listener::{Origin, Peer, Stream};
use crate::{Identity, Resource, Router};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

/// What the server wants of its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Running,
    /// Finish what is in flight, then close.
    Draining,
    /// Close now.
    Over,
}

/// How long a connection that was told goodbye may take to close.
const GOODBYE_TIME: Duration = Duration::from_secs(5);
/// HTTP/2 pings a silent peer this often, and gives up when it does not answer in this time.
const PING_TIME: Duration = Duration::from_secs(30);
/// Bytes of an answer that HTTP/2 keeps ready for one stream.
const SEND_BUFFER_BYTES: usize = 256 * 1024;
/// Bytes that one HTTP/2 stream may send ahead of its reader; a connection may have four times as many.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;

/// What every connection of a listener shares.
pub(crate) struct Shared {
    pub(crate) router: Arc<Router>,
    pub(crate) resources: Vec<Resource>,
    pub(crate) tls: Option<Arc<Identity>>,
}

/// Serves a connection to its end.
pub(crate) async fn run(stream: Stream, shared: Arc<Shared>, mut phase: watch::Receiver<Phase>) {
    let peer = stream.peer();
    match stream {
        Stream::Unix(stream, _) => speak(stream, peer, false, shared, phase).await,
        Stream::Tcp(stream, _) => {
            let Some(identity) = shared.tls.clone() else {
                return speak(stream, peer, false, shared, phase).await;
            };
            let handshake = TlsAcceptor::from(identity.config()).accept(stream);
            let handshake = tokio::time::timeout(shared.router.limits.handshake_time, handshake);
            let stream = tokio::select! {
                stream = handshake => stream,
                _ = phase.wait_for(|phase| *phase != Phase::Running) => return,
            };
            let Ok(Ok(stream)) = stream else {
                shared.router.metrics.handshakes_failed.inc();
                return;
            };
            let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            speak(stream, peer, is_h2, shared, phase).await;
        }
    }
}

async fn speak<S>(stream: S, peer: Peer, is_h2: bool, shared: Arc<Shared>, phase: watch::Receiver<Phase>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let activity = Activity::begin();
    let router = Arc::clone(&shared.router);
    let origin = Origin {
        peer,
        is_encrypted: shared.tls.is_some(),
    };
    let limits = &router.limits;
    let io = TokioIo::new(Watched::new(stream, Arc::clone(&activity), limits.write_stall_time));
    let service = service_fn({
        let activity = Arc::clone(&activity);
        move |request: http::Request<Incoming>| {
            let (shared, in_flight) = (Arc::clone(&shared), activity.begin_request());
            async move {
                let answer = shared.router.serve(request, &shared.resources, origin).await;
                Ok::<_, Infallible>(answer.map(|body: Outgoing| body.until_its_end(in_flight)))
            }
        }
    });
    if is_h2 {
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(limits.pending_resets)
            .max_local_error_reset_streams(limits.error_resets)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(STREAM_WINDOW_BYTES * 4)
            .keep_alive_interval(PING_TIME)
            .keep_alive_timeout(PING_TIME);
        let connection = std::pin::pin!(http.serve_connection(io, service));
        watch_over(
            connection,
            http2::Connection::graceful_shutdown,
            &activity,
            &router,
            true,
            phase,
        )
        .await;
    } else {
        let mut http = http1::Builder::new();
        // The headers' time is bounded by `Activity`, which tells a slow request from an idle connection; hyper's
        // own timer cannot, and costs an allocation a request.
        http.timer(TokioTimer::new())
            .header_read_timeout(None)
            .max_header_size(limits.header_bytes);
        if limits.headers != crate::limits::HEADERS_OF_HYPER {
            http.max_headers(limits.headers);
        }
        let connection = std::pin::pin!(http.serve_connection(io, service));
        watch_over(
            connection,
            http1::Connection::graceful_shutdown,
            &activity,
            &router,
            false,
            phase,
        )
        .await;
    }
}

/// Drives a connection until it ends by itself, is idle or too slow for too long, or the server stops.
async fn watch_over<C, E>(
    mut connection: std::pin::Pin<&mut C>,
    say_goodbye: fn(std::pin::Pin<&mut C>),
    activity: &Activity,
    router: &Router,
    is_h2: bool,
    mut phase: watch::Receiver<Phase>,
) where
    C: Future<Output = Result<(), E>>,
{
    let limits = &router.limits;
    let shortest = limits.header_read_time.min(limits.idle_time);
    let mut tick = tokio::time::interval((shortest / 4).clamp(Duration::from_millis(10), Duration::from_secs(5)));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut goodbye_since: Option<tokio::time::Instant> = None;
    let mut draining = false;
    loop {
        tokio::select! {
            biased;
            // How it ended (a reset, a protocol error) is the peer's affair and not worth a line in the log.
            _ended = connection.as_mut() => return,
            changed = phase.changed() => {
                let now = *phase.borrow();
                if changed.is_err() || now == Phase::Over {
                    return;
                }
                if now == Phase::Draining && !draining {
                    draining = true;
                    say_goodbye(connection.as_mut());
                }
            }
            _ = tick.tick() => match activity.verdict(limits, is_h2) {
                Verdict::Keep => {}
                Verdict::Cut => return,
                Verdict::Close => match goodbye_since {
                    Some(since) if since.elapsed() >= GOODBYE_TIME => return,
                    Some(_) => {}
                    None => {
                        goodbye_since = Some(tokio::time::Instant::now());
                        say_goodbye(connection.as_mut());
                    }
                },
            }
        }
    }
}
