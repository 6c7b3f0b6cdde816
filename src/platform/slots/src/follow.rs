//! A second EFI system partition that is made like the first: its releases, their counters, and what is marked good.

use crate::name::{Name, Slot};
use crate::slots::{Entry, SlotError, Slots};
use crate::volume::Device;

/// What was done to a partition that follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Followed {
    /// Releases that were written.
    pub written: usize,
    /// Releases that got another name: a count, or that they are good.
    pub renamed: usize,
}

impl<D: Device> Slots<D> {
    /// Makes both slots like those of `from`, one after the other. A slot that
    /// `from` does not have stays as it is. A power cut leaves each slot as it was or as it is to be.
    pub fn follow<E: Device>(&mut self, from: &mut Slots<E>) -> Result<Followed, SlotError> {
        let mut followed = Followed::default();
        for slot in [Slot::A, Slot::B] {
            let Some((theirs, sha256)) = one(from, slot)? else {
                continue;
            };
            match one(self, slot)? {
                Some((own, digest)) if digest == sha256 && own.name == theirs.name => continue,
                Some((own, digest)) if digest == sha256 => {
                    self.rename(&own.name, &theirs.name)?;
                    followed.renamed += 1;
                }
                _ => {
                    from.look(&theirs.name, |file| {
                        Ok(self.place(&theirs.name, file, theirs.bytes, &sha256))
                    })??;
                    followed.written += 1;
                }
            }
        }
        Ok(followed)
    }
}

/// The one file of a slot; `None`: it has none, or several, of which nobody knows which one counts.
fn one<D: Device>(slots: &mut Slots<D>, slot: Slot) -> Result<Option<(Entry, [u8; 32])>, SlotError> {
    let entry = slots.list()?.into_iter().find(|entry: &Entry| {
        let name: &Name = &entry.name;
        name.slot == slot
    });
    Ok(entry.zip(slots.digest(slot)?))
}
