//! The bootable image: process 1 makes the keyring and gets the disk's key, and exchanges come and go.

use super::*;
use crate::peer::Administrator;
use crate::run::attend;
use crate::{Blame, Post, Typed};
use lamchat_base::{Secret, SecretBytes};
use lamchat_tpm::{Address, PcrSelection};

const FIRST: Administrator = Administrator { uid: 0, is_first: true };

fn holder(folder: &Path) -> Arc<Holder> {
    holder_with(folder, Tpm::none("this is a test", &[7], None))
}

fn holder_with(folder: &Path, tpm: Tpm) -> Arc<Holder> {
    let setup = Setup {
        dir: folder.to_owned(),
        disk: RealDisk::shared(),
        on_box: true,
        passphrase: None,
        tpm,
        attester: Ok(attester()),
        exchange_dir: folder.join("exchange"),
        cost: PassphraseCost::MINIMUM,
        clock: Arc::new(ManualClock::new(1_000_000)),
        entropy: entropy(7),
    };
    Arc::new(Holder::new(setup, Notices::unattached(), "on threads".to_owned()))
}

fn refused(holder: &Holder, request: Typed, who: Administrator) -> Reason {
    match holder.act(request, who) {
        Err(refusal) => refusal.0,
        Ok(reply) => panic!("{reply:?}"),
    }
}

fn disk_key(holder: &Holder) -> Secret<64> {
    match holder.act(Typed::DiskKey, FIRST) {
        Ok(Reply::Disk(key)) => key,
        other => panic!("{other:?}"),
    }
}

/// An exchange: its way to the holder, and what it was told.
pub(super) struct Exchange {
    pub(super) client: Arc<Client>,
    notices: UnixStream,
    attending: JoinHandle<()>,
    told: Arc<Mutex<Vec<Notice>>>,
}

impl Exchange {
    /// It goes, as the end of its process does it.
    pub(super) fn go(self, holder: &Holder) {
        self.client.close();
        self.notices.shutdown(std::net::Shutdown::Both).unwrap();
        self.attending.join().unwrap();
        holder.notices.detach();
    }
}

pub(super) fn exchange(holder: &Arc<Holder>, folder: &Path) -> Exchange {
    let ((ours, theirs), (notices, told_of)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    let post = Post {
        data_dir: folder.to_owned(),
        keys_dir: folder.to_owned(),
        exchange_uid: None,
        needs_network: false,
    };
    let shared = Arc::clone(holder);
    let attending = std::thread::spawn(move || {
        // What it says at the end is for the log.
        let _ended = attend(theirs, notices, (&post, Network::Open), &shared);
    });
    let told = Arc::new(Mutex::new(Vec::new()));
    let known = Arc::clone(&told);
    let end = told_of.try_clone().unwrap();
    std::thread::spawn(move || {
        listen(told_of, |notice| {
            known.lock().push(*notice);
            Ok(())
        })
    });
    Exchange {
        client: Arc::new(Client::new(ours).unwrap()),
        notices: end,
        attending,
        told,
    }
}

#[test]
fn the_keyring_has_a_recovery_slot_and_the_disks_key_goes_to_process_1_alone() {
    let folder = tempfile::tempdir().unwrap();
    let first = holder(folder.path());
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

    let second = holder(folder.path());
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
    let first = holder(folder.path());
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

    let second = holder(other.path());
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

    let again = holder(other.path());
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
    let holder = holder(folder.path());
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
    let Ok(Reply::Recovery(_, key)) = holder(folder.path()).act(Typed::Create, FIRST) else {
        panic!("no keyring");
    };
    let holder = holder(folder.path());
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

#[test]
fn what_the_box_may_start_is_not_the_exchanges_to_say() {
    let folder = tempfile::tempdir().unwrap();
    let holder = holder(folder.path());
    holder.act(Typed::Create, FIRST).unwrap();
    let exchange = exchange(&holder, folder.path());
    assert!(matches!(exchange.client.open(false).unwrap(), Opened::Keys { .. }));
    exchange.client.ready().unwrap();
    let refusals = [
        exchange.client.raise_floor(2, &[2], true).unwrap_err(),
        exchange.client.add_tpm(true).unwrap_err(),
    ];
    for refused in refusals {
        assert!(
            matches!(&refused, AskError::Refused(Reason::NotAllowed, why) if why.contains("process 1")),
            "{refused}"
        );
    }
    let pin = || SecretBytes::new(b"1234".to_vec());
    let (floor, bootable) = (2, vec![2]);
    for request in [
        Typed::RaiseFloor {
            floor,
            bootable: bootable.clone(),
            force: true,
            pin: pin(),
        },
        Typed::AddTpm {
            force: true,
            pin: pin(),
        },
    ] {
        assert_eq!(refused(&holder, request, FIRST), Reason::NotAllowed);
    }
    // Process 1 is listened to, and there is no TPM.
    let request = Typed::RaiseFloorOnBox { floor, bootable };
    assert_eq!(refused(&holder, request, FIRST), Reason::Tpm);
    assert!(exchange.told.lock().is_empty(), "what is refused anyway is not noted");
    exchange.go(&holder);
}

/// The TPM is not even asked: there is none at this address.
#[test]
fn nobody_seals_a_boxs_keys_without_secure_boot() {
    for secure_boot in [Some(false), None] {
        let folder = tempfile::tempdir().unwrap();
        let (address, pcrs) = (
            Address::Tcp(([127, 0, 0, 1], 1).into()),
            PcrSelection::new(&[7]).unwrap(),
        );
        let tpm = Tpm::at(address, pcrs, false, secure_boot, None, entropy(8));
        let holder = holder_with(folder.path(), tpm);
        holder.act(Typed::Create, FIRST).unwrap();
        let exchange = exchange(&holder, folder.path());
        assert!(matches!(exchange.client.open(false).unwrap(), Opened::Keys { .. }));
        exchange.client.ready().unwrap();
        let refused = exchange.client.rebind(2, true).unwrap_err();
        assert!(
            matches!(&refused, AskError::Refused(Reason::NotAllowed, why) if why.contains("never sealed without")),
            "{refused}"
        );
        let bootable = vec![2];
        for request in [
            Typed::RaiseFloorOnBox {
                floor: 2,
                bootable: bootable.clone(),
            },
            Typed::Seal { bootable },
        ] {
            assert!(matches!(holder.act(request, FIRST), Err(refusal) if refusal.1.contains("never sealed without")));
        }
        assert!(exchange.told.lock().is_empty(), "what is refused anyway is not noted");
        exchange.go(&holder);
    }
}

#[test]
fn a_floor_outlives_the_slot_that_had_it() {
    let folder = tempfile::tempdir().unwrap();
    let holder = holder(folder.path());
    holder.act(Typed::Create, FIRST).unwrap();
    let keyring = holder.keyring().unwrap();
    assert_eq!(holder.floor(&keyring).unwrap(), None);
    holder.keep_floor(&keyring).unwrap();
    assert_eq!(keyring.own("floor").unwrap(), None, "there is none to keep");
    let keep = |bytes: &[u8]| keyring.keep_own("floor", &SecretBytes::new(bytes.to_vec()));
    keep(&5u64.to_be_bytes()).unwrap();
    assert_eq!(holder.floor(&keyring).unwrap(), Some(5));
    holder.keep_floor(&keyring).unwrap();
    assert_eq!(holder.floor(&keyring).unwrap(), Some(5));
    // Nor does it go with its record, whoever deletes that or puts an older one back.
    keyring.forget_own("floor").unwrap();
    assert_eq!(holder.floor(&keyring).unwrap(), Some(5));
    keep(&4u64.to_be_bytes()).unwrap();
    assert_eq!(holder.floor(&keyring).unwrap(), Some(5));
    keyring.keep_floor(3).unwrap();
    assert_eq!(keyring.floor().unwrap(), Some(5));
    keep(b"5").unwrap();
    assert_eq!(holder.floor(&keyring).unwrap_err().0, Reason::Keyring);
}

#[test]
fn what_is_erased_gives_no_key_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let holder = holder(folder.path());
    // Nothing to erase is no failure: the power may have gone after the last step.
    assert!(matches!(holder.act(Typed::Erase, FIRST), Ok(Reply::Done)));

    let holder = self::holder(folder.path());
    let Ok(Reply::Recovery(_, key)) = holder.act(Typed::Create, FIRST) else {
        panic!("no keyring");
    };
    disk_key(&holder);
    let other = Administrator {
        is_first: false,
        ..FIRST
    };
    assert_eq!(refused(&holder, Typed::Erase, other), Reason::NotAllowed);
    disk_key(&holder);
    assert!(matches!(holder.act(Typed::Erase, FIRST), Ok(Reply::Done)));
    assert!(matches!(holder.act(Typed::DiskKey, FIRST), Ok(Reply::Locked { .. })));
    assert_eq!(refused(&holder, Typed::AddRecovery, FIRST), Reason::NotNow);
    drop(key);
}
