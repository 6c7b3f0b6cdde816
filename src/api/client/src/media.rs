//! Uploading and downloading of files: streams in both directions, nothing held in memory as a whole.
//!
//! The unauthenticated endpoints are frozen from the first day: "any media uploaded after (or during) the freeze
//! SHOULD only be accessible through the new, authenticated, endpoints" (Matrix 1.16), so they find nothing.

use crate::limit::Limited;
use crate::media_headers::{CONTENT_HEADERS, byte_range, content_disposition, header};
use crate::wire::json;
use crate::{ApiError, App, Routes, Session};
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_RANGE, CONTENT_TYPE, HeaderValue, RANGE,
};
use http::{Method, StatusCode};
use lamchat_http::{Body, Request, Response, query_value};
use lamchat_media::{Download, Method as Fit, Thumbnail, Upload, UploadError};
use ruma::MilliSecondsSinceUnixEpoch;
use ruma::UInt;
use ruma::api::client::{authenticated_media, media};
use std::sync::Arc;
use std::time::Duration;

/// Above every configurable limit, which is compared while the body comes in.
const UPLOAD_BYTES_CEILING: u64 = 1 << 40;
/// "timeout_ms: The maximum number of milliseconds that the client is willing to wait to start receiving data, in the
/// case that the content has not yet been uploaded. The default value is 20000 (20 seconds)."
const PATIENCE_DEFAULT_MS: u64 = 20_000;
/// "The content repository SHOULD impose a maximum value for this parameter."
const PATIENCE_MAX_MS: u64 = 60_000;
/// Content up to this size is sent as one piece.
const AT_ONCE_BYTES_MAX: u64 = 512 * 1024;
/// Pieces of 64 KiB that are read ahead of the network.
const PIECES_AHEAD: usize = 8;
/// What is read of a refused upload, so that the client hears why.
const DISCARD_BYTES_MAX: u64 = 256 * 1024;
const DISCARD_TIME_MAX: Duration = Duration::from_secs(1);
/// The type of content whose uploader gave none.
const UNKNOWN_TYPE: &str = "application/octet-stream";

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.raw(Method::POST, "/_matrix/media/v3/upload", upload)
        .stream(UPLOAD_BYTES_CEILING);
    r.raw(
        Method::PUT,
        "/_matrix/media/v3/upload/{server_name}/{media_id}",
        upload_created,
    )
    .stream(UPLOAD_BYTES_CEILING);
    r.session::<media::create_mxc_uri::v1::Request>(create);
    r.session::<authenticated_media::get_media_config::v1::Request>(config);
    r.raw(Method::GET, "/_matrix/media/v3/config", config_before_1_11);
    r.raw(
        Method::GET,
        "/_matrix/client/v1/media/download/{server_name}/{media_id}",
        download,
    )
    .long();
    r.raw(
        Method::GET,
        "/_matrix/client/v1/media/download/{server_name}/{media_id}/{file_name}",
        download,
    )
    .long();
    r.raw(
        Method::GET,
        "/_matrix/client/v1/media/thumbnail/{server_name}/{media_id}",
        thumbnail,
    )
    .long();
    for path in ["/_matrix/client/v1/media/preview_url", "/_matrix/media/v3/preview_url"] {
        r.raw(Method::GET, path, preview);
    }
    for path in [
        "/_matrix/media/v3/download/{server_name}/{media_id}",
        "/_matrix/media/v3/download/{server_name}/{media_id}/{file_name}",
        "/_matrix/media/v3/thumbnail/{server_name}/{media_id}",
    ] {
        r.raw_open(Method::GET, path, frozen);
    }
}

async fn create(
    app: Arc<App>,
    session: Session,
    _request: media::create_mxc_uri::v1::Request,
) -> Result<media::create_mxc_uri::v1::Response, ApiError> {
    may_upload(&app, &session)?;
    let created = app.media.create(session.user).await?;
    let uri = format!("mxc://{}/{}", app.server_name, created.media_id);
    let mut response = media::create_mxc_uri::v1::Response::new(uri.into());
    response.unused_expires_at = UInt::new(created.unused_expires_at_ms).map(MilliSecondsSinceUnixEpoch);
    Ok(response)
}

async fn upload(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    let media_id = receive(&app, &session, request, None).await?;
    let uri = format!("mxc://{}/{media_id}", app.server_name);
    json(StatusCode::OK, &serde_json::json!({ "content_uri": uri }))
}

async fn upload_created(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    let media_id = request.params.value("media_id").to_owned();
    if request.params.value("server_name") != app.server_name {
        return Err(UploadError::Unknown.into());
    }
    receive(&app, &session, request, Some(&media_id)).await?;
    json(StatusCode::OK, &serde_json::json!({}))
}

/// Takes the body of an upload; answers the media id.
async fn receive(
    app: &App,
    session: &Session,
    mut request: Request,
    created: Option<&str>,
) -> Result<String, ApiError> {
    let filename = query_value(request.query(), "filename");
    let content_type = request
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let mut body = request.take_stream();
    let bytes_max = app.settings.load().upload_bytes_max;
    let work = async {
        may_upload(app, session)?;
        let announced = body.announced();
        let mut upload: Upload = match created {
            Some(media_id) => app.media.begin_created(session.user, media_id, announced, bytes_max)?,
            None => app.media.begin(session.user, announced, bytes_max)?,
        };
        while let Some(bytes) = body.chunk().await? {
            upload.write(&bytes).await?;
        }
        Ok::<_, ApiError>(upload)
    };
    match work.await {
        Ok(upload) => Ok(upload.finish(content_type.as_deref(), filename.as_deref()).await?),
        Err(error) => {
            body.discard(DISCARD_BYTES_MAX, DISCARD_TIME_MAX).await;
            Err(error)
        }
    }
}

fn may_upload(app: &App, session: &Session) -> Result<(), ApiError> {
    if session.is_suspended {
        return Err(ApiError::suspended());
    }
    app.limit(Limited::Upload, session.user)
}

async fn config(
    app: Arc<App>,
    _session: Session,
    _request: authenticated_media::get_media_config::v1::Request,
) -> Result<authenticated_media::get_media_config::v1::Response, ApiError> {
    let bytes_max = UInt::new_saturating(app.settings.load().upload_bytes_max);
    Ok(authenticated_media::get_media_config::v1::Response::new(bytes_max))
}

async fn config_before_1_11(app: Arc<App>, _session: Session, _request: Request) -> Result<Response, ApiError> {
    let bytes_max = app.settings.load().upload_bytes_max;
    json(StatusCode::OK, &serde_json::json!({ "m.upload.size": bytes_max }))
}

/// Previews would make this server fetch what users write, and nothing leaves by itself here.
async fn preview(_app: Arc<App>, _session: Session, _request: Request) -> Result<Response, ApiError> {
    Err(ApiError::not_found("This server makes no URL previews"))
}

/// "This endpoint MAY return 404 M_NOT_FOUND for media which exists, but is after the server froze unauthenticated
/// media access." (Matrix 1.11)
async fn frozen(_app: Arc<App>, _request: Request) -> Result<Response, ApiError> {
    Err(ApiError::not_found(
        "Media is only available through the authenticated endpoints, /_matrix/client/v1/media/",
    ))
}

async fn download(app: Arc<App>, _session: Session, request: Request) -> Result<Response, ApiError> {
    let found = app
        .media
        .download(local_id(&app, &request)?, patience(&request)?)
        .await?;
    // "Download content from the content repository overriding the file name."
    let file_name = Some(request.params.value("file_name"))
        .filter(|name| !name.is_empty())
        .map(str::to_owned);
    let filename = file_name.or_else(|| found.filename.clone());
    answer(found, filename, request.headers.get(RANGE)).await
}

async fn thumbnail(app: Arc<App>, _session: Session, request: Request) -> Result<Response, ApiError> {
    let media_id = local_id(&app, &request)?;
    let (width, height) = (pixels(&request, "width")?, pixels(&request, "height")?);
    let fit = match query_value(request.query(), "method").as_deref() {
        None | Some("scale") => Fit::Scale,
        Some("crop") => Fit::Crop,
        Some(_) => return Err(ApiError::invalid_param("method is neither crop nor scale")),
    };
    match app
        .media
        .thumbnail(media_id, width, height, fit, patience(&request)?)
        .await?
    {
        Thumbnail::Original(found) => {
            let filename = found.filename.clone();
            answer(found, filename, None).await
        }
        Thumbnail::Made { content_type, bytes } => {
            let mut response = Response {
                body: Body::Full(bytes),
                ..Response::default()
            };
            add_headers(&mut response);
            let name = if content_type == "image/png" {
                "thumbnail.png"
            } else {
                "thumbnail.jpg"
            };
            response
                .headers
                .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            // "MUST be inline, and SHOULD contain a file name (e.g. thumbnail.png)."
            let disposition = content_disposition(content_type, Some(name.to_owned()));
            response.headers.insert(CONTENT_DISPOSITION, header(disposition));
            Ok(response)
        }
    }
}

/// Content as an answer. The first pieces are read before the status is sent, so that damage is a clear error then;
/// later the connection breaks off, which the client sees because the length is known.
async fn answer(
    mut found: Download,
    filename: Option<String>,
    range: Option<&HeaderValue>,
) -> Result<Response, ApiError> {
    let mut response = Response::default();
    add_headers(&mut response);
    let content_type = found.content_type.clone().unwrap_or_else(|| UNKNOWN_TYPE.to_owned());
    response.headers.insert(
        CONTENT_DISPOSITION,
        header(content_disposition(&content_type, filename)),
    );
    response.headers.insert(CONTENT_TYPE, header(content_type));
    response
        .headers
        .insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let size = found.size;
    let mut length = size;
    match range.and_then(|range| byte_range(range.to_str().ok()?, size)) {
        Some(Ok(range)) => {
            response.status = StatusCode::PARTIAL_CONTENT;
            let text = format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1));
            response.headers.insert(CONTENT_RANGE, header(text));
            length = range.end - range.start;
            found.restrict(range);
        }
        Some(Err(())) => {
            response.status = StatusCode::RANGE_NOT_SATISFIABLE;
            response
                .headers
                .insert(CONTENT_RANGE, header(format!("bytes */{size}")));
            return Ok(response);
        }
        None => {}
    }
    let first = found.next().await?.unwrap_or_default();
    let read: u64 = first.iter().map(|piece| piece.len() as u64).sum();
    if length <= AT_ONCE_BYTES_MAX && read == length {
        response.body = Body::Chunks(first);
        return Ok(response);
    }
    let (sender, body) = Body::stream(PIECES_AHEAD, Some(length));
    response.body = body;
    tokio::spawn(async move {
        let mut pieces = first;
        loop {
            for piece in pieces {
                // The client is gone.
                if sender.send(Ok(piece)).await.is_err() {
                    return;
                }
            }
            match found.next().await {
                Ok(Some(next)) => pieces = next,
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(%error, "a stored file broke off in the middle of a download");
                    // If that cannot be sent either, the client is gone.
                    let _ = sender
                        .send(Err(std::io::Error::other("the stored file is damaged")))
                        .await;
                    return;
                }
            }
        }
    });
    Ok(response)
}

fn add_headers(response: &mut Response) {
    for (name, value) in CONTENT_HEADERS {
        response.headers.insert(name, HeaderValue::from_static(value));
    }
    // An id never changes its content. Only for the one who asked: there was an access token.
    response.headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("private, max-age=31536000, immutable"),
    );
}

/// The media id, if it is one of this server: others would come over federation, which is not there.
fn local_id<'r>(app: &App, request: &'r Request) -> Result<&'r str, ApiError> {
    if request.params.value("server_name") == app.server_name {
        Ok(request.params.value("media_id"))
    } else {
        Err(ApiError::not_found("This server does not fetch media of other servers"))
    }
}

fn patience(request: &Request) -> Result<Duration, ApiError> {
    let ms = match query_value(request.query(), "timeout_ms") {
        Some(text) => text
            .parse::<u64>()
            .map_err(|_| ApiError::invalid_param("timeout_ms is not a number"))?,
        None => PATIENCE_DEFAULT_MS,
    };
    Ok(Duration::from_millis(ms.min(PATIENCE_MAX_MS)))
}

fn pixels(request: &Request, name: &'static str) -> Result<u32, ApiError> {
    let text = query_value(request.query(), name);
    let text = text.ok_or_else(|| ApiError::missing_param(format!("{name} is missing")))?;
    match text.parse() {
        Ok(0) | Err(_) => Err(ApiError::invalid_param(format!(
            "{name} is not a positive number of pixels"
        ))),
        Ok(number) => Ok(number),
    }
}

#[cfg(test)]
#[path = "media_tests.rs"]
mod tests;
