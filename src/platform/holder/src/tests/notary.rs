//! The log's heads: signed as long as they continue each other, and another log by hand alone.

use super::*;

#[test]
fn heads_are_signed_as_long_as_they_continue_each_other() {
    let house = House::new();
    assert!(house.client.identity("example.org/audit/1").is_err(), "no keys yet");
    house.keys();
    let identity = house.client.identity("example.org/audit/1").unwrap();
    assert_eq!((identity.kind.as_str(), identity.signed), ("software key", 0));
    let head = |size, root| Checkpoint {
        origin: "example.org/audit/1".to_owned(),
        size,
        root: [root; 32],
    };
    let note = house.client.sign(&head(1, 1), &[]).unwrap();
    assert!(identity.key.check(&note).unwrap().is_some());
    let forked = house.client.sign(&head(1, 2), &[]).unwrap_err();
    assert!(matches!(forked, NotarizeError::Signer(_)), "{forked:?}");
    assert!(forked.to_string().contains("not the continuation"), "{forked}");
    // Another holder of the same keyring remembers.
    let house = House::with(house.leave(), None);
    house.keys();
    let again = house.client.identity("example.org/audit/1").unwrap();
    assert_eq!((again.key, again.signed), (identity.key, 1));
    assert!(house.client.sign(&head(1, 2), &[]).is_err());
    house.leave();
}

#[test]
fn another_log_begins_only_by_hand_and_only_once() {
    let house = House::new();
    house.keys();
    let head = |log: u32| Checkpoint {
        origin: format!("example.org/audit/{log}"),
        size: 1,
        root: [1; 32],
    };
    let is_refused = |house: &House, log| {
        let refused = house.client.sign(&head(log), &[]);
        refused.is_err_and(|error| error.to_string().contains("the database was exchanged"))
    };
    house.client.sign(&head(1), &[]).unwrap();
    assert!((2..300).all(|log| is_refused(&house, log)));
    // Nor does evidence speak of another log than the one that is signed.
    let Request::Evidence { nonce, statement, .. } = evidence() else {
        panic!()
    };
    let other = house
        .client
        .evidence(nonce, "example.org/audit/2", statement, Vec::new());
    assert!(matches!(other, Err(AskError::Refused(Reason::Fork, _))), "{other:?}");
    house.client.ready().unwrap();
    let passphrase = "correct horse battery";
    house.type_in(&Typed::AddPassphrase(typed(passphrase))).unwrap();
    house.without_file_slot(passphrase);
    assert!(is_refused(&house, 2), "a new master key changes nothing");

    // The owner opens the keys, and the log goes on before anybody asks for another one.
    let by_hand = |house: House| {
        let house = House::with(house.leave(), None);
        assert!(matches!(house.client.open(true).unwrap(), Opened::Locked { .. }));
        house.type_in(&Typed::Unlock(typed(passphrase))).unwrap();
        house
    };
    // And says that this disk is the one, because the start asks.
    let says_so = |house: &House| {
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| house.client.await_hand(true));
            while house.type_in(&Typed::Unlock(typed(passphrase))).is_err() {
                std::thread::sleep(Duration::from_millis(5));
            }
            waiting.join().unwrap().unwrap();
        });
    };
    let house = by_hand(house);
    house.client.sign(&head(1), &[]).unwrap();
    says_so(&house);
    assert!(is_refused(&house, 2));
    // Or by the owner's word about something else, after which asking again is of no use.
    let house = by_hand(house);
    house.client.await_hand(false).unwrap();
    says_so(&house);
    assert!(is_refused(&house, 2));
    // Or for a disk that was put back; what was allowed survives a power cut.
    let house = by_hand(house);
    assert!(is_refused(&house, 2));
    says_so(&house);
    let house = House::with(house.leave(), Some(passphrase));
    house.keys();
    house.client.sign(&head(2), &[]).unwrap();
    assert!(is_refused(&house, 1) && is_refused(&house, 3));
    let house = by_hand(house);
    says_so(&house);
    house.client.sign(&head(3), &[]).unwrap();
    house.client.await_hand(true).unwrap();
    assert!(is_refused(&house, 4));
    house.leave();
}
