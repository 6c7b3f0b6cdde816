//! What a box's keys are sealed to, which is nobody's to say but process 1's, and what is left once they are erased.

use super::boxes::{FIRST, box_with, box_without_tpm, disk_key, exchange, refused};
use super::*;
use crate::peer::Administrator;
use lamchat_tpm::{Address, PcrSelection};

#[test]
fn what_the_box_may_start_is_not_the_exchanges_to_say() {
    let folder = tempfile::tempdir().unwrap();
    let holder = box_without_tpm(folder.path());
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
        let holder = box_with(folder.path(), tpm);
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
    let holder = box_without_tpm(folder.path());
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
    let holder = box_without_tpm(folder.path());
    // Nothing to erase is no failure: the power may have gone after the last step.
    assert!(matches!(holder.act(Typed::Erase, FIRST), Ok(Reply::Done)));

    let holder = box_without_tpm(folder.path());
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
