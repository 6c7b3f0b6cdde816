//! The schema version of the database, and the way from each older one to the newest.

use crate::database::META_ROWS;
use crate::{OpenError, codec};

/// The version that this program writes.
pub const SCHEMA_VERSION: u32 = 1;

/// Changes the rows of one version into those of the next, inside the transaction that also notes the new version.
type Step = fn(&redb::WriteTransaction) -> Result<(), redb::Error>;

/// The step from version `n` to `n + 1` stands at place `n - 1`. A change of the form of rows that older programs
/// could misread raises [`SCHEMA_VERSION`] and adds its step here; new tables and new optional fields need neither.
const STEPS: &[Step] = &[];

/// The meta row of the version.
pub(crate) const SCHEMA_ROW: &[u8] = b"schema";

/// Brings the database to [`SCHEMA_VERSION`]; each step is durable before the next begins.
/// Called before the log is replayed: the last program closed the store (and so emptied the log) or had this version.
pub(crate) fn migrate(database: &redb::Database, found: u32) -> Result<(), OpenError> {
    if found > SCHEMA_VERSION {
        return Err(OpenError::SchemaTooNew {
            found,
            known: SCHEMA_VERSION,
        });
    }
    let done = usize::try_from(found).ok().and_then(|found| found.checked_sub(1));
    let done = done.ok_or_else(|| OpenError::Damaged("the schema version is 0".to_owned()))?;
    for (step, version) in STEPS.iter().skip(done).zip(found + 1..) {
        run(database, *step, version).map_err(|error| OpenError::Damaged(format!("to schema {version}: {error}")))?;
        tracing::info!(version, "the database was brought to a newer schema");
    }
    Ok(())
}

fn run(database: &redb::Database, step: Step, version: u32) -> Result<(), redb::Error> {
    let mut txn = database.begin_write()?;
    // Every durable commit must have it, or the next start after a power cut walks the whole file.
    txn.set_quick_repair(true);
    step(&txn)?;
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
