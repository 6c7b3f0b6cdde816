//! What people type: told before and after it is done, by nobody who is the exchange, and slowed down.

use super::*;

#[test]
fn what_is_typed_is_told_before_and_after_it_is_done() {
    use State::{Begun, Done, Failed};
    let house = House::new();
    house.keys();
    house.client.ready().unwrap();
    let Reply::Recovery(slot, key) = house.type_in(&Typed::AddRecovery).unwrap() else {
        panic!("no key")
    };
    assert_eq!(slot.kind, SlotKind::Recovery);
    assert_eq!(house.acts(), [(Act::AddSlot, Begun), (Act::AddSlot, Done)]);
    let other = RecoveryKey::generate(&*entropy(77));
    let wrong = house.type_in(&Typed::VerifyRecovery(typed(&other.text())));
    assert_eq!(refused(wrong), Reason::WrongKey);
    assert_eq!(
        house.acts(),
        [(Act::VerifyRecovery, Begun), (Act::VerifyRecovery, Failed)]
    );
    // Slowed down, and typing errors cost nothing: neither is an act.
    let slowed = house.type_in(&Typed::VerifyRecovery(key.clone()));
    assert_eq!(refused(slowed), Reason::Slowed);
    let typo = house.type_in(&Typed::VerifyRecovery(typed("000012 005157")));
    assert_eq!(refused(typo), Reason::NotAllowed);
    assert_eq!(house.acts(), []);
    house.clock.advance_ms(1_100);
    let Reply::Slot(verified) = house.type_in(&Typed::VerifyRecovery(key)).unwrap() else {
        panic!("no slot")
    };
    assert_eq!((verified.id, verified.verified_ms), (slot.id, Some(1_001_100)));
    house.acts();
    // What cannot be noted is not done.
    *house.notes.lock() = false;
    let passphrase = Typed::AddPassphrase(typed("long enough now"));
    assert_eq!(refused(house.type_in(&passphrase)), Reason::NotNoted);
    assert_eq!(house.acts(), [(Act::AddSlot, Begun)]);
    house.client.forget_status();
    assert_eq!(house.client.status().unwrap().slots.len(), 2);
    for text in ["short", "000012 005157 010293 015432 020572 025710 030853 035993"] {
        assert_eq!(
            refused(house.type_in(&Typed::AddPassphrase(typed(text)))),
            Reason::NotAllowed
        );
    }
    let open = house.type_in(&Typed::Unlock(typed("anything")));
    assert_eq!(refused(open), Reason::NotAllowed);
    house.leave();
}

#[test]
fn the_exchange_is_nobody_who_types() {
    let own = std::process::id().try_into().unwrap();
    let house = House::of(tempfile::tempdir().unwrap(), None, own);
    house.keys();
    house.client.ready().unwrap();
    assert!(matches!(house.type_in(&Typed::AddRecovery), Err(AskError::Frame(_))));
    assert_eq!(house.acts(), []);
    house.leave();
}

#[test]
fn locked_keys_are_opened_by_hand_and_the_exchange_learns_of_it_later() {
    let house = House::new();
    house.keys();
    house.client.ready().unwrap();
    house.type_in(&Typed::AddPassphrase(typed("long enough now"))).unwrap();
    house.without_file_slot("long enough now");
    let house = House::with(house.leave(), None);
    let Opened::Locked { reason, slots, .. } = house.client.open(false).unwrap() else {
        panic!("open")
    };
    assert!(reason.contains("no slot that opens by itself"), "{reason}");
    assert_eq!(slots.len(), 1);
    assert_eq!(house.client.status().unwrap().slots, slots);
    assert_eq!(refused(house.client.rotate(Purpose::Media)), Reason::NotNow);
    let wrong = house.type_in(&Typed::Unlock(typed("something else")));
    assert_eq!(refused(wrong), Reason::WrongKey);
    let slowed = house.type_in(&Typed::Unlock(typed("long enough now")));
    assert_eq!(refused(slowed), Reason::Slowed);
    house.clock.advance_ms(1_100);
    let opened = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| house.client.await_unlock());
        let unlocked = house.type_in(&Typed::Unlock(typed("long enough now"))).unwrap();
        assert_eq!(unlocked, Reply::Unlocked(SlotKind::Passphrase));
        waiting.join().unwrap().unwrap()
    });
    assert!(matches!(
        opened,
        Opened::Keys {
            by: SlotKind::Passphrase,
            ..
        }
    ));
    assert_eq!(house.acts(), []);
    // What cannot be noted yet goes before whatever comes next.
    *house.notes.lock() = false;
    house.client.ready().unwrap();
    assert_eq!(house.acts(), [(Act::Unlock, State::Failed)]);
    *house.notes.lock() = true;
    house.type_in(&Typed::AddRecovery).unwrap();
    let told = [
        (Act::Unlock, State::Failed),
        (Act::Unlock, State::Done),
        (Act::AddSlot, State::Begun),
        (Act::AddSlot, State::Done),
    ];
    assert_eq!(house.acts(), told);
    // A wrong passphrase file is a mistake, and ends the start.
    let house = House::with(house.leave(), Some("something else"));
    assert_eq!(refused(house.client.open(false)), Reason::WrongKey);
    let house = House::with(house.leave(), Some("long enough now"));
    assert_eq!(
        house.keys().len(),
        8,
        "the former ones until everything is encrypted anew"
    );
    let folder = house.leave();
    std::fs::remove_file(folder.path().join("keyring")).unwrap();
    let house = House::with(folder, None);
    assert_eq!(refused(house.client.open(false)), Reason::Keyring);
    house.leave();
}
