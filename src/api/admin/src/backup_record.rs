//! The last backup that was made wholly: who took it, when, how many bytes.

use crate::{Admin, AdminError};
use lamchat_audit::Entry;
use lamchat_notices::{Alarm, Level};
use lamchat_store::{Read, ReadError, ReadExt, Table, WriteTxn};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// `last` → the record as JSON.
pub(crate) const BACKUP: Table = Table::new(193, "admin.backup");
const LAST: &[u8] = b"last";
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// A backup whose last byte was taken by the command that asked for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When it ended, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who asked for it.
    pub actor: String,
    /// Its bytes.
    pub bytes: u64,
}

/// The last one.
pub fn last(read: &dyn Read) -> Result<Option<Record>, ReadError> {
    read.get_json(BACKUP, LAST)
}

/// Keeps it, with the entry that says so.
pub(crate) fn keep(txn: &mut WriteTxn<'_>, entry: &Entry, bytes: u64) -> Result<(), ReadError> {
    let record = Record {
        at_ms: entry.time_ms,
        actor: entry.actor.to_string(),
        bytes,
    };
    txn.put_json(BACKUP, LAST, &record)?;
    lamchat_audit::append(txn, entry).map(drop)
}

/// For `lamchat health`.
pub(crate) fn describe(admin: &Admin) -> Result<Value, AdminError> {
    Ok(match last(&admin.store.read())? {
        Some(last) => json!({"at_ms": last.at_ms, "actor": last.actor, "bytes": last.bytes}),
        None => Value::Null,
    })
}

/// Whether it is too long ago; nothing where nobody wants to be told.
pub(crate) fn alarm(admin: &Admin) -> Result<Option<Alarm>, AdminError> {
    if admin.backup_days == 0 {
        return Ok(None);
    }
    let (read, now_ms) = (admin.store.read(), admin.now_ms());
    let last = last(&read)?;
    // Without one it counts from the first thing that ever happened here.
    let first = lamchat_audit::log::entries(&read, 0, 1)?;
    let first_ms = first.first().map(|(_, entry)| entry.time_ms);
    let since_ms = last.as_ref().map(|last| last.at_ms).or(first_ms).unwrap_or(now_ms);
    let days = now_ms.saturating_sub(since_ms) / DAY_MS;
    let is_late = days >= u64::from(admin.backup_days);
    let level = if is_late { Level::Warning } else { Level::Well };
    let sentence = match (&last, is_late) {
        (Some(_), true) => format!("the last backup was made {days} days ago"),
        (None, true) => format!("no backup was made in {days} days"),
        (Some(_), false) => "there is a backup".to_owned(),
        (None, false) => "no backup was made yet".to_owned(),
    };
    Ok(Some(Alarm::new("backup", level, sentence)))
}
