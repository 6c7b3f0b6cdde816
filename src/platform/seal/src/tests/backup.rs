//! What a backup carries of a keyring, and what is made of it elsewhere.

use super::*;

#[test]
fn a_backup_carries_passphrase_slots_only() {
    let disk = SimulatedDisk::new(0);
    let keyring = create(&disk, &Unlock::File).unwrap();
    keyring.add_slot(&passphrase("p"), PassphraseCost::MINIMUM).unwrap();
    let exported = keyring.export_for_backup().unwrap();
    assert!(matches!(
        BackupKeyring::open(&exported, &passphrase("q")),
        Err(ImportError::Unlock(_))
    ));
    assert!(matches!(
        BackupKeyring::open(&exported, &Unlock::File),
        Err(ImportError::Unlock(_))
    ));
    let mut bad = exported.clone();
    bad[60] ^= 1;
    assert!(matches!(
        BackupKeyring::open(&bad, &passphrase("p")),
        Err(ImportError::Format(_))
    ));
    let opened = BackupKeyring::open(&exported, &passphrase("p")).unwrap();
    assert_eq!(opened.backup_key(&[3; 32]), keyring.backup_key(&[3; 32]));
    assert_ne!(opened.backup_key(&[3; 32]), keyring.backup_key(&[4; 32]));
    let other = SimulatedDisk::new(0);
    let installed = opened
        .install_on(Arc::new(other.clone()), Path::new(DIR), true, entropy())
        .unwrap();
    let (new, old) = (keys(&installed), keys(&keyring));
    assert_ne!(new.database_key().unwrap(), old.database_key().unwrap());
    let media = |keys: &DataKeys| keys.data_key(Purpose::Media).unwrap().key;
    assert_eq!(media(&new), media(&old));
    for unlock in [Unlock::File, passphrase("p")] {
        assert!(same_keys(&installed, &open(&other, &unlock).unwrap()));
    }
    let again = BackupKeyring::open(&exported, &passphrase("p")).unwrap();
    let refused = again.install_on(Arc::new(disk), Path::new(DIR), false, entropy());
    assert!(matches!(refused, Err(CreateError::Exists(_))));
}
