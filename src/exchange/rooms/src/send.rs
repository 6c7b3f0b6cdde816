//! Sending messages.

use crate::append::AppendError;
use crate::chain::NewEvent;
use crate::new_relation::{self, Annotation};
use crate::redact::RedactError;
use crate::rooms::{Caller, Rooms, Slot};
use crate::transaction::Transaction;
use lamchat_base::Position;
use lamchat_rules::Object;
use lamchat_store::{Read, ReadError};
use ruma::RoomId;

/// A message to be sent.
#[derive(Debug)]
pub struct Message<'a> {
    /// The room.
    pub room: &'a RoomId,
    /// The type, such as `m.room.message`.
    pub event_type: &'a str,
    /// The content.
    pub content: Object,
    /// The client's transaction id.
    pub transaction_id: &'a str,
    /// Another time than now, where somebody is allowed to say it.
    pub origin_server_ts: Option<u64>,
}

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// `m.room.redaction` without an event id in `redacts`: `M_BAD_JSON`.
    #[error("a redaction names the event to redact in `redacts`")]
    NoTarget,
    /// The same user has annotated the same event with the same key already: `M_DUPLICATE_ANNOTATION`.
    #[error("you have sent this annotation to that event already")]
    DuplicateAnnotation,
    /// The root of a thread relates to another event: 400 `M_UNKNOWN`.
    #[error("a thread cannot begin at an event that is in a thread, or relates to another otherwise")]
    NestedThread,
    /// It was a redaction, and could not be made.
    #[error(transparent)]
    Redact(#[from] RedactError),
    /// The event could not be made.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl From<ReadError> for SendError {
    fn from(error: ReadError) -> Self {
        Self::Append(error.into())
    }
}

impl Rooms {
    /// Sends a message and answers its event id; the same one for the same transaction id of the same device.
    pub async fn send(&self, caller: &Caller, message: Message<'_>) -> Result<String, SendError> {
        let endpoint = ["send", message.room.as_str(), message.event_type];
        let transaction = caller
            .device
            .map(|device| Transaction::new(device, &endpoint, message.transaction_id));
        if message.event_type == "m.room.redaction" {
            return self.send_redaction(caller, message, transaction).await;
        }
        let slot = self.known_slot(message.room)?;
        let checked = if message.content.contains_key("m.relates_to") {
            Some(self.check_relation(caller, &slot, &message, transaction.as_ref())?)
        } else {
            None
        };
        let new = NewEvent {
            event_type: message.event_type.to_owned(),
            content: message.content,
            transaction,
            origin_server_ts: message.origin_server_ts,
            ..NewEvent::default()
        };
        self.change(&slot, |chain| {
            if let Some(transaction) = &new.transaction
                && let Some(done) = transaction.find(chain.read())?
            {
                return Ok(done);
            }
            // Another annotation may have come in since.
            if let Some(checked) = checked
                && let Some(annotation) = Annotation::of(&new.content)
                && annotation.is_there(chain.read(), slot.room.num, caller.user, &new.event_type, checked)?
            {
                return Err(SendError::DuplicateAnnotation);
            }
            Ok(chain.push(caller, new.clone())?)
        })
        .await
    }

    /// On a snapshot before the room's lock is taken, which spares others the wait. Answers how far that snapshot goes: under
    /// the lock only what is newer needs to be looked at.
    fn check_relation(
        &self,
        caller: &Caller,
        slot: &Slot,
        message: &Message<'_>,
        transaction: Option<&Transaction>,
    ) -> Result<Position, SendError> {
        let read = self.store().read();
        // The same request again is answered as before.
        if let Some(transaction) = transaction
            && transaction.find(&read)?.is_some()
        {
            return Ok(read.position());
        }
        if new_relation::is_nested_thread(&read, &message.content)? {
            return Err(SendError::NestedThread);
        }
        match Annotation::of(&message.content) {
            Some(annotation)
                if annotation.is_there(&read, slot.room.num, caller.user, message.event_type, Position(0))? =>
            {
                Err(SendError::DuplicateAnnotation)
            }
            _ => Ok(read.position()),
        }
    }

    /// A redaction sent like a message names its target in the content, as those of version 11 do.
    async fn send_redaction(
        &self,
        caller: &Caller,
        message: Message<'_>,
        transaction: Option<Transaction>,
    ) -> Result<String, SendError> {
        let target = message
            .content
            .get("redacts")
            .and_then(|id| id.as_str())
            .ok_or(SendError::NoTarget)?
            .to_owned();
        Ok(self
            .redact_with(caller, message.room, &target, message.content, transaction)
            .await?)
    }
}
