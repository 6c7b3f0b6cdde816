//! Another master key: nothing in common with a copy from before, and whole after a power cut.

use super::*;

#[test]
fn a_renewed_keyring_shares_nothing_with_a_copy_from_before() {
    let disk = SimulatedDisk::new(0);
    let exchange = |keyring: &Keyring| keyring.data_keys(Path::new("/exchange")).unwrap();
    let keyring = create(&disk, &Unlock::File).unwrap();
    let tpm = Arc::new(PretendTpm::default());
    let key = RecoveryKey::generate(&*keyring.entropy);
    let add = |unlock: &Unlock| keyring.add_slot(unlock, PassphraseCost::MINIMUM).unwrap().id;
    assert!(matches!(keyring.renew(1, &[], 7), Err(RenewError::Alone)));
    let recovery = add(&Unlock::Recovery(key.clone()));
    let phrase = add(&passphrase("p"));
    let sealed = add(&Unlock::Tpm(tpm.clone()));
    keyring
        .keep_own("audit-key", &SecretBytes::new(b"own".to_vec()))
        .unwrap();
    exchange(&keyring)
        .seal_secret("tls", &SecretBytes::new(b"theirs".to_vec()))
        .unwrap();
    let stolen = disk.files();
    let typed = |word: &str| SecretBytes::new(word.as_bytes().to_vec());
    let all = |word: &str| {
        vec![
            (recovery, SlotKey::Recovery(key.clone())),
            (phrase, SlotKey::Passphrase(typed(word))),
            (sealed, SlotKey::Tpm(tpm.clone())),
        ]
    };
    assert!(matches!(
        keyring.renew(phrase, &all("p"), 7),
        Err(RenewError::NotFile(_))
    ));
    let without = &all("p")[..2];
    assert!(matches!(keyring.renew(1, without, 7), Err(RenewError::Missing { id, .. }) if id == sealed));
    let wrong = keyring.renew(1, &all("q"), 7);
    assert!(matches!(
        wrong,
        Err(RenewError::Slot {
            source: OpenError::WrongPassphrase,
            ..
        })
    ));
    assert_eq!(disk.files(), stolen, "a refusal changes nothing");
    let renewed = keyring.renew(1, &all("p"), 7).unwrap();
    assert!(renewed.has_former());
    // Whoever still has the one of before does not bring it back.
    let written = contents(&disk, "/data/keyring").unwrap();
    assert!(matches!(keyring.remove_slot(phrase), Err(SlotError::Io(_))));
    assert!(keyring.rotate(Purpose::Media).is_err());
    assert_eq!(contents(&disk, "/data/keyring").unwrap(), written);
    assert_ne!(renewed.master, keyring.master);
    assert_eq!(renewed.slots().iter().find_map(|slot| slot.verified_ms), Some(7));
    assert!(!disk.files().iter().any(|(path, _)| path.ends_with("keyring.key")));
    for unlock in [Unlock::Recovery(key), passphrase("p"), Unlock::Tpm(tpm)] {
        assert!(same_keys(&renewed, &open(&disk, &unlock).unwrap()));
    }
    // What was sealed before is there, and then under the new keys alone.
    let released = exchange(&renewed);
    assert_eq!(
        released.former_database_keys(),
        [exchange(&keyring).database_key().unwrap()]
    );
    assert_ne!(
        released.database_key().unwrap(),
        exchange(&keyring).database_key().unwrap()
    );
    released.reseal_secrets().unwrap();
    renewed.forget_former().unwrap();
    assert!(!renewed.has_former());
    let released = exchange(&renewed);
    assert!(released.former_database_keys().is_empty());
    assert_eq!(released.unseal_secret("tls").unwrap().unwrap().expose(), b"theirs");
    assert_eq!(renewed.own("audit-key").unwrap().unwrap().expose(), b"own");
    assert!(keyring.own("audit-key").is_err() && exchange(&keyring).unseal_secret("tls").is_err());
    // Files that media wrote stay readable: their rows name the number.
    assert_eq!(
        released.data_key_numbered(Purpose::Media, 1).unwrap(),
        exchange(&keyring).data_key_numbered(Purpose::Media, 1).unwrap()
    );
    let ring = crate::format::parse_file(&contents(&disk, "/data/keyring").unwrap()).unwrap();
    assert!(!ring.is_authentic(&crate::keyring::mac_key(&keyring.master)));
}

#[test]
fn a_power_cut_leaves_the_old_keyring_or_the_renewed_one() {
    let (mut old, mut new) = (0, 0);
    for round in 0..200 {
        let disk = SimulatedDisk::new(round);
        let keyring = create(&disk, &Unlock::File).unwrap();
        let key = RecoveryKey::generate(&*keyring.entropy);
        keyring
            .add_slot(&Unlock::Recovery(key.clone()), PassphraseCost::MINIMUM)
            .unwrap();
        disk.cut_power_after(round % 14);
        let renewed = keyring.renew(1, &[(2, SlotKey::Recovery(key.clone()))], 7);
        let done = renewed.is_ok() && !disk.is_off();
        let disk = disk.power_on();
        let found = open(&disk, &Unlock::Recovery(key)).unwrap();
        if found.slots().len() == 2 {
            old += 1;
            assert!(!done && found.master == keyring.master);
            assert!(same_keys(&found, &open(&disk, &Unlock::File).unwrap()));
        } else {
            new += 1;
            assert!(found.master != keyring.master && found.has_former());
            // What is left of the wrapping key wraps nothing, and is gone once the keyring is opened.
            assert!(
                !disk
                    .files()
                    .iter()
                    .any(|(path, _)| path.to_string_lossy().contains("keyring.key"))
            );
        }
    }
    assert!(old > 10 && new > 10, "{old} {new}");
}
