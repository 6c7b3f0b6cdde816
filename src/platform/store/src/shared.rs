//! What the writer, the checkpoint and every clone of the store share.

use crate::changes::ChangeSet;
use crate::database::Saved;
use crate::memtable::Memtable;
use crate::queue::Queue;
use crate::topic::Watchers;
use crate::view::{Base, View};
use crate::{Position, Table};
use arc_swap::ArcSwap;
use lamchat_base::Clock;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// A memtable that was set aside, and what is saved once it is in redb.
#[derive(Clone)]
pub(crate) struct Frozen {
    pub(crate) memtable: Arc<Memtable>,
    pub(crate) saved: Saved,
}

/// The shared state.
pub(crate) struct Shared {
    /// Sorted by id.
    pub(crate) tables: Vec<Table>,
    pub(crate) view: ArcSwap<View>,
    pub(crate) watchers: Arc<Watchers>,
    pub(crate) queue: Queue,
    pub(crate) epoch: AtomicU32,
    /// Tells each group's time, once there is one.
    pub(crate) stamp: OnceLock<Arc<dyn Clock>>,
    /// The newest position that was issued, whether its write was kept or not.
    issued: AtomicU64,
    /// Held by whoever replaces the view: commits, freezes and checkpoints do so from different threads.
    publishing: Mutex<()>,
}

impl Shared {
    /// A store that starts from `view`.
    pub(crate) fn new(tables: Vec<Table>, view: View, epoch: u32) -> Self {
        Self {
            tables,
            issued: AtomicU64::new(view.position.0),
            view: ArcSwap::from_pointee(view),
            watchers: Watchers::new(),
            queue: Queue::default(),
            epoch: AtomicU32::new(epoch),
            stamp: OnceLock::new(),
            publishing: Mutex::new(()),
        }
    }

    /// The newest position that was issued.
    pub(crate) fn issued(&self) -> Position {
        Position(self.issued.load(Ordering::Relaxed))
    }

    /// Notes that positions up to `position` were issued. Only the writer calls this.
    pub(crate) fn issue(&self, position: Position) {
        self.issued.store(position.0, Ordering::Relaxed);
    }

    /// Makes the changes of a group visible, all at once. Only the writer calls this.
    pub(crate) fn publish(&self, changes: ChangeSet, sequence: u64, position: Position) {
        let _publishing = self.publishing.lock();
        let view = self.view.load();
        for (table, key, value) in changes.into_changes() {
            // Nobody sees the row before the view below: snapshots look for older sequences.
            let declared = view.active.insert(table, key, sequence, value);
            debug_assert!(declared, "writes of undeclared tables are dropped before");
        }
        self.view.store(Arc::new(View {
            sequence,
            position,
            ..View::clone(&view)
        }));
    }

    /// Sets the memtable aside for a checkpoint; `None` if it has no rows. Called when none is set aside.
    pub(crate) fn freeze(&self) -> Option<Frozen> {
        let _publishing = self.publishing.lock();
        let view = self.view.load();
        if view.active.row_count() == 0 {
            return None;
        }
        let memtable = view.active.clone();
        let active = Arc::new(Memtable::new(&self.tables));
        self.view.store(Arc::new(View {
            frozen: Some(memtable.clone()),
            active,
            ..View::clone(&view)
        }));
        Some(Frozen {
            memtable,
            saved: Saved {
                sequence: view.sequence,
                position: view.position,
            },
        })
    }

    /// Replaces what lies under the memtables: after a checkpoint (`thaw`: the frozen rows are in `base`) or a reopening of redb.
    pub(crate) fn rebase(&self, base: Arc<Base>, thaw: bool) {
        let _publishing = self.publishing.lock();
        let view = self.view.load();
        let frozen = if thaw { None } else { view.frozen.clone() };
        self.view.store(Arc::new(View {
            base: Some(base),
            frozen,
            ..View::clone(&view)
        }));
    }
}
