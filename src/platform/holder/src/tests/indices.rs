//! What set-ups that were given up leave in the TPM: a software TPM with as few free indices as a real one.

use super::*;
use crate::peer::Administrator;
use crate::sealer::TpmSealer;
use crate::{Reply, Typed};
use lamchat_seal::{Sealer, SealerReason};
use lamchat_tpm::{Address, PcrSelection, SealedBlob};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub(super) const FIRST: Administrator = Administrator { uid: 0, is_first: true };
/// More than there are counters.
const SET_UPS: usize = 40;

/// A software TPM; ended on drop.
pub(super) struct Swtpm {
    folder: tempfile::TempDir,
    child: Child,
}

impl Swtpm {
    pub(super) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let child = spawn(folder.path());
        let this = Self { folder, child };
        this.wait();
        this
    }

    /// Away.
    pub(super) fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::fs::remove_file(self.folder.path().join("sock")).unwrap();
    }

    /// Back again: its NV memory stays.
    pub(super) fn start_again(&mut self) {
        self.child = spawn(self.folder.path());
        self.wait();
    }

    fn wait(&self) {
        let until = Instant::now() + Duration::from_secs(30);
        while self.address().open().is_err() {
            assert!(Instant::now() < until, "swtpm does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(super) fn address(&self) -> Address {
        Address::Unix(self.folder.path().join("sock"))
    }

    pub(super) fn sealer(&self) -> TpmSealer {
        TpmSealer::new(self.address(), PcrSelection::new(&[7]).unwrap(), entropy(9))
    }
}

fn spawn(folder: &Path) -> Child {
    Command::new("swtpm")
        .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
        .arg("--tpmstate")
        .arg(format!("dir={}", folder.display()))
        .arg("--server")
        .arg(format!("type=unixio,path={}", folder.join("sock").display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn holder(folder: &Path, swtpm: &Swtpm, seed: u64) -> Holder {
    let pcrs = PcrSelection::new(&[7]).unwrap();
    let setup = Setup {
        dir: folder.to_owned(),
        disk: RealDisk::shared(),
        on_box: true,
        passphrase: None,
        tpm: Tpm::at(swtpm.address(), pcrs, false, Some(true), None, entropy(seed)),
        attester: Ok(attester()),
        exchange_dir: folder.join("exchange"),
        cost: PassphraseCost::MINIMUM,
        clock: Arc::new(ManualClock::new(1_000_000)),
        entropy: entropy(seed),
    };
    Holder::new(setup, Notices::unattached(), "on threads".to_owned())
}

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
        let mut present = holder(folder.path(), &swtpm, number as u64);
        blobs.push(set_up(&present));
        if number == 33 {
            // This one goes on after counters were reclaimed: bound anew, and opened at the next start.
            seal(&present);
            let blob = present.keyring().unwrap().blobs().pop().unwrap().1;
            drop(present);
            present = holder(folder.path(), &swtpm, 250);
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
    let first = holder(folders[0].path(), &swtpm, 1);
    let old = set_up(&first);
    for (seed, folder) in (2..).zip(&folders[1..]) {
        set_up(&holder(folder.path(), &swtpm, seed));
    }
    // Every index is taken. Binding the first one anew needs one more, while its old seal still has to open.
    seal(&first);
    let new = first.keyring().unwrap().blobs().pop().unwrap().1;
    assert_ne!(new, old);
    drop(first);
    let again = holder(folders[0].path(), &swtpm, 77);
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
