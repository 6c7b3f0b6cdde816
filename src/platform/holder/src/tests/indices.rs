//! What set-ups that were given up leave in the TPM: a software TPM with as few free indices as a real one.

use super::boxes::{FIRST, Swtpm, box_at};
use super::*;
use lamchat_seal::{Sealer, SealerReason};
use lamchat_tpm::SealedBlob;

/// More than there are counters.
const SET_UPS: usize = 40;

/// A set-up as far as the keys go: a keyring, sealed. The blob.
fn set_up(holder: &Holder) -> Vec<u8> {
    assert!(matches!(holder.act(Typed::Create, FIRST), Ok(Reply::Recovery(..))));
    seal(holder);
    holder.keyring().unwrap().blobs().pop().unwrap().1
}

fn seal(holder: &Holder) {
    let sealed = holder.act(Typed::Seal { bootable: vec![1] }, FIRST);
    assert!(matches!(sealed, Ok(Reply::Slot(_))), "{sealed:?}");
}

#[test]
fn a_box_that_was_set_up_again_and_again_still_seals() {
    let swtpm = Swtpm::start();
    // An index in the middle of ours that is somebody else's, and one of ours that is of another kind.
    let (foreign, key) = (0x0180_4C05, lamchat_base::Secret::new([1; 32]));
    swtpm.sealer().in_tpm(|tpm| tpm.ensure_anchor(foreign, &key)).unwrap();
    let mut blobs: Vec<Vec<u8>> = Vec::new();
    for number in 0..SET_UPS {
        let folder = tempfile::tempdir().unwrap();
        let mut present = box_at(folder.path(), &swtpm, number as u64);
        blobs.push(set_up(&present));
        if number == 33 {
            // This one goes on after counters were reclaimed: bound anew, and opened at the next start.
            seal(&present);
            let blob = present.keyring().unwrap().blobs().pop().unwrap().1;
            drop(present);
            present = box_at(folder.path(), &swtpm, 250);
            assert!(matches!(present.act(Typed::DiskKey, FIRST), Ok(Reply::Disk(_))));
            let before = std::mem::replace(blobs.last_mut().unwrap(), blob);
            blobs.insert(0, before);
        }
    }
    let sealer = swtpm.sealer();
    assert!(sealer.in_tpm(|tpm| tpm.has_index(foreign)).unwrap());
    // The last one opens; whatever was reclaimed stays closed, also where its index is used again.
    let last = blobs.pop().unwrap();
    sealer.unseal(&last).unwrap();
    let index = |blob: &[u8]| SealedBlob::parse(blob).unwrap().counter_index;
    let again: Vec<&Vec<u8>> = blobs.iter().filter(|blob| index(blob) == index(&last)).collect();
    assert!(!again.is_empty(), "no index was used again");
    for blob in again {
        assert_eq!(sealer.unseal(blob).unwrap_err().reason, SealerReason::Refused);
    }
}

#[test]
fn the_keyrings_own_counter_stays_when_room_is_made() {
    let swtpm = Swtpm::start();
    let folders: Vec<_> = (0..32).map(|_| tempfile::tempdir().unwrap()).collect();
    let first = box_at(folders[0].path(), &swtpm, 1);
    let old = set_up(&first);
    for (seed, folder) in (2..).zip(&folders[1..]) {
        set_up(&box_at(folder.path(), &swtpm, seed));
    }
    // Every index is taken. Binding the first one anew needs one more, while its old seal still has to open.
    seal(&first);
    let new = first.keyring().unwrap().blobs().pop().unwrap().1;
    assert_ne!(new, old);
    drop(first);
    let again = box_at(folders[0].path(), &swtpm, 77);
    assert!(matches!(again.act(Typed::DiskKey, FIRST), Ok(Reply::Disk(_))));
    // The disk rolled back to the seal of before: refused.
    let refused = swtpm.sealer().unseal(&old).unwrap_err();
    assert_eq!(refused.reason, SealerReason::Refused, "{refused}");
}

#[test]
fn elsewhere_than_on_a_box_nothing_is_reclaimed() {
    let swtpm = Swtpm::start();
    let sealer = swtpm.sealer();
    let secret = lamchat_base::Secret::new([3; 32]);
    let blobs: Vec<Vec<u8>> = (0..32).map(|_| sealer.seal(&secret).unwrap()).collect();
    let full = sealer.seal(&secret).unwrap_err();
    assert!(full.explanation.contains("all taken"), "{full}");
    for blob in &blobs {
        sealer.unseal(blob).unwrap();
    }
}
