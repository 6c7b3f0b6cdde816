//! Records of the holder's own that somebody deletes or puts back, and powers that are cut while they are made.

use super::boxes::{FIRST, Swtpm, box_at, box_on};
use super::*;
use crate::state::{Hand, Keys, Refusal};
use lamchat_base::Secret;
use lamchat_disk::Disk;
use lamchat_disk::simulation::SimulatedDisk;
use lamchat_seal::Mark;
use std::time::Duration;

/// The first place for an anchor.
const PLACE: u32 = 0x0180_4C20;

fn create(holder: &Holder) -> SecretBytes {
    match holder.act(Typed::Create, FIRST) {
        Ok(Reply::Recovery(_, key)) => key,
        other => panic!("{other:?}"),
    }
}

fn seal(holder: &Holder) -> Result<Reply, Refusal> {
    holder.act(Typed::Seal { bootable: vec![1] }, FIRST)
}

fn at(commit: u64) -> Anchor {
    Anchor { commit, ..ANCHOR }
}

fn anchored(holder: &Holder) -> Anchored {
    match holder.anchored() {
        Ok(Reply::Anchored(anchored)) => anchored,
        other => panic!("{other:?}"),
    }
}

fn is_at(holder: &Holder, commit: u64) -> bool {
    matches!(anchored(holder), Anchored::At { anchor, .. } if anchor == at(commit))
}

/// Because the file is not there, and it says so.
fn is_missing(holder: &Holder) -> bool {
    matches!(anchored(holder), Anchored::Gone(why) if why.contains("secrets/anchor.sealed") && why.contains("put it back"))
}

/// Somebody types the recovery key while the start waits for it.
fn by_hand(holder: &Arc<Holder>, key: &SecretBytes, another_log: bool) {
    let shared = Arc::clone(holder);
    let waiting = std::thread::spawn(move || shared.await_hand(another_log, &AtomicBool::new(false)));
    while holder.act(Typed::Unlock(key.clone()), FIRST).is_err() {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(matches!(waiting.join().unwrap(), Ok(Reply::Done)));
}

#[test]
fn whoever_deletes_what_is_kept_of_the_anchor_wins_nothing() {
    let (swtpm, folder) = (Swtpm::start(), tempfile::tempdir().unwrap());
    let record = folder.path().join("secrets/anchor.sealed");
    let started = |seed| {
        let holder = box_at(folder.path(), &swtpm, seed);
        assert!(matches!(holder.act(Typed::DiskKey, FIRST), Ok(Reply::Disk(_))));
        holder
    };
    let first = box_at(folder.path(), &swtpm, 1);
    let key = create(&first);
    assert_eq!(anchored(&first), Anchored::Never);
    seal(&first).unwrap();
    // From the first moment at which the TPM opens the keyring.
    assert!(first.keyring().unwrap().has_mark(Mark::Anchor));
    assert_eq!(
        anchored(&first),
        Anchored::Never,
        "its place is there, and nothing in it"
    );
    let unwritten = std::fs::read(&record).unwrap();
    std::fs::remove_file(&record).unwrap();
    assert!(is_missing(&first));
    std::fs::write(&record, &unwritten).unwrap();
    first.anchor(at(9)).unwrap();
    assert!(is_at(&first, 9));
    drop(first);

    let second = started(2);
    second.anchor(at(12)).unwrap();
    let written = std::fs::read(&record).unwrap();
    std::fs::remove_file(&record).unwrap();
    assert!(is_missing(&second));
    assert_eq!(second.anchor(at(13)).unwrap_err().0, Reason::NotAllowed);
    assert!(!record.exists(), "nothing takes its place");
    // One from before the first write says less than the TPM, and sets nothing back.
    std::fs::write(&record, &unwritten).unwrap();
    assert!(is_at(&second, 12));
    assert_eq!(second.anchor(at(11)).unwrap_err().0, Reason::NotAllowed);
    assert!(is_at(&second, 12));

    // Nor is one that somebody makes in the TPM taken for the one that was never written.
    let sealer = swtpm.sealer();
    sealer.in_tpm(|tpm| tpm.delete_index(PLACE)).unwrap();
    assert!(matches!(anchored(&second), Anchored::Gone(_)));
    let stranger = Secret::new([9; 32]);
    sealer.in_tpm(|tpm| tpm.ensure_anchor(PLACE, &stranger)).unwrap();
    assert!(matches!(anchored(&second), Anchored::Gone(_)));
    assert!(second.anchor(at(14)).is_err());

    // By its owner's hand it begins anew, once.
    std::fs::write(&record, &written).unwrap();
    std::fs::remove_file(&record).unwrap();
    let third = started(3);
    by_hand(&third, &key, true);
    third.anchor(at(5)).unwrap();
    assert!(is_at(&third, 5));
    assert_eq!(third.anchor(at(4)).unwrap_err().0, Reason::NotAllowed);
    third.anchor(at(6)).unwrap();
    assert!(is_at(&started(4), 6));
    std::fs::remove_file(&record).unwrap();
    assert!(is_missing(&started(5)));
}

#[test]
fn a_hand_that_was_asked_about_something_else_sets_no_anchor_back() {
    let (mut swtpm, folder) = (Swtpm::start(), tempfile::tempdir().unwrap());
    let holder = box_at(folder.path(), &swtpm, 1);
    let key = create(&holder);
    seal(&holder).unwrap();
    holder.anchor(at(9)).unwrap();
    holder.forget_hand();
    by_hand(&holder, &key, false);
    assert_eq!(holder.anchor(at(8)).unwrap_err().0, Reason::NotAllowed);
    // Nor does it by asking again.
    assert!(is_at(&holder, 9));
    holder.await_hand(true, &AtomicBool::new(false)).unwrap();
    assert_eq!(holder.anchor(at(8)).unwrap_err().0, Reason::NotAllowed);
    holder.anchor(at(10)).unwrap();

    // Nor does one that opened the keys because the TPM was away, once that is back.
    let says = |said: Hand| {
        holder.forget_hand();
        if let Keys::Open { hand, .. } = &mut *holder.keys.lock() {
            *hand = said;
        }
    };
    says(Hand::Disk);
    swtpm.stop();
    assert!(matches!(anchored(&holder), Anchored::Unknown(_)));
    swtpm.start_again();
    assert_eq!(holder.anchor(at(8)).unwrap_err().0, Reason::NotAllowed);
    // Nor one that opened the keys before anybody could know how old the disk is: the start asks again.
    says(Hand::Keys);
    assert!(is_at(&holder, 10));
    assert_eq!(holder.anchor(at(8)).unwrap_err().0, Reason::NotAllowed);
    let gone = AtomicBool::new(true);
    assert_eq!(holder.await_hand(true, &gone).unwrap_err().0, Reason::NotNow);
    by_hand(&holder, &key, true);
    holder.anchor(at(8)).unwrap();
    // Once the TPM has no anchor there is nothing to ask about.
    says(Hand::Keys);
    swtpm.sealer().in_tpm(|tpm| tpm.delete_index(PLACE)).unwrap();
    assert!(matches!(anchored(&holder), Anchored::Gone(_)));
    holder.anchor(at(7)).unwrap();
    assert!(is_at(&holder, 7));
}

/// Installations of before have the record and no mark.
#[test]
fn an_anchor_of_before_gets_its_mark_without_a_word() {
    let (swtpm, folder) = (Swtpm::start(), tempfile::tempdir().unwrap());
    let first = box_at(folder.path(), &swtpm, 1);
    create(&first);
    seal(&first).unwrap();
    first.anchor(at(9)).unwrap();
    let keyring = first.keyring().unwrap();
    keyring.take_mark(Mark::Anchor).unwrap();
    assert!(is_at(&first, 9));
    assert!(keyring.has_mark(Mark::Anchor));
    // Or by the next write, if that did not work.
    keyring.take_mark(Mark::Anchor).unwrap();
    first.forget_hand();
    first.anchor(at(9)).unwrap();
    assert!(keyring.has_mark(Mark::Anchor));
    std::fs::remove_file(folder.path().join("secrets/anchor.sealed")).unwrap();
    assert!(is_missing(&first));

    // Where the slot goes, mark, record and place go as well, and come again.
    let place = || swtpm.sealer().in_tpm(|tpm| tpm.has_index(PLACE)).unwrap();
    keyring.take_mark(Mark::Anchor).unwrap();
    first.anchor(at(9)).unwrap();
    assert!(place());
    first.remove(2).unwrap();
    assert!(!keyring.has_mark(Mark::Anchor) && keyring.own("anchor").unwrap().is_none());
    assert_eq!(anchored(&first), Anchored::Never);
    seal(&first).unwrap();
    assert!(keyring.has_mark(Mark::Anchor) && place());
}

/// A slot is sealed, and the anchor written, until the power fails; whether it was written.
fn anchor_until_power_fails(holder: &Holder) -> bool {
    seal(holder).is_ok() && holder.anchor(at(9)).is_ok()
}

#[test]
fn a_power_cut_while_the_anchor_is_made_looks_like_no_deletion() {
    let (swtpm, dir) = (Swtpm::start(), Path::new("/keys"));
    let begin = |seed| {
        let disk = SimulatedDisk::new(seed);
        let holder = box_on(dir, Arc::new(disk.clone()), swtpm.tpm(seed), seed);
        let key = create(&holder);
        (disk, holder, key)
    };
    let (disk, calm, _) = begin(1_000);
    let begun = disk.operations();
    assert!(anchor_until_power_fails(&calm));
    let operations = disk.operations() - begun;
    assert!(operations > 20, "{operations}");
    let (mut sealed, mut written) = (0, 0);
    for cut in 0..=operations {
        let (disk, holder, key) = begin(cut);
        disk.cut_power_after(cut);
        let was_written = anchor_until_power_fails(&holder);
        drop(holder);
        let disk = disk.power_on();
        let again = box_on(dir, Arc::new(disk.clone()), swtpm.tpm(500 + cut), 500 + cut);
        let by_tpm = matches!(again.act(Typed::DiskKey, FIRST), Ok(Reply::Disk(_)));
        if !by_tpm {
            again.act(Typed::Unlock(key), FIRST).unwrap();
            again.forget_hand();
        }
        let found = anchored(&again);
        let honest = match &found {
            Anchored::Never => !was_written,
            Anchored::At { anchor, put_back } => *anchor == at(9) && !put_back,
            Anchored::Gone(_) | Anchored::Unknown(_) => false,
        };
        assert!(honest, "{cut}: {found:?}");
        // Everything goes on from there.
        if !by_tpm {
            seal(&again).unwrap();
        }
        again.anchor(at(10)).unwrap();
        assert!(is_at(&again, 10), "{cut}");
        disk.remove(Path::new("/keys/secrets/anchor.sealed")).unwrap();
        assert!(is_missing(&again), "{cut}");
        sealed += u32::from(by_tpm);
        written += u32::from(was_written);
    }
    assert!(sealed > 5 && written > 0, "{sealed} {written}");
}

#[test]
fn a_log_of_which_nothing_is_known_waits_for_its_owner() {
    let head = |log: u32| Checkpoint {
        origin: format!("example.org/audit/{log}"),
        size: 1,
        root: [1; 32],
    };
    let house = House::new();
    house.keys();
    assert_eq!(house.client.log_lost().unwrap(), None);
    house.client.sign(&head(1), &[]).unwrap();
    house.client.ready().unwrap();
    let passphrase = "correct horse battery";
    house.type_in(&Typed::AddPassphrase(typed(passphrase))).unwrap();
    house.without_file_slot(passphrase);
    let folder = house.leave();
    let heads = folder.path().join("secrets/audit-heads.sealed");
    std::fs::remove_file(&heads).unwrap();
    let again = |folder| {
        let house = House::with(folder, Some(passphrase));
        house.keys();
        assert_eq!(house.client.log_lost().unwrap(), Some(heads.display().to_string()));
        for log in [1, 2] {
            let refused = house.client.sign(&head(log), &[]).unwrap_err().to_string();
            assert!(refused.contains("audit-heads.sealed is missing"), "{refused}");
        }
        house
    };
    let house = again(folder);
    let Request::Evidence { nonce, statement, .. } = evidence() else {
        panic!()
    };
    let no_evidence = house
        .client
        .evidence(nonce, "example.org/audit/1", statement, Vec::new());
    assert_eq!(refused(no_evidence), Reason::Fork);
    // A passphrase that lies beside the disk is nobody's word.
    let house = again(house.leave());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| house.client.await_hand(true));
        while house.type_in(&Typed::Unlock(typed(passphrase))).is_err() {
            std::thread::sleep(Duration::from_millis(5));
        }
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(house.client.log_lost().unwrap(), None);
    house.client.sign(&head(2), &[]).unwrap();
    assert!(house.client.sign(&head(3), &[]).is_err());
    house.leave();
}
