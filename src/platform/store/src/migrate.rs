//! The schema version of the database, and the way from each older one to the newest.

use crate::database::{META_ROWS, Saved, guarded, note_saved, write_rows};
use crate::memtable::Memtable;
use crate::progress::{Progress, Work};
use crate::runs::{AllGathered, GATHERING};
use crate::{OpenError, Table, codec};

/// The version that this program writes.
pub const SCHEMA_VERSION: u32 = if cfg!(feature = "next-schema") { 5 } else { 4 };

/// The oldest version that a box's release has ever written. Older databases have no release to fall back to that could
/// read them, so nothing is held back for their sake.
const FIRST_ON_BOXES: u32 = 4;

/// Changes the rows of one version into those of the next, inside the transaction that also notes the new version.
/// A step that goes through many rows tells so as it goes: whoever waits would take it for one that hangs.
pub(crate) type Step = fn(&redb::WriteTransaction, &dyn Fn(usize)) -> Result<(), redb::Error>;

/// A version and the way to it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Schema {
    /// The version that is written.
    pub(crate) version: u32,
    /// The step from version `n` to `n + 1` stands at place `n - 1`.
    pub(crate) steps: &'static [Step],
    /// From which version on a database stays as it is, so that the release before can go on with it; `None`: it
    /// migrates.
    pub(crate) held_from: Option<u32>,
}

impl Schema {
    /// What this program writes.
    pub(crate) const CURRENT: Self = Self {
        version: SCHEMA_VERSION,
        steps: STEPS,
        held_from: None,
    };
    /// The same for a release on trial.
    pub(crate) const ON_TRIAL: Self = Self {
        held_from: Some(FIRST_ON_BOXES),
        ..Self::CURRENT
    };

    /// The version that a database of version `found` is to have; refuses a newer one.
    pub(crate) fn target(&self, found: u32) -> Result<u32, OpenError> {
        if found > self.version {
            return Err(OpenError::SchemaTooNew {
                found,
                known: self.version,
            });
        }
        Ok(self
            .held_from
            .map_or(self.version, |first| first.max(found).min(self.version)))
    }
}

/// The step from version `n` to `n + 1` stands at place `n - 1`. A change of the form of rows that older programs
/// could misread raises [`SCHEMA_VERSION`] and adds its step here; new tables and new optional fields need neither: an
/// older program leaves them alone.
///
/// So a step is what cannot be taken back. On a box it waits until its release is marked good: until then the database
/// keeps the version that it has ([`crate::Store::schema`]), and the code that writes the newer form asks for that version
/// first and writes the older one. A release that is fallen back from has written nothing that the one before cannot read.
const STEPS: &[Step] = &[
    runs,
    timelines,
    shelves,
    #[cfg(feature = "next-schema")]
    next,
];

/// To version 2: there may be runs, which a program of version 1 would not look into. There are none yet.
fn runs(_: &redb::WriteTransaction, _: &dyn Fn(usize)) -> Result<(), redb::Error> {
    Ok(())
}

/// To version 3: there may be runs of `rooms.timeline`, where a program of version 2 would not look for them.
fn timelines(_: &redb::WriteTransaction, _: &dyn Fn(usize)) -> Result<(), redb::Error> {
    Ok(())
}

/// To version 4: there may be shelves, where a program of version 3 would not look.
fn shelves(_: &redb::WriteTransaction, _: &dyn Fn(usize)) -> Result<(), redb::Error> {
    Ok(())
}

/// To version 5, which no release has: a program for tests of updates alone has a step that is held back on trial. That a
/// program of version 4 refuses the database afterwards is all that it changes.
#[cfg(feature = "next-schema")]
fn next(_: &redb::WriteTransaction, _: &dyn Fn(usize)) -> Result<(), redb::Error> {
    Ok(())
}

/// The meta row of the version.
pub(crate) const SCHEMA_ROW: &[u8] = b"schema";

/// Moves what runs hold, and what the log has that redb does not have, into the tables of redb, so that the steps find every row in one place:
/// the log was written by the old program and has rows of the old form. Durable on return.
pub(crate) fn drain(
    database: &redb::Database,
    tables: &[Table],
    mut gathered: AllGathered,
    rows: &Memtable,
    saved: Saved,
    progress: &Progress,
) -> Result<(), redb::Error> {
    let mut txn = database.begin_write()?;
    txn.set_quick_repair(true);
    for table in tables {
        if let Some(runs) = gathered.remove(&table.id) {
            runs.empty(&txn, *table, progress)?;
        }
    }
    let gathering = (&mut gathered, saved.sequence, GATHERING);
    write_rows(&txn, tables, rows, gathering, progress)?;
    note_saved(&txn, saved)?;
    Ok(txn.commit()?)
}

/// Brings the database from version `found` to `target`; each step is durable before the next begins.
pub(crate) fn migrate(
    database: &redb::Database,
    schema: Schema,
    (found, target): (u32, u32),
    progress: &Progress,
) -> Result<(), OpenError> {
    let done = usize::try_from(found).ok().and_then(|found| found.checked_sub(1));
    let done = done.ok_or_else(|| OpenError::Damaged("the schema version is 0".to_owned()))?;
    for (step, version) in schema.steps.iter().skip(done).zip(found + 1..=target) {
        guarded(|| run(database, *step, version, progress))
            .flatten()
            .map_err(|error| OpenError::Damaged(format!("to schema {version}: {error}")))?;
        tracing::info!(version, "the database was brought to a newer schema");
    }
    Ok(())
}

fn run(database: &redb::Database, step: Step, version: u32, progress: &Progress) -> Result<(), redb::Error> {
    let mut txn = database.begin_write()?;
    // Every durable commit must have it, or the next start after a power cut walks the whole file.
    txn.set_quick_repair(true);
    let work = Work::Migration { to: version };
    progress.tell(work);
    step(&txn, &|row| progress.tell_row(row, work))?;
    progress.tell(work);
    txn.open_table(META_ROWS)?
        .insert(SCHEMA_ROW, version.to_le_bytes().as_slice())?;
    txn.commit()?;
    Ok(())
}

/// The version in a meta row.
pub(crate) fn version(row: Option<&[u8]>) -> Result<u32, OpenError> {
    row.and_then(codec::whole_u32)
        .ok_or_else(|| OpenError::Damaged("it has no schema version".to_owned()))
}
