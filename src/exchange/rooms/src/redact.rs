//! Redacting: a redaction event, and what it leaves of its target.

use crate::append::AppendError;
use crate::chain::NewEvent;
use crate::event::{EventRow, Flags};
use crate::event_id;
use crate::log;
use crate::relation;
use crate::rooms::{Caller, Rooms};
use crate::table::EVENT;
use crate::transaction::Transaction;
use lamchat_base::{Position, RoomNum};
use lamchat_rules::{Object, Version, redact};
use lamchat_store::{ReadError, WriteTxn};
use ruma::RoomId;

/// Why an event was not redacted.
#[derive(Debug, thiserror::Error)]
pub enum RedactError {
    /// There is no such event in this room: `M_NOT_FOUND`.
    #[error("there is no such event in this room")]
    NoSuchEvent,
    /// It is somebody else's, and the caller has not the power: `M_FORBIDDEN`.
    #[error("you do not have the power to redact what others have sent")]
    NotYours,
    /// A room cannot be without its create event: `M_FORBIDDEN`.
    #[error("the event that created the room cannot be redacted")]
    Create,
    /// The redaction could not be made.
    #[error(transparent)]
    Append(#[from] AppendError),
}

impl From<ReadError> for RedactError {
    fn from(error: ReadError) -> Self {
        Self::Append(error.into())
    }
}

impl Rooms {
    /// Redacts an event and answers the redaction's event id; the same one for the same transaction id of the same device.
    pub async fn redact(
        &self,
        caller: &Caller,
        room: &RoomId,
        target: &str,
        reason: Option<&str>,
        transaction_id: &str,
    ) -> Result<String, RedactError> {
        let endpoint = ["redact", room.as_str(), target];
        let transaction = caller
            .device
            .map(|device| Transaction::new(device, &endpoint, transaction_id));
        let mut content = Object::new();
        if let Some(reason) = reason {
            content.insert("reason".to_owned(), reason.into());
        }
        self.redact_with(caller, room, target, content, transaction).await
    }

    pub(crate) async fn redact_with(
        &self,
        caller: &Caller,
        room: &RoomId,
        target: &str,
        mut content: Object,
        transaction: Option<Transaction>,
    ) -> Result<String, RedactError> {
        let slot = self.known_slot(room)?;
        if slot.room.version.has_redacts_in_content() {
            content.insert("redacts".to_owned(), target.into());
        } else {
            content.remove("redacts");
        }
        let new = NewEvent {
            event_type: "m.room.redaction".to_owned(),
            content,
            redacts: Some(target.to_owned()),
            transaction,
            ..NewEvent::default()
        };
        self.change(&slot, |chain| {
            if let Some(transaction) = &new.transaction
                && let Some(done) = transaction.find(chain.read())?
            {
                return Ok(done);
            }
            // Who may not send redactions at all hears that first.
            let made = chain.push(caller, new.clone())?;
            let (_, bytes) = event_id::find(chain.read(), target)?.ok_or(RedactError::NoSuchEvent)?;
            let row = EventRow::decode(&bytes)?;
            if row.room != slot.room.num {
                return Err(RedactError::NoSuchEvent);
            }
            if row.event_type == "m.room.create" && row.state_key.is_some() {
                return Err(RedactError::Create);
            }
            // "Any user with a power level greater than or equal to the redact level may redact any event [...]. Otherwise,
            // users may only redact their own events."
            if row.sender != caller.user_id.as_str() && !chain.may_redact_others(&caller.user_id)? {
                return Err(RedactError::NotYours);
            }
            Ok(made)
        })
        .await
    }
}

/// Leaves of the event `target` what the room version keeps. Nothing happens if it is not in the room or redacted already.
pub(crate) fn erase(
    txn: &mut WriteTxn<'_>,
    room: RoomNum,
    version: &Version,
    target: &str,
    redaction: Position,
) -> Result<(), ReadError> {
    let Some((position, _)) = event_id::find(txn, target)? else {
        return Ok(());
    };
    let bytes = log::whole_event(txn, position)?;
    let row = EventRow::decode(&bytes)?;
    if row.room != room || row.flags.contains(Flags::REDACTED) {
        return Ok(());
    }
    relation::remove(txn, room, position, row.content)?;
    let malformed = |detail: String| ReadError::Malformed {
        table: EVENT.name,
        detail,
    };
    let content =
        redact::redacted_json(version, row.event_type, row.content).map_err(|error| malformed(error.to_string()))?;
    let erased = EventRow {
        flags: row.flags.with(Flags::REDACTED),
        redacted_because: Some(redaction),
        content: &content,
        // A redaction that is redacted itself no longer says what it redacted; where the version keeps it, it is in the
        // content.
        redacts: row.redacts.filter(|_| version.has_redacts_in_content()),
        ..row
    };
    let erased = erased.encode().map_err(|error| malformed(error.to_string()))?;
    txn.put(EVENT, &position.to_key(), erased);
    Ok(())
}
