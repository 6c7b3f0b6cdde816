//! When the last commit was made: a row that each group's changes bring along, so that it is as durable as they are.

use crate::changes::ChangeSet;
use crate::table::META;
use crate::{Bytes, Read, ReadError, Store, codec};
use lamchat_base::Clock;
use std::sync::Arc;

/// Milliseconds since 1970; written with every group once there is a clock.
const WRITTEN_ROW: &[u8] = b"written";

impl Store {
    /// From here on each group of commits has the time by `clock` with it. The first clock stays.
    pub fn stamp_commits(&self, clock: Arc<dyn Clock>) {
        // Whoever comes second has a clock that is as good.
        let _second = self.shared().stamp.set(clock);
    }

    /// When the last commit was made by the clock of then, in milliseconds since 1970; `None` if no commit had a clock.
    pub fn last_commit_ms(&self) -> Result<Option<u64>, ReadError> {
        let row = self.read().get(META, WRITTEN_ROW)?;
        let malformed = |row: Bytes| {
            codec::whole_u64(&row).ok_or_else(|| ReadError::Malformed {
                table: META.name,
                detail: "the time of the last commit is not a number".to_owned(),
            })
        };
        row.map(malformed).transpose()
    }
}

/// Adds the time to a group that is about to be written. Every time that its writes have from the same clock is earlier.
pub(crate) fn stamp(group: &mut ChangeSet, clock: &dyn Clock) {
    let now = clock.now_ms().to_le_bytes();
    group.set(
        META.id,
        Bytes::from_static(WRITTEN_ROW),
        Some(Bytes::copy_from_slice(&now)),
    );
}
