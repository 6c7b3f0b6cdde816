//! Data keys: numbered, and released to nobody whom they are not for.

use super::*;

#[test]
fn data_keys_are_numbered_and_stay_readable() {
    let disk = SimulatedDisk::new(0);
    let keyring = create(&disk, &Unlock::File).unwrap();
    let released = keys(&keyring);
    let first = released.data_key(Purpose::Content).unwrap();
    let rotated = keyring.rotate(Purpose::Content).unwrap();
    assert_eq!(released.data_key(Purpose::Content).unwrap().number, 1);
    released.add(rotated);
    let second = released.data_key(Purpose::Content).unwrap();
    assert_eq!((first.number, second.number), (1, 2));
    let again = keys(&open(&disk, &Unlock::File).unwrap());
    assert_eq!(again.data_key(Purpose::Content).unwrap().key, second.key);
    assert_eq!(again.data_key_numbered(Purpose::Content, 1).unwrap(), first.key);
    assert!(matches!(
        again.data_key_numbered(Purpose::Content, 3),
        Err(KeyringError::Unknown { number: 3 })
    ));
}

#[test]
fn the_key_of_the_disk_is_made_once_and_is_in_no_release_and_no_backup() {
    let disk = SimulatedDisk::new(1);
    let keyring = create(&disk, &passphrase("open sesame")).unwrap();
    let key = keyring.disk_key().unwrap();
    assert_eq!(keyring.disk_key().unwrap(), key);
    let again = open(&disk, &passphrase("open sesame")).unwrap();
    assert_eq!(again.disk_key().unwrap(), key, "durable");
    let released = again.release().unwrap();
    assert!(
        released
            .iter()
            .all(|released| !format!("{released:?}").contains("Disk"))
    );
    assert!(!released.iter().any(|released| matches!(
        released,
        ReleasedKey::Database { key: database, .. } if *database == key
    )));
    let backup = BackupKeyring::open(&again.export_for_backup().unwrap(), &passphrase("open sesame")).unwrap();
    let other = SimulatedDisk::new(2);
    let restored = backup
        .install_on(
            Arc::new(other),
            Path::new(DIR),
            false,
            Arc::new(Counting(AtomicU8::new(99))),
        )
        .unwrap();
    assert_ne!(restored.disk_key().unwrap(), key);
}
