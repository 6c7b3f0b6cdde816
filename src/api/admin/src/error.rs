//! From the errors of the floors below to a status, an errcode and a sentence.

use http::StatusCode;
use lamchat_accounts::account::{ChangeAccountError, CreateAccountError};
use lamchat_accounts::session::OpenSessionError;
use lamchat_holder::{AskError, Reason};
use lamchat_http::Response;
use lamchat_identity::localpart::LocalpartError;
use lamchat_identity::password::PasswordError;
use lamchat_identity::registration_token::CreateTokenError;
use lamchat_store::{CommitError, ReadError, WriteError};

/// An answer that is a refusal.
#[derive(Debug)]
pub struct AdminError {
    /// The HTTP status.
    pub status: StatusCode,
    /// Matrix's errcode.
    pub errcode: &'static str,
    /// A sentence for the administrator that says what to do.
    pub message: String,
}

impl AdminError {
    /// A refusal.
    pub fn new(status: StatusCode, errcode: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            errcode,
            message: message.into(),
        }
    }

    /// 400 with `M_INVALID_PARAM`.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "M_INVALID_PARAM", message)
    }

    /// 404 with `M_NOT_FOUND`.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "M_NOT_FOUND", message)
    }

    /// 500; the detail goes to the log, where the administrator reads it.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "an administrative request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "M_UNKNOWN", "Internal error")
    }
}

impl From<AdminError> for Response {
    fn from(error: AdminError) -> Self {
        let body = serde_json::json!({"errcode": error.errcode, "error": error.message});
        Self::json(error.status, body.to_string().into_bytes())
    }
}

impl From<ReadError> for AdminError {
    fn from(error: ReadError) -> Self {
        Self::internal(error)
    }
}

impl From<CommitError> for AdminError {
    fn from(error: CommitError) -> Self {
        tracing::error!(%error, "an administrative change was not saved");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "M_UNKNOWN", error.to_string())
    }
}

impl<E> From<WriteError<E>> for AdminError
where
    Self: From<E>,
{
    fn from(error: WriteError<E>) -> Self {
        match error {
            WriteError::Refused(error) => error.into(),
            WriteError::Commit(error) => error.into(),
        }
    }
}

impl From<CreateAccountError> for AdminError {
    fn from(error: CreateAccountError) -> Self {
        match error {
            CreateAccountError::InUse => Self::new(StatusCode::BAD_REQUEST, "M_USER_IN_USE", "This user name is taken"),
            CreateAccountError::Profile(_) => Self::invalid("The display name is too long"),
            CreateAccountError::Read(error) => error.into(),
        }
    }
}

impl From<ChangeAccountError> for AdminError {
    fn from(error: ChangeAccountError) -> Self {
        match error {
            ChangeAccountError::NoAccount => Self::not_found("There is no such account; `lamchat user list` shows all"),
            ChangeAccountError::Deactivated => Self::new(
                StatusCode::FORBIDDEN,
                "M_USER_DEACTIVATED",
                "This account is deactivated; `lamchat user reactivate` opens it again",
            ),
            ChangeAccountError::Read(error) => error.into(),
        }
    }
}

impl From<OpenSessionError> for AdminError {
    fn from(error: OpenSessionError) -> Self {
        match error {
            OpenSessionError::Read(error) => error.into(),
            // The account was made a moment ago in the same write: nothing else can be wrong with it.
            error => Self::internal(error),
        }
    }
}

impl From<LocalpartError> for AdminError {
    fn from(error: LocalpartError) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "M_INVALID_USERNAME",
            capital(&error.to_string()),
        )
    }
}

impl From<PasswordError> for AdminError {
    fn from(error: PasswordError) -> Self {
        let sentence = capital(&error.to_string());
        match error {
            PasswordError::Busy => Self::new(StatusCode::TOO_MANY_REQUESTS, "M_LIMIT_EXCEEDED", sentence),
            PasswordError::Weak => Self::new(StatusCode::BAD_REQUEST, "M_WEAK_PASSWORD", sentence),
            PasswordError::TooLong => Self::invalid(sentence),
            PasswordError::Hash(error) => Self::internal(error),
        }
    }
}

impl From<CreateTokenError> for AdminError {
    fn from(error: CreateTokenError) -> Self {
        match error {
            CreateTokenError::Read(error) => error.into(),
            error => Self::invalid(capital(&error.to_string())),
        }
    }
}

impl From<AskError> for AdminError {
    fn from(error: AskError) -> Self {
        let AskError::Refused(reason, sentence) = error else {
            return Self::internal(error);
        };
        let sentence = capital(&sentence);
        match reason {
            Reason::UnknownSlot => Self::not_found(sentence),
            Reason::NotAllowed | Reason::Tpm => Self::invalid(sentence),
            Reason::WrongKey | Reason::NoPortableSlot => Self::new(StatusCode::FORBIDDEN, "M_FORBIDDEN", sentence),
            Reason::Slowed => Self::new(StatusCode::TOO_MANY_REQUESTS, "M_LIMIT_EXCEEDED", sentence),
            Reason::NotNow | Reason::Fork => Self::new(StatusCode::CONFLICT, "M_UNKNOWN", sentence),
            Reason::Disk | Reason::Keyring | Reason::NotNoted => Self::internal(sentence),
        }
    }
}

/// Sentences begin with a capital.
pub(crate) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
