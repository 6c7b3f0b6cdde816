//! The owner's hand: who opens the keys by hand says that this disk is the one, once, and no more than they were asked.

use crate::anchor::Anchored;
use crate::audit;
use crate::reply::{Reason, Reply};
use crate::state::{Hand, Holder, Keys, Refusal};
use std::sync::atomic::AtomicBool;

impl Holder {
    /// Waits until somebody opens the keys by hand, or the exchange that waits is gone. With `another_log` they are told
    /// what is wrong with the disk, so who typed the recovery key before, because the keys did not open by themselves,
    /// types it again; then the database goes on as a new epoch, its audit log as another one, and the anchor where the
    /// database is; once in a start: whoever has taken over the exchange later gets no log of its own by asking again.
    /// Without it the owner was asked about nothing of that, and none of it is allowed any more.
    pub(crate) fn await_hand(&self, another_log: bool, gone: &AtomicBool) -> Result<Reply, Refusal> {
        self.wait_for_hand(if another_log { Hand::Disk } else { Hand::Keys }, gone)?;
        let is_open = self.log_begins();
        if !another_log {
            self.anchor_begins();
        }
        if !(is_open && another_log) {
            return Ok(Reply::Done);
        }
        self.with_notary(audit::allow_another_log)
    }

    fn wait_for_hand(&self, least: Hand, gone: &AtomicBool) -> Result<(), Refusal> {
        let mut state = self.keys.lock();
        loop {
            match &mut *state {
                Keys::Open { hand, .. } if *hand >= least => return Ok(()),
                Keys::Open { wanted, .. } => {
                    *wanted = true;
                    self.wait(&mut state, gone)?;
                }
                _ => return Err(Refusal(Reason::NotNow, "the keys are not open".to_owned())),
            }
        }
    }

    /// Whether the anchor may be set back, and made in another place: by the owner's word about this disk, which is good for
    /// one write; or, where the TPM has none, by theirs about the keys.
    pub(crate) fn may_anchor_anew(&self) -> bool {
        match &*self.keys.lock() {
            Keys::Open {
                hand,
                anchor_begun: false,
                anchor_gone,
                anchor_unknown: false,
                ..
            } => match hand {
                Hand::Disk => true,
                Hand::Keys => *anchor_gone,
                Hand::None => false,
            },
            _ => false,
        }
    }

    /// Remembers what the TPM told of its anchor.
    pub(crate) fn note_anchored(&self, anchored: &Anchored) {
        if let Keys::Open {
            anchor_gone,
            anchor_unknown,
            ..
        } = &mut *self.keys.lock()
        {
            *anchor_gone = matches!(anchored, Anchored::Gone(_));
            *anchor_unknown = matches!(anchored, Anchored::Unknown(_));
        }
    }

    /// Where the anchor is is decided in this start: it only goes on from there.
    pub(crate) fn anchor_begins(&self) {
        if let Keys::Open { anchor_begun, .. } = &mut *self.keys.lock() {
            *anchor_begun = true;
        }
    }
}
