//! Files over the API: up, down, limits, headers, and what strangers get.

#![expect(clippy::unwrap_used, reason = "tests")]

use crate::App;
use crate::testing::{app, call, call_bytes, register};
use http::HeaderMap;
use lamchat_http::{Limits, Router};
use serde_json::{Value, json};
use std::sync::Arc;

const DOWNLOAD: &str = "/_matrix/client/v1/media/download";

/// Any request with any headers; the whole answer.
async fn send(
    app: &Arc<App>,
    method: &str,
    uri: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> (u16, HeaderMap, Vec<u8>) {
    let router = Router::new(crate::routes(Arc::clone(app)), Limits::default()).unwrap();
    let mut request = http::Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router.answer(request.body(body.into()).unwrap()).await;
    let (parts, body) = response.into_parts();
    (parts.status.as_u16(), parts.headers, body)
}

fn media_id(answer: &Value) -> String {
    let uri = answer.get("content_uri").and_then(Value::as_str).unwrap();
    uri.strip_prefix("mxc://example.org/").unwrap().to_owned()
}

async fn upload(app: &Arc<App>, token: &str, query: &str, content_type: &str, body: &[u8]) -> String {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", content_type)];
    let (status, _, answer) = send(
        app,
        "POST",
        &format!("/_matrix/media/v3/upload{query}"),
        &headers,
        body.to_vec(),
    )
    .await;
    assert_eq!(status, 200);
    media_id(&serde_json::from_slice(&answer).unwrap())
}

#[tokio::test]
async fn a_file_goes_up_and_comes_down_with_safe_headers() {
    let app = app();
    let token = register(&app, "alice").await;
    let bearer = format!("Bearer {token}");
    let authorized = [("authorization", bearer.as_str())];
    for size in [0usize, 10, 600_000, 2_000_000] {
        let bytes: Vec<u8> = (0..size).map(|at| (at % 251) as u8).collect();
        let id = upload(&app, &token, "?filename=f%C3%BCr%20dich.png", "image/png", &bytes).await;
        let (status, headers, body) = send(
            &app,
            "GET",
            &format!("{DOWNLOAD}/example.org/{id}"),
            &authorized,
            vec![],
        )
        .await;
        assert_eq!(status, 200);
        assert!(body == bytes, "{size}");
        let text = |name: &str| headers.get(name).unwrap().to_str().unwrap();
        assert_eq!(text("content-type"), "image/png");
        assert_eq!(
            text("content-disposition"),
            "inline; filename*=utf-8''f%C3%BCr%20dich.png"
        );
        assert!(text("content-security-policy").starts_with("sandbox; default-src 'none'"));
        assert_eq!(text("cross-origin-resource-policy"), "cross-origin");
        assert_eq!(text("x-content-type-options"), "nosniff");
        assert!(text("cache-control").contains("immutable"));
        let named = format!("{DOWNLOAD}/example.org/{id}/other%20name.txt");
        let (_, headers, _) = send(&app, "GET", &named, &authorized, vec![]).await;
        assert_eq!(
            headers.get("content-disposition").unwrap(),
            "inline; filename=\"other name.txt\""
        );
    }
    for (content_type, disposition) in [
        ("text/html", "attachment"),
        ("\u{1}nonsense", "attachment"),
        ("", "attachment"),
    ] {
        if http::HeaderValue::try_from(content_type).is_ok() {
            let id = upload(&app, &token, "", content_type, b"<script>").await;
            let (status, headers, _) = send(
                &app,
                "GET",
                &format!("{DOWNLOAD}/example.org/{id}"),
                &authorized,
                vec![],
            )
            .await;
            assert_eq!(
                (status, headers.get("content-disposition").unwrap().to_str().unwrap()),
                (200, disposition)
            );
        }
    }
}

#[tokio::test]
async fn a_part_of_a_file_can_be_had() {
    let app = app();
    let token = register(&app, "alice").await;
    let bearer = format!("Bearer {token}");
    let id = upload(&app, &token, "", "video/mp4", b"0123456789").await;
    let uri = format!("{DOWNLOAD}/example.org/{id}");
    let get = async |range: &str| {
        send(
            &app,
            "GET",
            &uri,
            &[("authorization", &bearer), ("range", range)],
            vec![],
        )
        .await
    };
    let (status, headers, body) = get("bytes=2-4").await;
    assert_eq!((status, body.as_slice()), (206, b"234".as_slice()));
    assert_eq!(headers.get("content-range").unwrap(), "bytes 2-4/10");
    assert_eq!(get("bytes=10-").await.0, 416);
    assert_eq!(get("lines=1-2").await.2, b"0123456789");
}

#[tokio::test]
async fn strangers_and_other_servers_find_nothing() {
    let app = app();
    let token = register(&app, "alice").await;
    let id = upload(&app, &token, "", "text/plain", b"hello").await;
    let code = |answer: &Value| answer.get("errcode").and_then(Value::as_str).map(str::to_owned);
    for (uri, with_token, status, errcode) in [
        (format!("{DOWNLOAD}/example.org/{id}"), false, 401, "M_MISSING_TOKEN"),
        (format!("{DOWNLOAD}/elsewhere.org/{id}"), true, 404, "M_NOT_FOUND"),
        (format!("{DOWNLOAD}/example.org/nothing"), true, 404, "M_NOT_FOUND"),
        (
            format!("{DOWNLOAD}/example.org/..%2F..%2Fkeyring"),
            true,
            404,
            "M_NOT_FOUND",
        ),
        (
            format!("/_matrix/media/v3/download/example.org/{id}"),
            false,
            404,
            "M_NOT_FOUND",
        ),
        (
            format!("/_matrix/media/r0/download/example.org/{id}/a.txt"),
            true,
            404,
            "M_NOT_FOUND",
        ),
        (
            format!("/_matrix/media/v3/thumbnail/example.org/{id}?width=1&height=1"),
            false,
            404,
            "M_NOT_FOUND",
        ),
        (
            "/_matrix/client/v1/media/preview_url?url=https://example.org".to_owned(),
            true,
            404,
            "M_NOT_FOUND",
        ),
        ("/_matrix/media/v3/config".to_owned(), false, 401, "M_MISSING_TOKEN"),
    ] {
        let (found, answer) = call(&app, "GET", &uri, with_token.then_some(token.as_str()), None).await;
        assert_eq!(
            (found.as_u16(), code(&answer).as_deref()),
            (status, Some(errcode)),
            "{uri}"
        );
    }
    for uri in ["/_matrix/media/v3/config", "/_matrix/client/v1/media/config"] {
        let (status, answer) = call(&app, "GET", uri, Some(&token), None).await;
        assert_eq!((status.as_u16(), answer), (200, json!({ "m.upload.size": 100 << 20 })));
    }
}

#[tokio::test]
async fn limits_have_their_errcodes() {
    let app = app();
    let token = register(&app, "alice").await;
    let mut settings = crate::Settings::clone(&app.settings.load());
    settings.upload_bytes_max = 10;
    app.settings.store(Arc::new(settings));
    let uri = "/_matrix/media/v3/upload";
    let (status, body) = call_bytes(&app, "POST", uri, Some(&token), vec![0; 11]).await;
    let answer: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        (status.as_u16(), answer.get("errcode").and_then(Value::as_str)),
        (413, Some("M_TOO_LARGE"))
    );
    assert_eq!(call_bytes(&app, "POST", uri, Some(&token), vec![0; 10]).await.0, 200);
    assert_eq!(call_bytes(&app, "POST", uri, None, vec![0; 10]).await.0, 401);
}

#[tokio::test]
async fn a_created_id_is_filled_later() {
    let app = app();
    let (alice, bob) = (register(&app, "alice").await, register(&app, "bob").await);
    let (status, created) = call(&app, "POST", "/_matrix/media/v1/create", Some(&alice), Some(json!({}))).await;
    assert_eq!(status, 200);
    assert!(created.get("unused_expires_at").and_then(Value::as_u64).is_some());
    let id = media_id(&created);
    let code = |(status, body): (http::StatusCode, Vec<u8>)| {
        let answer: Value = serde_json::from_slice(&body).unwrap();
        (
            status.as_u16(),
            answer.get("errcode").and_then(Value::as_str).unwrap_or("").to_owned(),
        )
    };
    let early = format!("{DOWNLOAD}/example.org/{id}?timeout_ms=10");
    assert_eq!(
        code(call_bytes(&app, "GET", &early, Some(&alice), vec![]).await),
        (504, "M_NOT_YET_UPLOADED".to_owned())
    );
    let put = format!("/_matrix/media/v3/upload/example.org/{id}");
    let fill = async |token: &str| code(call_bytes(&app, "PUT", &put, Some(token), b"late".to_vec()).await);
    assert_eq!(fill(&bob).await, (403, "M_FORBIDDEN".to_owned()));
    assert_eq!(fill(&alice).await, (200, String::new()));
    assert_eq!(fill(&alice).await, (409, "M_CANNOT_OVERWRITE_MEDIA".to_owned()));
    assert_eq!(call_bytes(&app, "GET", &early, Some(&bob), vec![]).await.1, b"late");
    let unknown = "/_matrix/media/v3/upload/example.org/unknown";
    assert_eq!(
        code(call_bytes(&app, "PUT", unknown, Some(&alice), vec![]).await),
        (404, "M_NOT_FOUND".to_owned())
    );
}

#[tokio::test]
async fn thumbnails_are_smaller_images_or_a_clear_no() {
    let app = app();
    let token = register(&app, "alice").await;
    let bearer = format!("Bearer {token}");
    let png = png_of_zeros();
    let image = upload(&app, &token, "", "image/png", &png).await;
    let text = upload(&app, &token, "", "text/plain", b"text").await;
    let get = async |id: &str, query: &str| {
        let uri = format!("/_matrix/client/v1/media/thumbnail/example.org/{id}?{query}");
        send(&app, "GET", &uri, &[("authorization", &bearer)], vec![]).await
    };
    let (status, headers, body) = get(&image, "width=30&height=30&method=crop").await;
    assert_eq!(
        (status, headers.get("content-type").unwrap().to_str().unwrap()),
        (200, "image/jpeg")
    );
    assert_eq!(
        headers.get("content-disposition").unwrap(),
        "inline; filename=thumbnail.jpg"
    );
    assert!(body.starts_with(&[0xFF, 0xD8]));
    assert_eq!(get(&image, "width=3000&height=3000&method=scale").await.2, png);
    // Whatever its uploader called it, it is shown as the image that it is.
    let odd = upload(&app, &token, "", "text/html", &png).await;
    let (_, headers, _) = get(&odd, "width=3000&height=3000&method=scale").await;
    assert_eq!(headers.get("content-type").unwrap(), "image/png");
    assert_eq!(headers.get("content-disposition").unwrap(), "inline");
    for (id, query) in [
        (&text, "width=30&height=30"),
        (&image, "width=30"),
        (&image, "width=-1&height=30"),
        (&image, "width=0&height=30"),
        (&image, "width=1.5&height=30"),
        (&image, "width=30&height=30&method=stretch"),
    ] {
        assert_eq!(get(id, query).await.0, 400, "{query}");
    }
}

/// A PNG of 200 by 200 black pixels, written with stored (uncompressed) deflate blocks.
fn png_of_zeros() -> Vec<u8> {
    let rows = vec![0u8; 200 * (1 + 3 * 200)];
    let mut data = vec![0x78, 0x01];
    let mut blocks = rows.chunks(60_000).peekable();
    while let Some(block) = blocks.next() {
        data.push(u8::from(blocks.peek().is_none()));
        data.extend((block.len() as u16).to_le_bytes());
        data.extend((!(block.len() as u16)).to_le_bytes());
        data.extend(block);
    }
    // Adler-32 of zeros: the low half stays 1, the high half counts the bytes.
    data.extend(((((rows.len() as u32) % 65_521) << 16) | 1).to_be_bytes());
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let header = [200u32.to_be_bytes().as_slice(), &200u32.to_be_bytes(), &[8, 2, 0, 0, 0]].concat();
    for (kind, content) in [(b"IHDR", header.as_slice()), (b"IDAT", &data), (b"IEND", &[])] {
        png.extend((content.len() as u32).to_be_bytes());
        let chunk = [kind.as_slice(), content].concat();
        let crc = !chunk.iter().fold(u32::MAX, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
                if crc & 1 == 1 {
                    (crc >> 1) ^ 0xEDB8_8320
                } else {
                    crc >> 1
                }
            })
        });
        png.extend(chunk);
        png.extend(crc.to_be_bytes());
    }
    png
}
