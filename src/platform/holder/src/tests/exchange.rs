//! What the exchange asks for and gets: data keys, slots, a backup, and no evidence without a TPM.

use super::*;

#[test]
fn the_exchange_gets_data_keys_and_changes_slots() {
    let house = House::new();
    let early = house.type_in(&Typed::AddPassphrase(typed("long enough now")));
    assert_eq!(refused(early), Reason::NotNow);
    let keys = house.keys();
    assert_eq!(keys.len(), 4);
    assert!(matches!(keys[0], ReleasedKey::Database { number: 1, .. }));
    let rotated = house.client.rotate(Purpose::Media).unwrap();
    assert!(matches!(
        rotated,
        ReleasedKey::Data {
            purpose: Purpose::Media,
            number: 2,
            ..
        }
    ));
    assert_eq!(refused(house.client.export_for_backup()), Reason::NoPortableSlot);
    assert_eq!(refused(house.client.remove(1)), Reason::NotAllowed);
    assert_eq!(refused(house.client.remove(7)), Reason::UnknownSlot);
    assert_eq!(refused(house.client.add_tpm(true)), Reason::Tpm);
    assert_eq!(refused(house.client.rebind(1, false)), Reason::Tpm);
    // What people type waits until the exchange takes notices.
    assert_eq!(refused(house.type_in(&Typed::AddRecovery)), Reason::NotNow);
    house.client.ready().unwrap();
    house.type_in(&Typed::AddPassphrase(typed("long enough now"))).unwrap();
    assert_eq!(refused(house.client.remove(1)), Reason::NotAllowed, "the file slot");
    house.without_file_slot("long enough now");
    let status = house.client.status().unwrap();
    assert_eq!((status.slots[0].kind, status.former_keys), (SlotKind::Passphrase, true));
    house.client.forget_former().unwrap();
    assert!(!house.client.status().unwrap().former_keys);
    let exported = house.client.export_for_backup().unwrap();
    let unlock = Unlock::Passphrase(typed("long enough now"));
    let backup = lamchat_seal::BackupKeyring::open(&exported, &unlock).unwrap();
    assert_eq!(house.client.backup_key(&[7; 32]).unwrap(), backup.backup_key(&[7; 32]));
    house.leave();
}

#[test]
fn without_a_tpm_there_is_no_evidence_and_a_reason() {
    let house = House::new();
    house.keys();
    let Request::Evidence {
        nonce,
        origin,
        statement,
        sealed,
    } = evidence()
    else {
        panic!()
    };
    for refused in [
        house.client.evidence(nonce, &origin, statement, sealed),
        house.client.enrolment_request(),
        house.client.activate(b"challenge"),
    ] {
        let AskError::Refused(Reason::Tpm, sentence) = refused.unwrap_err() else {
            panic!()
        };
        assert!(sentence.contains("this is a test"), "{sentence}");
    }
    house.leave();
}
