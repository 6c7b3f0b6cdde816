//! `POST /rooms/{roomId}/read_markers`: up to where the user has read, in one request.

use crate::look::joined_room;
use crate::receipt::set_unthreaded;
use crate::{ApiError, App, Routes, Session, presence};
use lamchat_accounts::account_data::{self, PutAccountDataError, Scope};
use lamchat_base::{RoomNum, UserNum};
use lamchat_rooms::event::EventRow;
use lamchat_rooms::event_id;
use lamchat_rooms::receipt::{Kind, SetReceiptError};
use lamchat_store::WriteTxn;
use ruma::api::client::read_marker::set_read_marker::v3;
use std::sync::Arc;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.session::<v3::Request>(set);
}

async fn set(app: Arc<App>, session: Session, request: v3::Request) -> Result<v3::Response, ApiError> {
    let room = joined_room(&app, &session, &request.room_id)?;
    presence::active(&app, &session)?;
    let (user, now_ms) = (session.user, app.now_ms());
    app.store
        .write(move |txn| {
            for (kind, event_id) in [
                (Kind::Read, &request.read_receipt),
                (Kind::ReadPrivate, &request.private_read_receipt),
            ] {
                if let Some(event_id) = event_id {
                    set_unthreaded(txn, user, room, kind, event_id.as_str(), now_ms)?;
                }
            }
            match &request.fully_read {
                Some(event_id) => set_fully_read(txn, user, room, event_id.as_str()),
                None => Ok(()),
            }
        })
        .await?;
    Ok(v3::Response::new())
}

/// Why the marker was not set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MarkError {
    /// A receipt that goes with it was refused.
    #[error(transparent)]
    Receipt(#[from] SetReceiptError),
    /// The account data was refused.
    #[error(transparent)]
    AccountData(#[from] PutAccountDataError),
    /// The commit.
    #[error(transparent)]
    Commit(#[from] lamchat_store::CommitError),
}

/// Sets `m.fully_read` of a room. It may go back: "the client decides".
pub(crate) fn set_fully_read(
    txn: &mut WriteTxn<'_>,
    user: UserNum,
    room: RoomNum,
    event: &str,
) -> Result<(), MarkError> {
    let found = event_id::find(txn, event).map_err(SetReceiptError::from)?;
    let (_, bytes) = found.ok_or(SetReceiptError::NoEvent)?;
    if EventRow::decode(&bytes).map_err(SetReceiptError::from)?.room != room {
        return Err(SetReceiptError::NoEvent.into());
    }
    let content = serde_json::json!({ "event_id": event }).to_string();
    account_data::put(txn, user, Scope::Room(room), "m.fully_read", content.as_bytes())?;
    Ok(())
}

impl From<MarkError> for ApiError {
    fn from(error: MarkError) -> Self {
        match error {
            MarkError::Receipt(error) => error.into(),
            MarkError::AccountData(error) => error.into(),
            MarkError::Commit(error) => error.into(),
        }
    }
}
