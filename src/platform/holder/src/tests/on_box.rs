//! The bootable image: process 1 makes the keyring and gets the disk's key, and exchanges come and go.

use super::boxes::{FIRST, box_without_tpm, disk_key, exchange, refused};
use super::*;
use crate::Blame;
use crate::peer::Administrator;

#[test]
fn the_keyring_has_a_recovery_slot_and_the_disks_key_goes_to_process_1_alone() {
    let folder = tempfile::tempdir().unwrap();
    let first = box_without_tpm(folder.path());
    let stranger = Administrator {
        uid: 0,
        is_first: false,
    };
    let bootable = vec![1];
    for request in [
        Typed::Create,
        Typed::DiskKey,
        Typed::Seal {
            bootable: bootable.clone(),
        },
        Typed::RaiseFloorOnBox { floor: 1, bootable },
    ] {
        assert_eq!(refused(&first, request, stranger), Reason::NotAllowed);
    }
    assert!(first.open(true).is_err(), "no exchange makes a keyring");
    assert_eq!(refused(&first, Typed::DiskKey, FIRST), Reason::Keyring);
    let Ok(Reply::Recovery(slot, key)) = first.act(Typed::Create, FIRST) else {
        panic!("no keyring");
    };
    assert_eq!(slot.kind, SlotKind::Recovery);
    assert_eq!(refused(&first, Typed::Create, FIRST), Reason::NotAllowed);
    assert_eq!(refused(&first, Typed::Seal { bootable: vec![1] }, FIRST), Reason::Tpm);
    // Typed back before there is an exchange that could note it.
    first.act(Typed::VerifyRecovery(key.clone()), FIRST).unwrap();
    let disk = disk_key(&first);
    drop(first);

    let second = box_without_tpm(folder.path());
    assert_eq!(refused(&second, Typed::Create, FIRST), Reason::NotAllowed);
    let Ok(Reply::Locked { reason, blame, slots }) = second.act(Typed::DiskKey, FIRST) else {
        panic!("not locked");
    };
    assert!(reason.contains("no slot that opens by itself"), "{reason}");
    assert_eq!(blame, Blame::Nobody, "the first keyring has no TPM in it");
    assert!(
        slots
            .iter()
            .all(|slot| slot.kind == SlotKind::Recovery && slot.verified_ms.is_some())
    );
    second.act(Typed::Unlock(key), FIRST).unwrap();
    assert_eq!(disk_key(&second), disk);
}

#[test]
fn a_backups_keyring_is_taken_by_what_opens_it_and_with_another_key_for_the_disk() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let first = box_without_tpm(folder.path());
    let Ok(Reply::Recovery(_, key)) = first.act(Typed::Create, FIRST) else {
        panic!("no keyring");
    };
    let disk = disk_key(&first);
    let (exported, salt) = (first.keyring().unwrap().export_for_backup().unwrap(), [3; 32]);
    let backup_key = first.keyring().unwrap().backup_key(&salt);
    let from = |exported: &[u8], key: &SecretBytes| Typed::CreateFrom {
        exported: exported.to_vec(),
        key: key.clone(),
    };
    assert_eq!(
        Typed::parse(&from(&exported, &key).encode()),
        Ok(from(&exported, &key)),
        "what is sent is what comes"
    );
    assert_eq!(
        refused(&first, from(&exported, &key), FIRST),
        Reason::NotAllowed,
        "it has one"
    );

    let second = box_without_tpm(other.path());
    let stranger = Administrator {
        uid: 0,
        is_first: false,
    };
    assert_eq!(refused(&second, from(&exported, &key), stranger), Reason::NotAllowed);
    let wrong = lamchat_seal::RecoveryKey::generate(&*entropy(9)).text();
    let wrong = SecretBytes::new(wrong.as_bytes().to_vec());
    assert_eq!(refused(&second, from(&exported, &wrong), FIRST), Reason::WrongKey);
    let mut damaged = exported.clone();
    *damaged.last_mut().unwrap() ^= 1;
    refused(&second, from(&damaged, &key), FIRST);
    refused(&second, from(b"no keyring", &key), FIRST);
    // None of that is in the way of the right one.
    let Ok(Reply::Unlocked(SlotKind::Recovery)) = second.act(from(&exported, &key), FIRST) else {
        panic!("it does not open");
    };
    let keyring = second.keyring().unwrap();
    assert_eq!(keyring.backup_key(&salt), backup_key, "the backup is read by it");
    let kinds: Vec<SlotKind> = keyring.slots().iter().map(|slot| slot.kind).collect();
    assert_eq!(kinds, [SlotKind::Recovery], "no slot opens by itself");
    assert_ne!(disk_key(&second), disk);
    drop((keyring, second));

    let again = box_without_tpm(other.path());
    assert!(matches!(again.act(Typed::DiskKey, FIRST), Ok(Reply::Locked { .. })));
    again.act(Typed::Unlock(key), FIRST).unwrap();
    disk_key(&again);
}

#[test]
fn elsewhere_process_1_is_nobody() {
    let house = House::new();
    house.client.open(true).unwrap();
    let refused = ask_typed(&house.folder.path().join(crate::SOCKET), &Typed::DiskKey).unwrap_err();
    assert!(matches!(refused, AskError::Refused(Reason::NotAllowed, _)), "{refused}");
}

#[test]
fn exchanges_come_and_go_and_the_keys_stay_open() {
    let folder = tempfile::tempdir().unwrap();
    let holder = box_without_tpm(folder.path());
    let Ok(Reply::Recovery(_, key)) = holder.act(Typed::Create, FIRST) else {
        panic!("no keyring");
    };
    holder.act(Typed::VerifyRecovery(key.clone()), FIRST).unwrap();
    for turn in 0..2 {
        let exchange = exchange(&holder, folder.path());
        let Opened::Keys { keys, .. } = exchange.client.open(false).unwrap() else {
            panic!("locked");
        };
        assert!(!keys.is_empty());
        exchange.client.ready().unwrap();
        // What was done before there was an exchange is noted by the first.
        let acts: Vec<_> = exchange
            .told
            .lock()
            .iter()
            .map(|notice| (notice.act, notice.state))
            .collect();
        let early = [(Act::VerifyRecovery, State::Begun), (Act::VerifyRecovery, State::Done)];
        assert_eq!(acts, if turn == 0 { early.to_vec() } else { Vec::new() });
        exchange.go(&holder);
    }
}

#[test]
fn an_exchange_that_waits_for_a_key_and_goes_keeps_nobody_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let Ok(Reply::Recovery(_, key)) = box_without_tpm(folder.path()).act(Typed::Create, FIRST) else {
        panic!("no keyring");
    };
    let holder = box_without_tpm(folder.path());
    let first = exchange(&holder, folder.path());
    assert!(matches!(first.client.open(false).unwrap(), Opened::Locked { .. }));
    let waits = Arc::clone(&first.client);
    let waiting = std::thread::spawn(move || waits.await_unlock().is_err());
    std::thread::sleep(std::time::Duration::from_millis(100));
    first.go(&holder);
    assert!(waiting.join().unwrap());
    holder.act(Typed::Unlock(key), FIRST).unwrap();
    let second = exchange(&holder, folder.path());
    assert!(matches!(second.client.open(false).unwrap(), Opened::Keys { .. }));
    second.go(&holder);
}
