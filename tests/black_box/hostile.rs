//! What strangers and broken clients send, to every route: refused with an errcode, and the server lives on.

use crate::authentication::{fill, plausible, routes};
use crate::harness::{Client, Server, Site, text};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Bodies that no route can use.
fn bodies() -> Vec<(&'static str, Vec<u8>)> {
    let nested =
        |open: &str, close: &str, depth: usize| format!("{}1{}", open.repeat(depth), close.repeat(depth)).into_bytes();
    vec![
        ("nothing", Vec::new()),
        ("not JSON", b"<html>".to_vec()),
        ("cut off", b"{\"a\":".to_vec()),
        ("two values", b"{} {}".to_vec()),
        ("an array", b"[]".to_vec()),
        ("a number", b"1e400".to_vec()),
        ("null", b"null".to_vec()),
        ("NUL bytes", b"{\"a\0\":\"\0\"}".to_vec()),
        ("escaped NUL", br#"{"type":"\u0000","user":"\u0000","username":"\u0000","password":"\u0000","body":"\u0000"}"#.to_vec()),
        ("bad UTF-8", b"{\"type\":\"\xFF\xFE\",\"body\":\"\xC0\x80\"}".to_vec()),
        ("lone surrogate", br#"{"type":"\ud800","body":"\udfff"}"#.to_vec()),
        ("deep arrays", nested("[", "]", 20_000)),
        ("deep objects", nested("{\"a\":", "}", 20_000)),
        ("deep inside", format!("{{\"content\":{}}}", text(&nested("[", "]", 5_000))).into_bytes()),
        ("huge numbers", br#"{"limit":99999999999999999999999999,"ts":-1e308,"timeout":9007199254740993,"n":0.1}"#.to_vec()),
        (
            "wrong types",
            br#"{"type":{},"user":[],"username":1,"password":{},"auth":[],"content":"x","room_id":4,"users":5,"devices":true,
                "one_time_keys":[],"device_keys":7,"messages":"no","algorithm":1,"auth_data":3,"rooms":[],"sessions":9,"filter":2,
                "invite":"all","initial_state":{},"user_id":{},"event_id":[],"reason":{},"displayname":[],"avatar_url":{},
                "typing":"perhaps","timeout":"long","refresh_token":1,"conditions":4,"actions":"shout","search_term":3,
                "master_key":"k","visibility":{},"new_version":12,"identifier":8,"token":{},"key":0,"nonce":1,"mac":{}}"#
                .to_vec(),
        ),
        ("repeated keys", br#"{"type":"a","type":"b","msgtype":"a","msgtype":"b"}"#.to_vec()),
    ]
}

/// Values that no path parameter can have, percent-encoded.
const PARAMETERS: &[&str] = &[
    "%00",
    "%FF%FE",
    "..%2F..%2Fetc%2Fpasswd",
    "%F0%9F%92%A5",
    "%22%27%3B--",
    "-1",
    "99999999999999999999",
    "!:",
    "@:",
    "%23:",
];

fn check(reply: &std::io::Result<crate::harness::Reply>, what: &str, wrong: &mut Vec<String>) {
    match reply {
        Err(error) => wrong.push(format!("{what}: {error}")),
        Ok(reply) if reply.status >= 500 => wrong.push(format!("{what}: {} {}", reply.status, text(&reply.body))),
        Ok(reply) if reply.status >= 400 => {
            let errcode = reply.refusal().1;
            // User-interactive authentication asks with 401 and flows.
            if !errcode.starts_with("M_") && reply.json()["flows"].is_null() {
                wrong.push(format!(
                    "{what}: {} without errcode: {}",
                    reply.status,
                    text(&reply.body)
                ));
            }
        }
        Ok(_) => {}
    }
}

/// Logs in again when a hostile request has ended the session (to `/logout` it is a wish like any other).
fn keep_session(server: &Server, client: &mut Client, count: &mut usize) {
    if client.get("/_matrix/client/v3/account/whoami").status != 200 {
        *count += 1;
        *client = server.account(&format!("mallory{count}"));
    }
}

#[test]
fn hostile_bodies_are_refused_everywhere() {
    let site = Site::new();
    let server = site.start();
    let mut client = server.account("mallory");
    let (mut wrong, mut sessions) = (Vec::new(), 0);
    for (method, path, _) in routes() {
        if method == "GET" {
            continue;
        }
        let target = fill(&path, plausible);
        for (name, body) in bodies() {
            let reply = client.send(&method, &target, &[("Content-Type", "application/json")], &body);
            let what = format!("{method} {path} with {name}");
            check(&reply, &what, &mut wrong);
            // What is not JSON at all is accepted by nobody but those who take no body, or any.
            let takes_none = path.contains("/media/")
                || path.ends_with("/logout")
                || path.ends_with("/logout/all")
                || method == "DELETE";
            let hopeless = [
                "not JSON",
                "cut off",
                "two values",
                "bad UTF-8",
                "deep arrays",
                "deep objects",
            ]
            .contains(&name);
            if let Ok(reply) = &reply
                && hopeless
                && !takes_none
                && reply.status < 400
            {
                wrong.push(format!("{what}: accepted with {} {}", reply.status, text(&reply.body)));
            }
        }
        keep_session(&server, &mut client, &mut sessions);
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(server.client().get("/_matrix/client/versions").status, 200);
}

#[test]
fn hostile_paths_and_queries_are_refused_everywhere() {
    let site = Site::new();
    let server = site.start();
    let mut client = server.account("mallory");
    let (mut wrong, mut sessions) = (Vec::new(), 0);
    let query = "limit=-1&from=%00&since=s1_2_x&timeout=99999999999999999999&filter=%7B%22room%22%3A5&dir=q&ts=x&at=%FF&width=0&height=-9";
    for (method, path, _) in routes() {
        for parameter in PARAMETERS {
            let target = fill(&path, |_| (*parameter).to_owned());
            let reply = client.send(&method, &target, &[("Content-Type", "application/json")], b"{}");
            check(&reply, &format!("{method} {target}"), &mut wrong);
            if !path.contains('{') {
                break;
            }
        }
        let long = fill(&path, |_| "a".repeat(3000));
        check(
            &client.send(&method, &long, &[], b"{}"),
            &format!("{method} {path} with long parameters"),
            &mut wrong,
        );
        let target = format!("{}?{query}", fill(&path, plausible));
        check(
            &client.send(&method, &target, &[], b"{}"),
            &format!("{method} {target}"),
            &mut wrong,
        );
        keep_session(&server, &mut client, &mut sessions);
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(server.client().get("/_matrix/client/versions").status, 200);
}

#[test]
fn oversized_bodies_are_refused_everywhere() {
    let site = Site::new();
    let server = site.start();
    let mut client = server.account("mallory");
    let mut wrong = Vec::new();
    let body = [b"{\"a\":\"".as_slice(), &vec![b'x'; 12 << 20], b"\"}"].concat();
    for (method, path, _) in routes() {
        if method == "GET" || path.contains("/media/") || path.ends_with("/logout") || path.ends_with("/logout/all") {
            continue;
        }
        // As large as a release; without a credential nothing of it is read.
        let takes_releases = path.ends_with("/update/bundle");
        let reply = client.send(
            &method,
            &fill(&path, plausible),
            &[("Content-Type", "application/json")],
            &body,
        );
        let what = format!("{method} {path}");
        match reply {
            // Refused before the body was read, and the rest of it met a closed door: that is a refusal, too.
            Err(_) => {}
            Ok(reply) if reply.status == 413 && reply.refusal().1 == "M_TOO_LARGE" => {}
            Ok(reply) if takes_releases && reply.status == 401 => {}
            other => wrong.push(format!("{what}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(server.client().get("/_matrix/client/versions").status, 200);
}

#[test]
fn what_is_not_http_ends_the_connection_only() {
    let site = Site::new();
    let server = site.start();
    let port: u16 = server.urls[1].rsplit_once(':').unwrap().1.parse().unwrap();
    let junk: Vec<Vec<u8>> = vec![
        vec![0; 10_000],
        vec![0xFF; 10_000],
        b"GET\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\0\0\0\0\0\0".to_vec(),
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n".to_vec(),
        b"POST /_matrix/client/v3/login HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nzzzz\r\n".to_vec(),
        b"POST /_matrix/client/v3/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n".to_vec(),
        format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(5_000)).into_bytes(),
        format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1 << 20)).into_bytes(),
        [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00].to_vec(),
    ];
    for bytes in junk {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // The server may close while we are still sending.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let status = text(&answer);
        assert!(
            answer.is_empty() || status.starts_with("HTTP/1.1 4") || status.starts_with("HTTP/1.1 505"),
            "{status}"
        );
    }
    let mut tls =
        TcpStream::connect(("127.0.0.1", server.urls[0].rsplit_once(':').unwrap().1.parse().unwrap())).unwrap();
    let _ = tls.write_all(&[0x16, 0x03, 0x01, 0xFF, 0xFF, 0x01, 0x00, 0x00]);
    drop(tls);
    assert_eq!(server.client().get("/_matrix/client/versions").status, 200);
}
