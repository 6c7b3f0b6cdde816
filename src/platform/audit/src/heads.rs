//! The last head of each log that was signed, and which log may be signed at all. The signer decides that, not whoever
//! asks it to sign: for a log without a head there is nothing that a proof could be compared with, so whoever may invent
//! logs may have any history signed.

use crate::checkpoint::Checkpoint;
use crate::keep::{Keep, failed};
use crate::notary::{LOGS_MAX, NotarizeError, SignerError};
use crate::tree::{Hash, is_consistent};
use lamchat_base::SecretBytes;

/// The sealed secret: the texts of checkpoints, one after the other, the active log's last; then [`ANOTHER`] if another
/// log may begin.
pub(crate) const HEADS: &str = "audit-heads";
/// A line of its own. No line of a checkpoint is like it: the last one of each is a hash in base64.
const ANOTHER: &str = "another\n";
/// Lines of the text of a checkpoint.
const CHECKPOINT_LINES: usize = 3;

/// The heads. The first log is free; then only the active one, which was signed last, is signed, until somebody with the
/// right to say so has allowed another one to begin.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Heads {
    /// The active log's is the last one.
    of_logs: Vec<Checkpoint>,
    /// Whether a log that has no head here may begin. One use.
    another: bool,
}

impl Heads {
    /// What is kept. Earlier versions kept the log that was signed last in the last place as well.
    pub fn load(keep: &dyn Keep) -> Result<Option<Self>, SignerError> {
        let Some(kept) = keep.load(HEADS)? else {
            return Ok(None);
        };
        Self::parse(std::str::from_utf8(kept.expose()).map_err(failed)?).map(Some)
    }

    /// Keeps them in place of the ones before. Durable on return.
    pub fn store(&self, keep: &dyn Keep) -> Result<(), SignerError> {
        keep.store(HEADS, &SecretBytes::new(self.text().into_bytes()))
    }

    fn text(&self) -> String {
        let heads: String = self.of_logs.iter().map(Checkpoint::to_string).collect();
        heads + if self.another { ANOTHER } else { "" }
    }

    fn parse(text: &str) -> Result<Self, SignerError> {
        let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
        let another = lines.last() == Some(&ANOTHER);
        if another {
            lines.pop();
        }
        let heads = lines.chunks(CHECKPOINT_LINES);
        let heads = heads.map(|lines| Checkpoint::parse(&lines.concat()).map_err(failed));
        Ok(Self {
            of_logs: heads.collect::<Result<_, _>>()?,
            another,
        })
    }

    /// The head of the log `origin`.
    pub fn of(&self, origin: &str) -> Option<&Checkpoint> {
        self.of_logs.iter().find(|head| head.origin == origin)
    }

    /// The head of the log that is signed.
    pub fn active(&self) -> Option<&Checkpoint> {
        self.of_logs.last()
    }

    /// Whether nothing is known: neither what was signed, nor that something may be.
    pub fn is_empty(&self) -> bool {
        self.of_logs.is_empty() && !self.another
    }

    /// The same, and another log may begin.
    pub fn allowing_another(&self) -> Self {
        Self {
            another: true,
            ..self.clone()
        }
    }

    /// The heads as they are once `checkpoint` is signed; `None` if nothing changes. Which log goes on is decided by that,
    /// so no other one may begin after it.
    pub fn after(&self, checkpoint: &Checkpoint, proof: &[Hash]) -> Result<Option<Self>, NotarizeError> {
        match (self.active(), self.of(&checkpoint.origin)) {
            (Some(active), Some(head)) if active.origin == checkpoint.origin => {
                if !is_consistent(head.size, &head.root, checkpoint.size, &checkpoint.root, proof) {
                    return Err(NotarizeError::Fork {
                        signed: head.size,
                        asked: checkpoint.size,
                    });
                }
                if head == checkpoint && !self.another {
                    return Ok(None);
                }
            }
            (None, _) => {}
            (Some(_), None) if self.another => {}
            (Some(active), _) => {
                return Err(NotarizeError::AnotherLog {
                    signed: active.origin.clone(),
                    asked: checkpoint.origin.clone(),
                });
            }
        }
        let mut of_logs = self.of_logs.clone();
        of_logs.retain(|head| head.origin != checkpoint.origin);
        // Heads of logs that ended long ago make room: nothing of them is signed any more.
        let surplus = of_logs.len().saturating_sub(LOGS_MAX - 1);
        of_logs.drain(..surplus);
        of_logs.push(checkpoint.clone());
        Ok(Some(Self {
            of_logs,
            another: false,
        }))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::Heads;
    use crate::checkpoint::Checkpoint;
    use crate::notary::{LOGS_MAX, NotarizeError};

    fn head(log: usize, size: u64) -> Checkpoint {
        Checkpoint {
            origin: format!("example.org/audit/{log}"),
            size,
            root: [log as u8; 32],
        }
    }

    #[test]
    fn heads_come_back_and_those_of_before_are_read() {
        let mut heads = Heads::default().allowing_another();
        assert_eq!(Heads::parse(&heads.text()).unwrap(), heads);
        for log in 0..3 {
            heads = heads.after(&head(log, 5), &[]).unwrap().unwrap();
            // As versions of before wrote it: the texts and nothing else.
            let before: String = heads.of_logs.iter().map(Checkpoint::to_string).collect();
            assert_eq!(Heads::parse(&before).unwrap(), heads);
            assert_eq!(heads.active(), Some(&head(log, 5)));
            heads = heads.allowing_another();
            assert_eq!(Heads::parse(&heads.text()).unwrap(), heads);
        }
        let text = heads.text();
        for end in 1..text.len() {
            assert!(Heads::parse(&text[..end]).map_or(true, |cut| cut != heads), "{end}");
        }
    }

    #[test]
    fn only_the_active_log_goes_on_and_one_other_begins_where_allowed() {
        let first = Heads::default().after(&head(1, 5), &[]).unwrap().unwrap();
        let refused =
            |heads: &Heads, log| matches!(heads.after(&head(log, 5), &[]), Err(NotarizeError::AnotherLog { .. }));
        assert!((2..300).all(|log| refused(&first, log)));
        assert_eq!(first.after(&head(1, 5), &[]).unwrap(), None);
        let second = first.allowing_another().after(&head(2, 1), &[]).unwrap().unwrap();
        assert!(refused(&second, 3) && refused(&second, 1));
        // A log of before does not come back, allowed or not.
        assert!(refused(&second.allowing_another(), 1));
        // Nor does one begin once the active one has gone on.
        let gone_on = second.allowing_another().after(&head(2, 1), &[]).unwrap().unwrap();
        assert!(refused(&gone_on, 3));
    }

    #[test]
    fn many_logs_block_nothing() {
        let mut heads = Heads::default();
        for log in 0..LOGS_MAX + 50 {
            heads = heads.allowing_another().after(&head(log, 5), &[]).unwrap().unwrap();
        }
        assert_eq!(heads.of_logs.len(), LOGS_MAX);
        assert!(heads.of(&head(49, 5).origin).is_none() && heads.of(&head(50, 5).origin).is_some());
    }
}
