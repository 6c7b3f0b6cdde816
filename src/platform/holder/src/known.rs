//! What the exchange remembers of the holder's status, and who hears of changes.

use crate::reply::HolderStatus;
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};

/// Hears of the holder's status. Neither may block or ask the holder.
pub trait Watcher: Send + Sync {
    /// Something may have changed: whoever wants to know asks anew.
    fn changed(&self);
    /// This is how it is.
    fn told(&self, status: &HolderStatus);
}

/// The last status, until something changes.
#[derive(Default)]
pub(crate) struct Known {
    state: Mutex<State>,
    watcher: OnceLock<Arc<dyn Watcher>>,
}

#[derive(Default)]
struct State {
    /// How often it was forgotten.
    age: u64,
    status: Option<Arc<HolderStatus>>,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").finish_non_exhaustive()
    }
}

impl Known {
    /// The status, or the age with which a new one is handed to [`Known::keep`].
    pub(crate) fn get(&self) -> Result<Arc<HolderStatus>, u64> {
        let state = self.state.lock();
        state.status.clone().ok_or(state.age)
    }

    /// Remembers an answer to a question that was asked at this age; one that something overtook meanwhile is dropped.
    pub(crate) fn keep(&self, age: u64, status: &Arc<HolderStatus>) {
        let mut state = self.state.lock();
        if state.age != age {
            return;
        }
        state.status = Some(Arc::clone(status));
        if let Some(watcher) = self.watcher.get() {
            // Under the lock, so that watchers hear of it in order.
            watcher.told(status);
        }
    }

    pub(crate) fn forget(&self) {
        let mut state = self.state.lock();
        state.age = state.age.wrapping_add(1);
        state.status = None;
        drop(state);
        if let Some(watcher) = self.watcher.get() {
            watcher.changed();
        }
    }

    /// There is one; a second one is dropped.
    pub(crate) fn watch(&self, watcher: Arc<dyn Watcher>) -> bool {
        self.watcher.set(watcher).is_ok()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{Known, Watcher};
    use crate::reply::{HolderStatus, PinUse, TpmStatus};
    use parking_lot::Mutex;
    use std::sync::Arc;

    #[derive(Default)]
    struct Diary(Mutex<Vec<String>>);

    impl Watcher for Diary {
        fn changed(&self) {
            self.0.lock().push("changed".to_owned());
        }
        fn told(&self, status: &HolderStatus) {
            self.0.lock().push(status.confinement.clone());
        }
    }

    fn status(name: &str) -> Arc<HolderStatus> {
        Arc::new(HolderStatus {
            slots: Vec::new(),
            seals: Vec::new(),
            former_keys: false,
            tpm: TpmStatus {
                present: false,
                sentence: String::new(),
                secure_boot: None,
                pcrs: Vec::new(),
                pin: PinUse::None,
                problem: None,
            },
            confinement: name.to_owned(),
            socket: String::new(),
        })
    }

    #[test]
    fn an_answer_that_was_overtaken_is_not_remembered() {
        let (known, diary) = (Known::default(), Arc::new(Diary::default()));
        assert!(known.watch(Arc::clone(&diary) as Arc<dyn Watcher>));
        assert!(!known.watch(Arc::clone(&diary) as Arc<dyn Watcher>));
        let age = known.get().unwrap_err();
        known.forget();
        known.keep(age, &status("before"));
        let age = known.get().unwrap_err();
        known.keep(age, &status("after"));
        assert_eq!(known.get().unwrap().confinement, "after");
        assert_eq!(*diary.0.lock(), ["changed", "after"]);
    }
}
