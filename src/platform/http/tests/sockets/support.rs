//! What the socket tests share: a router with one route of each kind, and a client that writes bytes.

#![expect(clippy::unwrap_used, reason = "tests")]

use http::{Method, StatusCode};
use lamchat_http::{
    Auth, Bind, Body, BodyPolicy, Handler, Identity, Limits, Listener, Patience, Resource, Response, Route, Router,
    Server,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Limits so short that a test can wait for them.
pub fn short() -> Limits {
    Limits {
        header_read_time: Duration::from_millis(300),
        idle_time: Duration::from_millis(600),
        handshake_time: Duration::from_millis(300),
        body_read_time: Duration::from_millis(300),
        body_pause: Duration::from_millis(300),
        body_stream_time: Duration::from_millis(900),
        write_stall_time: Duration::from_millis(300),
        handler_time: Duration::from_millis(300),
        header_bytes: 16 * 1024,
        ..Limits::default()
    }
}

fn route(method: Method, path: &'static str, body: BodyPolicy, patience: Patience, handler: Handler) -> Route {
    Route {
        method,
        path: path.into(),
        resource: Resource::Client,
        auth: Auth::Open,
        body,
        patience,
        handler,
    }
}

/// Serves them on a port of the system's choice.
pub async fn start(limits: Limits, tls: Option<Arc<Identity>>) -> (Server, SocketAddr) {
    let hello: Handler = Arc::new(|_| Box::pin(async { Response::spliced(vec!["{\"hello\"".into(), ":1}".into()]) }));
    let count: Handler = Arc::new(|mut request| {
        Box::pin(async move {
            let mut reader = request.take_stream();
            let mut bytes = 0;
            loop {
                match reader.chunk().await {
                    Ok(Some(chunk)) => bytes += chunk.len(),
                    Ok(None) => return Response::text(StatusCode::OK, format!("{bytes} bytes")),
                    Err(error) => return Response::text(StatusCode::BAD_REQUEST, error.to_string()),
                }
            }
        })
    });
    let wait: Handler = Arc::new(|_| {
        Box::pin(async {
            tokio::time::sleep(Duration::from_millis(800)).await;
            Response::text(StatusCode::OK, "at last")
        })
    });
    let endless: Handler = Arc::new(|_| {
        Box::pin(async {
            let (sender, body) = Body::stream(2, None);
            tokio::spawn(async move { while sender.send(Ok(vec![0; 65_536].into())).await.is_ok() {} });
            Response {
                body,
                ..Response::default()
            }
        })
    });
    let routes = vec![
        route(
            Method::GET,
            "/hello",
            BodyPolicy::Limit(0),
            Patience::Bounded,
            Arc::clone(&hello),
        ),
        route(Method::POST, "/json", BodyPolicy::Limit(1000), Patience::Bounded, hello),
        route(
            Method::POST,
            "/stream",
            BodyPolicy::Stream(4 << 20),
            Patience::Own,
            count,
        ),
        route(
            Method::GET,
            "/wait",
            BodyPolicy::Limit(0),
            Patience::Own,
            Arc::clone(&wait),
        ),
        route(Method::GET, "/too-slow", BodyPolicy::Limit(0), Patience::Bounded, wait),
        route(Method::GET, "/endless", BodyPolicy::Limit(0), Patience::Own, endless),
    ];
    let router = Router::new(routes, limits).unwrap();
    let listener = Listener {
        bind: Bind::Tcp(([127, 0, 0, 1], 0).into()),
        tls,
        resources: Resource::ALL.to_vec(),
    };
    let server = Server::start(vec![listener], Arc::new(router)).await.unwrap();
    let address = *server.addresses().first().unwrap();
    (server, address)
}

/// Writes a request and reads until the server closes.
pub async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may refuse before it has read everything.
    let _refused_early = stream.write_all(request).await;
    read_all(&mut stream).await
}

/// Reads until the server closes, for at most five seconds.
pub async fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _reset = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer))
        .await
        .unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}
