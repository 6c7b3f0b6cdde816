//! Reports: what users bring before the administrators, until one of them closes it. A closed report is forgotten; that
//! it was closed is in the audit log.

use crate::row::{malformed, next_number, parse_u32};
use crate::tables::{REPORT, REPORT_BY};
use lamchat_base::UserNum;
use lamchat_store::{Bytes, Key, KeyRange, Order, Read, ReadError, ReadExt, WriteTxn};
use serde::{Deserialize, Serialize};

/// Longest reason, in bytes.
pub const REASON_BYTES_MAX: usize = 4096;
/// Most open reports of one user.
pub const OPEN_PER_USER_MAX: usize = 100;

/// What is reported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Target {
    /// A room.
    Room {
        /// Its id.
        room_id: String,
    },
    /// An event in a room that the reporter is in.
    Event {
        /// The room's id.
        room_id: String,
        /// The event's id.
        event_id: String,
        /// Who sent it.
        sender: String,
    },
    /// A user.
    User {
        /// Their id.
        user_id: String,
    },
}

impl Target {
    /// `room`, `event` or `user`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Room { .. } => "room",
            Self::Event { .. } => "event",
            Self::User { .. } => "user",
        }
    }
}

/// An open report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Who reports.
    pub reporter: UserNum,
    /// When, in milliseconds since the Unix epoch.
    pub received_ms: u64,
    /// What they report.
    pub target: Target,
    /// Why; may be empty.
    pub reason: String,
}

/// Why a report was not kept.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The reason is longer than [`REASON_BYTES_MAX`]: `M_TOO_LARGE`.
    #[error("a reason has at most {REASON_BYTES_MAX} bytes")]
    TooLong,
    /// The user has [`OPEN_PER_USER_MAX`] open ones: `M_RESOURCE_LIMIT_EXCEEDED`.
    #[error("you have {OPEN_PER_USER_MAX} reports that nobody has looked at yet")]
    TooMany,
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Keeps a report and answers its number.
pub fn put(txn: &mut WriteTxn<'_>, report: &Report) -> Result<u32, ReportError> {
    if report.reason.len() > REASON_BYTES_MAX {
        return Err(ReportError::TooLong);
    }
    let theirs = KeyRange::prefix(&report.reporter.to_key());
    if txn.rows(REPORT_BY, &theirs, Order::Ascending, OPEN_PER_USER_MAX)?.len() >= OPEN_PER_USER_MAX {
        return Err(ReportError::TooMany);
    }
    let number = next_number(txn, "report")?;
    txn.put_json(REPORT, &number.to_be_bytes(), report)?;
    txn.put(REPORT_BY, &Key::new().u32(report.reporter.0).u32(number), Bytes::new());
    Ok(number)
}

/// One open report.
pub fn one(read: &dyn Read, number: u32) -> Result<Option<Report>, ReadError> {
    read.get_json(REPORT, &number.to_be_bytes())
}

/// Open reports by number, from `from` on, at most `limit`.
pub fn list(read: &dyn Read, from: u32, limit: usize) -> Result<Vec<(u32, Report)>, ReadError> {
    let range = KeyRange {
        start: from.to_be_bytes().to_vec(),
        end: None,
    };
    let mut reports = Vec::new();
    for (key, value) in read.rows(REPORT, &range, Order::Ascending, limit)? {
        let report = serde_json::from_slice(&value).map_err(|error| malformed(REPORT, &error.to_string()))?;
        reports.push((parse_u32(REPORT, &key)?, report));
    }
    Ok(reports)
}

/// Closes a report, which is forgotten; answers what it was.
pub fn close(txn: &mut WriteTxn<'_>, number: u32) -> Result<Option<Report>, ReadError> {
    let Some(report) = one(txn, number)? else {
        return Ok(None);
    };
    txn.delete(REPORT, &number.to_be_bytes());
    txn.delete(REPORT_BY, &Key::new().u32(report.reporter.0).u32(number));
    Ok(Some(report))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{OPEN_PER_USER_MAX, REASON_BYTES_MAX, Report, ReportError, Target, close, list, one, put};
    use crate::TABLES;
    use lamchat_base::UserNum;
    use lamchat_store::{Store, WriteError};

    fn report(reporter: u32, reason: String) -> Report {
        Report {
            reporter: UserNum(reporter),
            received_ms: 7,
            target: Target::Event {
                room_id: "!r".to_owned(),
                event_id: "$e".to_owned(),
                sender: "@s:x".to_owned(),
            },
            reason,
        }
    }

    #[test]
    fn reports_are_kept_until_they_are_closed() {
        let store = Store::in_memory(TABLES).unwrap();
        let keep = |report: Report| store.write_blocking(move |txn| put(txn, &report));
        for number in 1..=OPEN_PER_USER_MAX as u32 {
            assert_eq!(keep(report(1, number.to_string())).unwrap(), number);
        }
        assert!(matches!(
            keep(report(1, String::new())),
            Err(WriteError::Refused(ReportError::TooMany))
        ));
        // One user's reports take no room from those of others.
        let other = keep(report(2, "x".repeat(REASON_BYTES_MAX))).unwrap();
        assert!(matches!(
            keep(report(3, "x".repeat(REASON_BYTES_MAX + 1))),
            Err(WriteError::Refused(ReportError::TooLong))
        ));
        assert_eq!(
            list(&store.read(), 2, 2).unwrap(),
            [(2, report(1, "2".to_owned())), (3, report(1, "3".to_owned()))]
        );
        assert_eq!(
            store.write_blocking(move |txn| close(txn, 2)).unwrap(),
            Some(report(1, "2".to_owned()))
        );
        assert_eq!(store.write_blocking(move |txn| close(txn, 2)).unwrap(), None);
        assert_eq!(one(&store.read(), 2).unwrap(), None);
        // The number is not given away again.
        assert_eq!(keep(report(1, String::new())).unwrap(), other + 1);
    }
}
