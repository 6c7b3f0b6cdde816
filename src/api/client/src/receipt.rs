//! `POST /rooms/{roomId}/receipt/{receiptType}/{eventId}`.

use crate::look::joined_room;
use crate::read_marker::set_fully_read;
use crate::{ApiError, App, Routes, Session, presence};
use lamchat_base::{RoomNum, UserNum};
use lamchat_rooms::receipt::{self, Kind, SetReceiptError};
use lamchat_store::{ReadError, WriteTxn};
use ruma::api::client::receipt::create_receipt::v3;
use ruma::events::receipt::ReceiptThread;
use std::sync::Arc;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.session::<v3::Request>(create);
}

async fn create(app: Arc<App>, session: Session, request: v3::Request) -> Result<v3::Response, ApiError> {
    let room = joined_room(&app, &session, &request.room_id)?;
    presence::active(&app, &session)?;
    let thread = match &request.thread {
        ReceiptThread::Unthreaded => None,
        ReceiptThread::Main => Some("main".to_owned()),
        ReceiptThread::Thread(root) => Some(root.to_string()),
        _ => return Err(ApiError::invalid_param("thread_id is neither `main` nor an event id")),
    };
    let kind = match request.receipt_type {
        v3::ReceiptType::Read => Kind::Read,
        v3::ReceiptType::ReadPrivate => Kind::ReadPrivate,
        // "m.fully_read: (…) cannot be threaded": 400 M_INVALID_PARAM.
        v3::ReceiptType::FullyRead if thread.is_some() => {
            return Err(ApiError::invalid_param("thread_id does not go with m.fully_read"));
        }
        v3::ReceiptType::FullyRead => {
            let (user, event_id) = (session.user, request.event_id.to_string());
            app.store
                .write(move |txn| set_fully_read(txn, user, room, &event_id))
                .await?;
            return Ok(v3::Response::new());
        }
        _ => return Err(ApiError::invalid_param("Not a type of receipt")),
    };
    let (user, event_id, now_ms) = (session.user, request.event_id, app.now_ms());
    app.store
        .write(move |txn| receipt::set(txn, room, user, kind, thread.as_deref(), event_id.as_str(), now_ms))
        .await?;
    Ok(v3::Response::new())
}

/// A receipt for the whole room.
pub(crate) fn set_unthreaded(
    txn: &mut WriteTxn<'_>,
    user: UserNum,
    room: RoomNum,
    kind: Kind,
    event_id: &str,
    now_ms: u64,
) -> Result<(), SetReceiptError> {
    receipt::set(txn, room, user, kind, None, event_id, now_ms).map(drop)
}

impl From<SetReceiptError> for ApiError {
    fn from(error: SetReceiptError) -> Self {
        match error {
            SetReceiptError::NoEvent => Self::not_found("There is no such event in this room"),
            SetReceiptError::OtherThread => Self::invalid_param(error.to_string()),
            SetReceiptError::Read(error) => ReadError::into(error),
            SetReceiptError::Commit(error) => error.into(),
        }
    }
}
