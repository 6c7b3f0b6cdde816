//! A disk that loses its power or is full: the old keyring or the new one, never neither.

use super::*;

/// Creates a keyring, adds a passphrase and removes the file slot, until the power fails.
fn change_until_power_fails(disk: &SimulatedDisk) -> (bool, bool, bool) {
    let Ok(keyring) = create(disk, &Unlock::File) else {
        return (false, false, false);
    };
    let added = keyring.add_slot(&passphrase("p"), PassphraseCost::MINIMUM).is_ok();
    (true, added, added && keyring.remove_slot(1).is_ok())
}

#[test]
fn a_power_cut_at_every_moment_leaves_the_old_or_the_new_keyring() {
    let calm = SimulatedDisk::new(0);
    assert_eq!(change_until_power_fails(&calm), (true, true, true));
    let operations_in_all = calm.operations();
    let reference = open(&calm, &passphrase("p")).unwrap();
    for operations in 0..=operations_in_all {
        for seed in 0..20 {
            let disk = SimulatedDisk::new(seed);
            disk.cut_power_after(operations);
            let (created, added, removed) = change_until_power_fails(&disk);
            let disk = disk.power_on();
            let by_file = open(&disk, &Unlock::File);
            let by_passphrase = open(&disk, &passphrase("p"));
            let what = format!("operations {operations}, seed {seed}");
            if created && !added {
                assert!(by_file.is_ok(), "{what}");
            }
            if added {
                assert!(by_passphrase.is_ok(), "{what}");
            }
            if removed {
                assert!(matches!(by_file, Err(OpenError::NoSlot(_))), "{what}");
            }
            for keyring in [by_file, by_passphrase].into_iter().flatten() {
                assert!(same_keys(&keyring, &reference), "{what}");
            }
            // Before it was created there may be leftovers, which do not stand in the way.
            if !created && open(&disk, &Unlock::File).is_err() {
                assert!(create(&disk, &Unlock::File).is_ok(), "{what}");
            }
        }
    }
}

#[test]
fn a_missing_sync_would_be_noticed() {
    for (files, folders) in [(Some("keyring"), None), (None, Some("data"))] {
        let lost = (0..20).filter(|seed| {
            let disk = SimulatedDisk::new(*seed);
            disk.ignore_syncs(files);
            disk.ignore_dir_syncs(folders);
            change_until_power_fails(&disk);
            open(&disk.power_on(), &passphrase("p")).is_err()
        });
        assert!(lost.count() > 0, "{files:?} {folders:?}");
    }
}

#[test]
fn a_full_disk_leaves_the_keyring_as_it_was() {
    let disk = SimulatedDisk::new(0);
    let keyring = create(&disk, &Unlock::File).unwrap();
    disk.limit_capacity(Some(0));
    assert!(matches!(
        keyring.add_slot(&passphrase("p"), PassphraseCost::MINIMUM),
        Err(SlotError::Io(_))
    ));
    assert_eq!(keyring.slots().len(), 1);
    disk.limit_capacity(None);
    disk.fail_syncs("keyring", 1);
    assert!(keyring.add_slot(&passphrase("p"), PassphraseCost::MINIMUM).is_err());
    assert!(matches!(open(&disk, &passphrase("p")), Err(OpenError::NoSlot(_))));
    keyring.add_slot(&passphrase("p"), PassphraseCost::MINIMUM).unwrap();
    assert!(open(&disk, &passphrase("p")).is_ok());
}

#[test]
fn what_a_power_cut_left_of_a_wrapping_key_goes() {
    let disk = SimulatedDisk::new(0);
    create(&disk, &Unlock::File).unwrap();
    let half = disk.create(Path::new("/data/keyring.key.new")).unwrap();
    half.write_at(0, b"half").unwrap();
    drop(half);
    open(&disk, &Unlock::File).unwrap();
    let left: Vec<_> = disk.files().into_iter().map(|(path, _)| path).collect();
    assert!(left.iter().any(|path| path.ends_with("keyring.key")));
    assert!(!left.iter().any(|path| path.ends_with("keyring.key.new")), "{left:?}");
}
