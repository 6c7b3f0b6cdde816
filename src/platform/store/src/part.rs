//! Runs in memory with their numbers in redb, and how they become one.

use crate::run::Run;
use std::sync::Arc;

/// Gathered rows, and the rows of `store.runs` that hold them.
#[derive(Clone)]
pub(crate) struct Part {
    /// The rows.
    pub(crate) run: Arc<Run>,
    /// Under which numbers redb has them.
    pub(crate) numbers: Vec<u64>,
}

impl Part {
    /// Both as one, the rows of `self` hiding those of `older`.
    pub(crate) fn over(self, older: Self) -> Self {
        let mut numbers = older.numbers;
        numbers.extend(self.numbers);
        Self {
            run: Arc::new(Run::merged(&self.run, &older.run)),
            numbers,
        }
    }
}

/// All of them as one; the newest stands first. Neighbours are merged first, so a row is copied a few times only.
pub(crate) fn merged(mut parts: Vec<Part>) -> Option<Part> {
    while parts.len() > 1 {
        let mut pairs = parts.into_iter();
        let mut halved = Vec::new();
        while let Some(newer) = pairs.next() {
            halved.push(match pairs.next() {
                Some(older) => newer.over(older),
                None => newer,
            });
        }
        parts = halved;
    }
    parts.pop()
}
