//! Damaged and forged files: repaired where one copy is whole, and refused otherwise.

use super::*;

#[test]
fn one_damaged_copy_is_repaired_and_two_are_refused() {
    let disk = SimulatedDisk::new(0);
    let keyring = create(&disk, &Unlock::File).unwrap();
    let path = Path::new("/data/keyring");
    let length = contents(&disk, path).unwrap().len();
    for at in [0, 8, 12, 100, length / 2, length / 2 + 50] {
        disk.flip_bit(path, at * 8);
        assert!(same_keys(&keyring, &open(&disk, &Unlock::File).unwrap()), "{at}");
        let file = contents(&disk, path).unwrap();
        assert_eq!(file[..length / 2], file[length / 2..], "repaired");
    }
    disk.flip_bit(path, 100 * 8);
    disk.flip_bit(path, (length / 2 + 100) * 8);
    assert!(matches!(open(&disk, &Unlock::File), Err(OpenError::Format { .. })));
    assert!(matches!(
        open(&SimulatedDisk::new(0), &Unlock::File),
        Err(OpenError::Missing(_))
    ));
}

#[test]
fn a_keyring_changed_without_its_master_key_is_refused() {
    let disk = SimulatedDisk::new(0);
    let keyring = create(&disk, &Unlock::File).unwrap();
    // Somebody takes a data key out and makes a fitting checksum, under a master key of their own.
    let mut ring = keyring.ring.read().clone();
    ring.keys.pop();
    let copy = crate::format::encode(&ring, &lamchat_base::Secret::new([1; 32]));
    replace_file(&disk, Path::new("/data/keyring"), &crate::format::file_bytes(&copy)).unwrap();
    assert!(matches!(open(&disk, &Unlock::File), Err(OpenError::Forged)));
    disk.flip_bit(Path::new("/data/keyring.key"), 80);
    assert!(matches!(open(&disk, &Unlock::File), Err(OpenError::WrappingKey(_))));
}

#[test]
fn every_parse_of_a_cut_or_flipped_file_ends_in_an_error_or_the_truth() {
    let disk = SimulatedDisk::new(0);
    let keyring = create(&disk, &passphrase("p")).unwrap();
    let key = RecoveryKey::generate(&*keyring.entropy);
    for unlock in [Unlock::Recovery(key), Unlock::Tpm(Arc::new(PretendTpm::default()))] {
        keyring.add_slot(&unlock, PassphraseCost::MINIMUM).unwrap();
    }
    let ring = keyring.ring.read().clone();
    let copy = crate::format::encode(&ring, &crate::keyring::mac_key(&keyring.master));
    for end in 0..copy.len() {
        assert!(crate::format::parse_copy(&copy[..end]).is_err());
    }
    for bit in 0..copy.len() * 8 {
        let mut bad = copy.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(crate::format::parse_copy(&bad).is_err());
    }
    assert_eq!(crate::format::parse_copy(&copy).unwrap().ring, ring);
}
