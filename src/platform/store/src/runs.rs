//! Tables whose keys come in no order, such as hashes, or in many orders at once, such as the timelines of all rooms: their
//! rows are gathered in runs before they enter redb's table.
//!
//! With millions of rows each new one of such a table would rewrite a leaf of redb of its own. So a checkpoint writes
//! its rows of the table as one sorted run, in one row of redb ([`RUNS`]). Once [`Gathering::rows`] have come together, they
//! are one large run. It drains into the table in the order of keys, as many rows with each checkpoint as come anew:
//! neighbours share leaves then, and no checkpoint is larger than others. A mark tells how far that has come. The large runs
//! of tables with hashed keys, of which few are neighbours, wait on shelves first (`shelves.rs`).
//!
//! Small runs are put together, so that there are never many. Newer runs hide older ones, runs hide shelves, and both hide the
//! table. Whatever of them is in the table already reads the same from both.

use crate::memtable::Rows;
use crate::part::{Part, merged};
use crate::progress::{Progress, Work};
use crate::run::Run;
use crate::shelves::Shelves;
use crate::table_runs::TableRuns;
use crate::{Bytes, Table};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// (table id: two bytes, number: eight bytes, big-endian) -> the text of a run. (Table id) -> the mark of a drain:
/// the last number that drains (eight bytes) and the last key that is in the table.
pub(crate) const RUNS: redb::TableDefinition<'static, &[u8], &[u8]> = redb::TableDefinition::new("store.runs");

/// When gathered rows move on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gathering {
    /// So many rows of a table are gathered before they drain or go on a shelf; at most about twice as many are in memory.
    pub(crate) rows: usize,
    /// So many shelves fill before they drain; at most about twice as many are there.
    pub(crate) shelves: usize,
}

/// More rows would save more writes and take more memory and longer starts: a row takes two bytes beside key and value, or
/// fourteen if their lengths differ from those of other rows. A row on a shelf takes ten bits. Sixteen shelves are 770,000
/// rows: ten for each leaf of a table of seven millions.
pub(crate) const GATHERING: Gathering = Gathering {
    rows: 48_000,
    shelves: 16,
};

/// Runs that are one in memory become one in redb, too, up to this share of [`Gathering::rows`]. A quiet server would have
/// a run for every other message else, and a start reads them all.
const SMALL_SHARE: usize = 32;

/// A run on its way into the table.
#[derive(Clone)]
struct Drain {
    part: Part,
    /// How many of its rows are in the table.
    done: usize,
}

/// The runs of one table, as checkpoints see them.
#[derive(Clone, Default)]
pub(crate) struct Gathered {
    /// The newest first. Each is at least half as large again as the one before, so there are few, but for those that
    /// were loaded: they are put together by the first checkpoint, as a start must be fast.
    parts: Vec<Part>,
    drain: Option<Drain>,
    /// What waits on shelves, older than all runs.
    shelves: Shelves,
    /// A drain that was under way when the store was closed: its last number, and the last key that is in the table.
    mark: Option<(u64, Vec<u8>)>,
}

impl Gathered {
    /// What redb holds.
    pub(crate) fn load(txn: &redb::ReadTransaction, table: Table) -> Result<Self, redb::Error> {
        let mut own = Self::default();
        let runs = match txn.open_table(RUNS) {
            Ok(runs) => runs,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(own),
            Err(error) => return Err(error.into()),
        };
        let malformed = || redb::Error::Corrupted(format!("a malformed run of {}", table.name));
        let mark = runs.get(table.id.to_be_bytes().as_slice())?;
        let mark = mark.map(|mark| mark.value().to_vec());
        own.mark = match mark.as_deref().map(|mark| mark.split_first_chunk::<8>()) {
            None => None,
            Some(Some((last, key))) => Some((u64::from_le_bytes(*last), key.to_vec())),
            Some(None) => return Err(malformed()),
        };
        if table.shelved {
            own.shelves = Shelves::load(txn, table, own.mark.take())?;
        }
        let (first, end) = (run_key(table, 0), run_key(table, u64::MAX));
        for row in runs.range::<&[u8]>(first.as_slice()..=end.as_slice())? {
            let (key, text) = row?;
            let number = key.value().get(2..).and_then(|number| number.try_into().ok());
            let number = number.map(u64::from_be_bytes).ok_or_else(malformed)?;
            let run = Run::read(text.value()).ok_or_else(malformed)?;
            own.parts.push(Part {
                run: Arc::new(run),
                numbers: vec![number],
            });
        }
        own.parts.reverse();
        Ok(own)
    }

    /// Goes on with the drain that the mark tells of.
    fn resume(&mut self) {
        let Some((last, key)) = self.mark.take() else { return };
        let newer = |part: &Part| part.numbers.iter().all(|number| *number > last);
        let split = self.parts.iter().position(|part| !newer(part));
        let draining = self.parts.split_off(split.unwrap_or(self.parts.len()));
        self.drain = merged(draining).map(|part| {
            let (done, _) = part.run.range((Bound::Excluded(&key), Bound::Unbounded));
            Drain { part, done }
        });
    }

    /// Whether there are no runs and no shelves.
    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.drain.is_none() && self.shelves.is_empty()
    }

    /// What readers see.
    pub(crate) fn runs(&self) -> TableRuns {
        let parts = self.parts.iter().chain(self.drain.as_ref().map(|drain| &drain.part));
        let runs = parts.map(|part| Arc::clone(&part.run)).collect();
        let shelves = self.shelves.iter().cloned().collect();
        TableRuns::new(runs, shelves, self.shelves.draining())
    }

    /// Moves the rows of a memtable into a new run with number `number`, and about as many others into the table.
    pub(crate) fn checkpoint(
        &mut self,
        txn: &redb::WriteTransaction,
        table: Table,
        rows: &Rows,
        number: u64,
        gathering: Gathering,
    ) -> Result<(), redb::Error> {
        self.resume();
        let rows: Vec<(Bytes, Option<Bytes>)> = rows
            .iter()
            .map(|row| (row.key().clone(), row.value().newest()))
            .collect();
        let run = Arc::new(Run::new(
            rows.iter().map(|(key, value)| (key.as_ref(), value.as_deref())),
        ));
        let mut runs = txn.open_table(RUNS)?;
        let numbers = vec![number];
        let (stored, replaced) = self.gather(Part { run, numbers }, gathering.rows / SMALL_SHARE);
        for older in replaced {
            runs.remove(run_key(table, older).as_slice())?;
        }
        runs.insert(run_key(table, number).as_slice(), stored.text().as_slice())?;
        if table.shelved {
            drop(runs);
            self.shelve(txn, table, number, gathering.rows)?;
            return self.shelves.drain(txn, table, rows.len(), gathering);
        }
        self.begin_drain(gathering.rows);
        let Some(drain) = &mut self.drain else { return Ok(()) };
        // A drain that began large (after a start) goes faster, so that the next one does not.
        let quota = rows.len() * drain.part.run.len().div_ceil(gathering.rows.max(1));
        let mut own = txn.open_table(redb::TableDefinition::<&[u8], &[u8]>::new(table.name))?;
        let mut last = None;
        for index in drain.done..(drain.done + quota).min(drain.part.run.len()) {
            let Some((key, value)) = drain.part.run.row(index) else {
                break;
            };
            match value {
                Some(value) => drop(own.insert(key, value)?),
                None => drop(own.remove(key)?),
            }
            drain.done = index + 1;
            last = Some(key);
        }
        let mark = table.id.to_be_bytes();
        if drain.done >= drain.part.run.len() {
            for number in &drain.part.numbers {
                runs.remove(run_key(table, *number).as_slice())?;
            }
            runs.remove(mark.as_slice())?;
            self.drain = None;
        } else if let Some(key) = last {
            let newest = drain.part.numbers.iter().max().copied().unwrap_or_default();
            runs.insert(mark.as_slice(), [&newest.to_le_bytes(), key].concat().as_slice())?;
        }
        Ok(())
    }

    /// Moves everything into the table, for a migration.
    pub(crate) fn empty(
        mut self,
        txn: &redb::WriteTransaction,
        table: Table,
        progress: &Progress,
    ) -> Result<(), redb::Error> {
        std::mem::take(&mut self.shelves).empty(txn, table, progress)?;
        let Some(all) = merged(std::mem::take(&mut self.parts)) else {
            return Ok(());
        };
        let mut own = txn.open_table(redb::TableDefinition::<&[u8], &[u8]>::new(table.name))?;
        for (number, (key, value)) in all.run.rows().enumerate() {
            progress.tell_row(number, Work::Drain);
            match value {
                Some(value) => drop(own.insert(key, value)?),
                None => drop(own.remove(key)?),
            }
        }
        let mut runs = txn.open_table(RUNS)?;
        for number in &all.numbers {
            runs.remove(run_key(table, *number).as_slice())?;
        }
        runs.remove(table.id.to_be_bytes().as_slice())?;
        Ok(())
    }

    /// Adds the newest run. Runs of about the same size become one, in memory: few are left to look into. Those that have
    /// `small_rows` together become one in redb, too: answers what is to be stored in place of the newest one, and the numbers
    /// of those that it replaces.
    fn gather(&mut self, newest: Part, small_rows: usize) -> (Arc<Run>, Vec<u64>) {
        let (mut rows, mut alike, mut small) = (newest.run.len(), 0, 0);
        for older in &self.parts {
            if rows + rows / 2 < older.run.len() {
                break;
            }
            rows += older.run.len();
            alike += 1;
            if rows <= small_rows {
                small = alike;
            }
        }
        let older = self.parts.split_off(alike);
        let mut newer = std::mem::take(&mut self.parts);
        let larger = newer.split_off(small);
        let numbers = newest.numbers.clone();
        let replaced = newer.iter().flat_map(|part| part.numbers.clone()).collect();
        let Part { run, .. } = newer.into_iter().fold(newest, Part::over);
        let stored = Arc::clone(&run);
        let newer = std::iter::once(Part { run, numbers }).chain(larger).collect();
        self.parts = merged(newer).into_iter().chain(older).collect();
        (stored, replaced)
    }

    fn begin_drain(&mut self, gathered_rows: usize) {
        if self.drain.is_none() {
            self.drain = self.take_full(gathered_rows).map(|part| Drain { part, done: 0 });
        }
    }

    /// Puts what has been gathered on a shelf, if it is enough.
    fn shelve(
        &mut self,
        txn: &redb::WriteTransaction,
        table: Table,
        number: u64,
        gathered_rows: usize,
    ) -> Result<(), redb::Error> {
        let Some(part) = self.take_full(gathered_rows) else {
            return Ok(());
        };
        let mut runs = txn.open_table(RUNS)?;
        for number in &part.numbers {
            runs.remove(run_key(table, *number).as_slice())?;
        }
        self.shelves.put(txn, table, number, &part.run)
    }

    /// All parts as one, if they are large enough together.
    fn take_full(&mut self, gathered_rows: usize) -> Option<Part> {
        let rows: usize = self.parts.iter().map(|part| part.run.len()).sum();
        let parts = if rows < gathered_rows {
            Vec::new()
        } else {
            std::mem::take(&mut self.parts)
        };
        merged(parts)
    }
}

fn run_key(table: Table, number: u64) -> Vec<u8> {
    [table.id.to_be_bytes().as_slice(), &number.to_be_bytes()].concat()
}

/// The gathered tables, by id.
pub(crate) type AllGathered = BTreeMap<u16, Gathered>;

/// What redb holds of all gathered tables among `tables`. Each is read by a thread of its own: a start waits for it.
pub(crate) fn load_all(txn: &redb::ReadTransaction, tables: &[Table]) -> Result<AllGathered, redb::Error> {
    std::thread::scope(|scope| {
        let gathered = tables.iter().filter(|table| table.gathered);
        let loading: Vec<_> = gathered
            .map(|table| (table.id, scope.spawn(move || Gathered::load(txn, *table))))
            .collect();
        loading
            .into_iter()
            .map(|(id, loading)| match loading.join() {
                Ok(loaded) => Ok((id, loaded?)),
                Err(_) => Err(redb::Error::Corrupted("redb panicked while it read runs".to_owned())),
            })
            .collect()
    })
}
