//! Telling how long work on the whole database has got: whoever waits for a start can tell it from one that hangs.

use std::sync::Arc;

/// Rows between two looks of work that has many.
const ROWS: usize = 1024;

/// What a start may have to do that takes more than a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// redb walks its file, after a stop that it did not expect.
    Repair {
        /// How much is done, in percent.
        percent: u8,
    },
    /// The log is read.
    Log,
    /// What waits for its place in redb is put there, before a migration.
    Drain,
    /// Rows are brought to this schema version.
    Migration {
        /// The version that they have then.
        to: u32,
    },
    /// Everything is copied under another key.
    Copy {
        /// How much is done, in percent.
        percent: u8,
    },
}

impl std::fmt::Display for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Repair { percent } => write!(f, "the database is repaired: {percent} %"),
            Self::Log => f.write_str("the log is read"),
            Self::Drain => f.write_str("the database is made ready for its next version"),
            Self::Migration { to } => write!(f, "the database is brought to version {to}"),
            Self::Copy { percent } => write!(f, "the database is encrypted anew: {percent} %"),
        }
    }
}

/// Who hears of it; by default nobody. Called often, from threads of the store: it must be quick and keep the rate down
/// itself.
#[derive(Clone, Default)]
pub struct Progress(Option<Arc<dyn Fn(Work) + Send + Sync>>);

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Progress").field(&self.0.is_some()).finish()
    }
}

impl Progress {
    /// Told to `listener`.
    pub fn to(listener: impl Fn(Work) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(listener)))
    }

    /// A part of it is done.
    pub(crate) fn tell(&self, work: Work) {
        if let Some(listener) = &self.0 {
            listener(work);
        }
    }

    /// The same for each of many rows, some of which count for all.
    pub(crate) fn tell_row(&self, number: usize, work: Work) {
        if number.is_multiple_of(ROWS) {
            self.tell(work);
        }
    }
}

/// How much of `all` is `done`, in percent.
pub(crate) fn percent(done: u64, all: u64) -> u8 {
    let percent = u128::from(done) * 100 / u128::from(all.max(1));
    u8::try_from(percent.min(100)).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::percent;

    #[test]
    fn a_share_is_between_nothing_and_all() {
        assert_eq!(percent(0, 0), 0);
        assert_eq!(percent(1, 3), 33);
        assert_eq!(percent(u64::MAX, u64::MAX), 100);
        assert_eq!(percent(7, 3), 100);
    }
}
