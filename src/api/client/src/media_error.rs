//! Errors of media as clients see them.

use crate::ApiError;
use http::StatusCode;
use lamchat_media::{CreateError, DownloadError, ThumbnailError, UploadError};
use lamchat_store::CommitError;

impl From<UploadError> for ApiError {
    fn from(error: UploadError) -> Self {
        let message = error.to_string();
        match error {
            UploadError::TooLarge { .. } => Self::too_large(message),
            // "The user has reached a quota for uploaded content."
            UploadError::Quota { .. } | UploadError::NotYours => Self::forbidden(message),
            UploadError::TooMany => Self::limit_exceeded(1_000),
            UploadError::Unknown => Self::not_found(message),
            UploadError::AlreadyUploaded => Self::new(StatusCode::CONFLICT, "M_CANNOT_OVERWRITE_MEDIA", message),
            UploadError::Io(error) => error_of_disk(&error),
            UploadError::Keyring(error) => Self::internal(error),
            UploadError::Read(error) => error.into(),
            UploadError::Commit(error) => error.into(),
        }
    }
}

impl From<CreateError> for ApiError {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::TooManyPending { retry_after_ms } => Self::limit_exceeded(retry_after_ms),
            CreateError::Read(error) => error.into(),
            CreateError::Commit(error) => error.into(),
        }
    }
}

impl From<DownloadError> for ApiError {
    fn from(error: DownloadError) -> Self {
        match error {
            DownloadError::NotFound => Self::not_found("There is no such media"),
            DownloadError::NotYetUploaded => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "M_NOT_YET_UPLOADED",
                "Nothing has been uploaded there yet",
            ),
            DownloadError::Missing => {
                tracing::error!("the content of a file is missing in the media folder");
                Self::not_found("The content of this media is lost")
            }
            DownloadError::Damaged | DownloadError::Keyring(_) | DownloadError::Io(_) => Self::internal(error),
            DownloadError::Read(error) => error.into(),
        }
    }
}

impl From<ThumbnailError> for ApiError {
    fn from(error: ThumbnailError) -> Self {
        match error {
            // "the server cannot thumbnail the content": 400 M_UNKNOWN.
            ThumbnailError::Undecodable => Self::new(
                StatusCode::BAD_REQUEST,
                "M_UNKNOWN",
                "Cannot generate thumbnails for the requested content",
            ),
            ThumbnailError::TooLarge => Self::too_large("Content is too large to thumbnail"),
            ThumbnailError::Download(error) => error.into(),
            ThumbnailError::Io(error) => error_of_disk(&error),
            ThumbnailError::Commit(error) => error.into(),
        }
    }
}

fn error_of_disk(error: &std::io::Error) -> ApiError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => CommitError::DiskFull.into(),
        _ => ApiError::internal(error),
    }
}
