//! Every bound, tried with real sockets.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use crate::support::{exchange, read_all, short, start};
use http::{Method, StatusCode};
use lamchat_http::{Auth, Bind, BodyPolicy, Limits, Listener, Patience, Resource, Response, Route, Router, Server};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

#[tokio::test]
async fn a_request_is_answered_and_the_connection_kept() {
    let (_server, address) = start(short(), None).await;
    let answer = exchange(
        address,
        b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\nGET /hello?x=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    assert_eq!(answer.matches("{\"hello\":1}").count(), 2);
    assert!(answer.contains("access-control-allow-origin: *"));
    assert!(answer.contains("content-length: 11"));
}

#[tokio::test]
async fn slow_headers_are_cut() {
    let (_server, address) = start(short(), None).await;
    let started = Instant::now();
    let mut stream = TcpStream::connect(address).await.unwrap();
    // Byte by byte, always faster than any timeout between bytes could be.
    for byte in b"GET /hello HTTP/1.1\r\nX-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
        .iter()
        .cycle()
    {
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(started.elapsed() < Duration::from_secs(4));
    }
    assert!(started.elapsed() >= Duration::from_millis(290));
}

#[tokio::test]
async fn silent_and_idle_connections_are_closed() {
    let (_server, address) = start(short(), None).await;
    let started = Instant::now();
    let mut silent = TcpStream::connect(address).await.unwrap();
    assert_eq!(read_all(&mut silent).await, "");
    assert!(
        (290..2000).contains(&started.elapsed().as_millis()),
        "{:?}",
        started.elapsed()
    );

    let mut idle = TcpStream::connect(address).await.unwrap();
    idle.write_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let started = Instant::now();
    assert!(read_all(&mut idle).await.starts_with("HTTP/1.1 200"));
    assert!(
        (590..3000).contains(&started.elapsed().as_millis()),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn large_headers_get_431() {
    let (_server, address) = start(short(), None).await;
    let mut request = b"GET /hello HTTP/1.1\r\nHost: x\r\nX-Large: ".to_vec();
    request.resize(request.len() + 17 * 1024, b'a');
    request.extend(b"\r\n\r\n");
    assert!(exchange(address, &request).await.starts_with("HTTP/1.1 431"));
    let mut request = b"GET /hello HTTP/1.1\r\nHost: x\r\n".to_vec();
    for number in 0..150 {
        request.extend(format!("X-{number}: a\r\n").bytes());
    }
    request.extend(b"\r\n");
    assert!(exchange(address, &request).await.starts_with("HTTP/1.1 431"));
}

#[tokio::test]
async fn large_bodies_get_413() {
    let (_server, address) = start(short(), None).await;
    let body = vec![b'a'; 300_000];
    let announced = [
        b"POST /json HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 300000\r\n\r\n".as_slice(),
        &body,
    ]
    .concat();
    let chunked = [
        b"POST /json HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n493e0\r\n"
            .as_slice(),
        &body,
        b"\r\n0\r\n\r\n",
    ]
    .concat();
    let streamed =
        b"POST /stream HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9000000\r\n\r\n".to_vec();
    for request in [announced, chunked, streamed] {
        let answer = exchange(address, &request).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        assert!(answer.contains("M_TOO_LARGE"));
    }
    let fits = [
        b"POST /json HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n".as_slice(),
        &body[..1000],
    ]
    .concat();
    assert!(exchange(address, &fits).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn slow_bodies_are_cut() {
    let (_server, address) = start(short(), None).await;
    let started = Instant::now();
    let answer = exchange(
        address,
        b"POST /json HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 10\r\n\r\nabc",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    let answer = exchange(
        address,
        b"POST /stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 10\r\n\r\nabc",
    )
    .await;
    assert!(answer.contains("did not arrive in time"), "{answer}");
    // A trickle that never pauses long ends with the time for all of the body.
    let mut trickle = TcpStream::connect(address).await.unwrap();
    trickle
        .write_all(b"POST /stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n")
        .await
        .unwrap();
    for _ in 0..14 {
        let _ended = trickle.write_all(b"a").await;
        tokio::time::sleep(Duration::from_millis(80)).await;
    }
    assert!(read_all(&mut trickle).await.contains("did not arrive in time"));
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn slow_handlers_get_500() {
    let (_server, address) = start(short(), None).await;
    let answer = exchange(
        address,
        b"GET /too-slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 500"), "{answer}");
    assert!(answer.contains("M_UNKNOWN") && answer.contains("x-request-id"));
    let answer = exchange(address, b"GET /wait HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.ends_with("at last"), "{answer}");
}

#[tokio::test]
async fn a_peer_that_reads_nothing_is_cut() {
    let (server, address) = start(short(), None).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    // It is gone, so nothing has to be cut.
    assert_eq!(server.stop(Duration::from_millis(200)).await, 0);
}

#[tokio::test]
async fn a_flood_of_connections_is_bounded() {
    let limits = Limits {
        connections_per_peer: 5,
        header_read_time: Duration::from_secs(5),
        ..short()
    };
    let (_server, address) = start(limits, None).await;
    let mut kept = Vec::new();
    for _ in 0..5 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let mut first = [0; 15];
        stream.read_exact(&mut first).await.unwrap();
        kept.push(stream);
    }
    for _ in 0..20 {
        assert_eq!(exchange(address, b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n").await, "");
    }
    kept.pop();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let answer = exchange(address, b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn stopping_finishes_what_is_in_flight() {
    let (server, address) = start(short(), None).await;
    let waiting = tokio::spawn(async move { exchange(address, b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n").await });
    let idle = TcpStream::connect(address).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let started = Instant::now();
    assert_eq!(server.stop(Duration::from_secs(5)).await, 0);
    assert!(
        (300..2000).contains(&started.elapsed().as_millis()),
        "{:?}",
        started.elapsed()
    );
    assert!(waiting.await.unwrap().ends_with("at last"));
    assert!(TcpStream::connect(address).await.is_err());
    drop(idle);
}

#[tokio::test]
async fn stopping_takes_bounded_time() {
    let (server, address) = start(
        Limits {
            write_stall_time: Duration::from_secs(60),
            ..short()
        },
        None,
    )
    .await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let started = Instant::now();
    assert_eq!(server.stop(Duration::from_millis(300)).await, 1);
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn nonsense_is_answered_with_400() {
    let (_server, address) = start(short(), None).await;
    for nonsense in [
        b"\x16\x03\x01\x02\x00\x01\x00\x01".as_slice(),
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        &[0; 64],
    ] {
        let answer = exchange(address, nonsense).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    assert!(
        exchange(address, b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 200")
    );
}

#[tokio::test]
async fn a_unix_socket_has_its_permissions_and_only_its_resources() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.socket");
    // What a dead process left behind is replaced.
    std::fs::write(&path, b"").unwrap();
    let route = |path: &'static str, resource| Route {
        method: Method::GET,
        path: path.into(),
        resource,
        auth: Auth::Admin,
        body: BodyPolicy::Limit(0),
        patience: Patience::Bounded,
        handler: Arc::new(|request| {
            let uid = request.peer_uid.map_or_else(String::new, |uid| uid.to_string());
            Box::pin(async move { Response::text(StatusCode::OK, format!("uid {uid}")) })
        }),
    };
    let own_uid = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap());
    let routes = vec![route("/admin", Resource::Admin), route("/client", Resource::Client)];
    let router = Arc::new(Router::new(routes, short()).unwrap());
    let bind = Bind::Unix {
        path: path.clone(),
        mode: 0o600,
    };
    let listener = Listener {
        bind,
        tls: None,
        resources: vec![Resource::Admin],
    };
    let server = Server::start(vec![listener.clone()], Arc::clone(&router))
        .await
        .unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(
        Server::start(vec![listener], router)
            .await
            .unwrap_err()
            .to_string()
            .contains("another process")
    );
    for (target, status) in [("/admin", "HTTP/1.1 200"), ("/client", "HTTP/1.1 404")] {
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream
            .write_all(format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(status), "{answer}");
        assert_eq!(
            answer.ends_with(&format!("uid {own_uid}")),
            target == "/admin",
            "{answer}"
        );
    }
    assert_eq!(server.stop(Duration::from_secs(1)).await, 0);
    assert!(!path.exists());
}
