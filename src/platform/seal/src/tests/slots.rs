//! Slots: what opens a keyring, what does not, and what is said of either.

use super::*;

#[test]
fn a_keyring_opens_by_each_of_its_slots_and_by_nothing_else() {
    let disk = SimulatedDisk::new(0);
    let keyring = create(&disk, &Unlock::File).unwrap();
    assert!(matches!(create(&disk, &Unlock::File), Err(CreateError::Exists(_))));
    assert!(matches!(
        open(&disk, &passphrase("x")),
        Err(OpenError::NoSlot(SlotKind::Passphrase))
    ));
    assert!(matches!(keyring.export_for_backup(), Err(ExportError::NoPortableSlot)));
    assert!(keyring.status().sentence.starts_with("keys are not hardware-sealed"));
    assert!(matches!(
        keyring.add_slot(&Unlock::File, PassphraseCost::MINIMUM),
        Err(SlotError::FileSlotExists)
    ));
    assert!(matches!(
        keyring.add_slot(&passphrase(""), PassphraseCost::MINIMUM),
        Err(SlotError::Passphrase)
    ));
    assert!(matches!(keyring.remove_slot(1), Err(SlotError::Last)));
    for text in ["correct horse", "battery staple"] {
        keyring.add_slot(&passphrase(text), PassphraseCost::MINIMUM).unwrap();
    }
    for unlock in [Unlock::File, passphrase("correct horse"), passphrase("battery staple")] {
        assert!(same_keys(&keyring, &open(&disk, &unlock).unwrap()));
    }
    assert!(matches!(
        open(&disk, &passphrase("correct house")),
        Err(OpenError::WrongPassphrase)
    ));
    assert!(matches!(keyring.remove_slot(9), Err(SlotError::Unknown(9))));
    keyring.remove_slot(1).unwrap();
    keyring.remove_slot(3).unwrap();
    assert!(contents(&disk, "/data/keyring.key").is_err());
    assert!(matches!(
        open(&disk, &Unlock::File),
        Err(OpenError::NoSlot(SlotKind::File))
    ));
    assert!(matches!(
        open(&disk, &passphrase("battery staple")),
        Err(OpenError::WrongPassphrase)
    ));
    let again = open(&disk, &passphrase("correct horse")).unwrap();
    assert!(same_keys(&keyring, &again));
    assert_eq!(again.slots().len(), 1);
    assert_eq!(format!("{again:?}"), "Keyring { dir: \"/data\", .. }");
}

#[test]
fn a_recovery_key_opens_and_is_noted_as_verified() {
    let disk = SimulatedDisk::new(0);
    let keyring = create(&disk, &Unlock::File).unwrap();
    assert_eq!(version(&disk), 1, "older programs open what they understand");
    let [key, other] = [(); 2].map(|()| RecoveryKey::generate(&*keyring.entropy));
    assert!(matches!(
        keyring.verify_recovery(&key, 5),
        Err(VerifyRecoveryError::Open(OpenError::NoSlot(SlotKind::Recovery)))
    ));
    let slot = keyring
        .add_slot(&Unlock::Recovery(key.clone()), PassphraseCost::MINIMUM)
        .unwrap();
    assert_eq!((slot.kind, slot.verified_ms), (SlotKind::Recovery, None));
    assert_eq!(version(&disk), 2);
    assert!(matches!(
        open(&disk, &Unlock::Recovery(other.clone())),
        Err(OpenError::WrongRecoveryKey)
    ));
    assert!(matches!(
        keyring.verify_recovery(&other, 5),
        Err(VerifyRecoveryError::Open(OpenError::WrongRecoveryKey))
    ));
    assert!(same_keys(
        &keyring,
        &open(&disk, &Unlock::Recovery(key.clone())).unwrap()
    ));
    disk.fail_syncs("keyring", 1);
    assert!(matches!(
        keyring.verify_recovery(&key, 5),
        Err(VerifyRecoveryError::Io(_))
    ));
    assert_eq!(keyring.slots()[1].verified_ms, None);
    keyring.verify_recovery(&key, 5).unwrap();
    // Durable, and the key still opens.
    disk.cut_power();
    let disk = disk.power_on();
    let again = open(&disk, &Unlock::Recovery(key.clone())).unwrap();
    assert_eq!(again.slots()[1].verified_ms, Some(5));
    assert!(same_keys(&keyring, &again));
    // A backup carries the slot.
    let exported = keyring.export_for_backup().unwrap();
    assert!(BackupKeyring::open(&exported, &Unlock::Recovery(other)).is_err());
    let restored = SimulatedDisk::new(0);
    BackupKeyring::open(&exported, &Unlock::Recovery(key.clone()))
        .unwrap()
        .install_on(Arc::new(restored.clone()), Path::new(DIR), false, entropy())
        .unwrap();
    assert!(open(&restored, &Unlock::Recovery(key)).is_ok());
    again.remove_slot(2).unwrap();
    assert_eq!(version(&disk), 1);
}

#[test]
fn a_tpm_slot_opens_by_its_sealer_and_is_bound_anew() {
    let disk = SimulatedDisk::new(0);
    let tpm = Arc::new(PretendTpm::default());
    let unlock = Unlock::Tpm(tpm.clone());
    let keyring = create(&disk, &Unlock::File).unwrap();
    assert!(matches!(open(&disk, &unlock), Err(OpenError::NoSlot(SlotKind::Tpm))));
    let slot = keyring.add_slot(&unlock, PassphraseCost::MINIMUM).unwrap();
    assert!(!keyring.status().hardware_sealed, "the file slot undoes it");
    assert!(keyring.export_for_backup().is_err(), "a backup holds no tpm slot");
    keyring.add_slot(&passphrase("p"), PassphraseCost::MINIMUM).unwrap();
    keyring.remove_slot(1).unwrap();
    assert!(keyring.status().hardware_sealed);
    assert!(same_keys(&keyring, &open(&disk, &unlock).unwrap()));
    // The policy refuses; another way in stays, and binds the slot anew.
    tpm.refusing.store(true, Ordering::Relaxed);
    let Err(OpenError::Sealer(refusal)) = open(&disk, &unlock) else {
        panic!("opened against the policy");
    };
    assert_eq!(
        (refusal.reason, refusal.to_string().as_str()),
        (SealerReason::Refused, "PCR 7 changed")
    );
    let by_hand = open(&disk, &passphrase("p")).unwrap();
    assert!(matches!(by_hand.rebind(3, &*tpm), Err(SlotError::NotTpm { id: 3, .. })));
    assert!(matches!(by_hand.rebind(9, &*tpm), Err(SlotError::Unknown(9))));
    disk.fail_syncs("keyring", 1);
    let before = by_hand.blobs();
    assert!(by_hand.rebind(slot.id, &*tpm).is_err());
    assert_eq!(by_hand.blobs(), before, "nothing goes before its successor is durable");
    by_hand.rebind(slot.id, &*tpm).unwrap();
    assert_ne!(by_hand.blobs(), before);
    assert_eq!(by_hand.blobs().iter().map(|(id, _)| *id).collect::<Vec<_>>(), [slot.id]);
    tpm.refusing.store(false, Ordering::Relaxed);
    assert!(same_keys(&keyring, &open(&disk, &unlock).unwrap()));
    let exported = by_hand.export_for_backup().unwrap();
    let portable = crate::format::parse_copy(&exported).unwrap().ring.slots;
    assert!(portable.iter().all(|slot| slot.lock.kind().is_portable()));
}
