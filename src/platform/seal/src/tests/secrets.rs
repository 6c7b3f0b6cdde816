//! Sealed secrets: the exchange's, bound to their names, and the holder's own.

use super::*;

#[test]
fn secrets_of_the_holder_are_under_a_key_that_is_never_released() {
    let disk = SimulatedDisk::new(0);
    let keyring = create(&disk, &Unlock::File).unwrap();
    let released = keyring.release().unwrap();
    assert!(keyring.own("audit-key").unwrap().is_none());
    // What an earlier version sealed for the exchange.
    let secret = SecretBytes::new(b"key of the log".to_vec());
    keys(&keyring).seal_secret("audit-key", &secret).unwrap();
    assert_eq!(keyring.own("audit-key").unwrap().unwrap(), secret);
    let again = open(&disk, &Unlock::File).unwrap();
    assert!(matches!(
        keys(&again).unseal_secret("audit-key"),
        Err(SecretError::Damaged(_))
    ));
    assert_eq!(again.own("audit-key").unwrap().unwrap(), secret);
    let other = SecretBytes::new(b"heads".to_vec());
    again.keep_own("audit-heads", &other).unwrap();
    assert_eq!(again.own("audit-heads").unwrap().unwrap(), other);
    // There is a key more in the file, and the exchange has none.
    assert_eq!(again.ring.read().keys.len(), 5);
    assert_eq!(again.release().unwrap(), released);
    assert_eq!(version(&disk), 1, "a keyring that older programs open stays one");
}

#[test]
fn small_secrets_are_bound_to_their_name_and_keyring() {
    let disk = SimulatedDisk::new(0);
    let keyring = create(&disk, &Unlock::File).unwrap();
    let secret = SecretBytes::new(b"seed of the signing key".to_vec());
    let released = keys(&keyring);
    assert!(released.unseal_secret("signing-key").unwrap().is_none());
    released.seal_secret("signing-key", &secret).unwrap();
    released.add(keyring.rotate(Purpose::Secrets).unwrap());
    released.seal_secret("tls", &SecretBytes::new(Vec::new())).unwrap();
    let again = keys(&open(&disk, &Unlock::File).unwrap());
    assert_eq!(again.unseal_secret("signing-key").unwrap().unwrap(), secret);
    assert!(
        disk.files()
            .iter()
            .all(|(_, bytes)| !bytes.windows(4).any(|window| window == b"seed"))
    );
    for name in ["", "../keyring", "A", "a.b", "a/b"] {
        assert!(matches!(again.unseal_secret(name), Err(SecretError::Name(_))));
    }
    // Another name, other bytes, another keyring.
    let sealed = again.sealed_secrets().unwrap();
    assert_eq!(
        sealed.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["signing-key", "tls"]
    );
    let file = &sealed[0].1;
    assert!(matches!(
        again.restore_sealed_secret("other", file),
        Err(SecretError::Damaged(_))
    ));
    for at in (0..8).chain(12..file.len()) {
        let mut bad = file.clone();
        bad[at] ^= 1;
        assert!(matches!(
            again.restore_sealed_secret("signing-key", &bad),
            Err(SecretError::Damaged(_))
        ));
    }
    again.remove_secret("signing-key").unwrap();
    again.remove_secret("signing-key").unwrap();
    assert!(again.unseal_secret("signing-key").unwrap().is_none());
    again.restore_sealed_secret("signing-key", file).unwrap();
    assert_eq!(again.unseal_secret("signing-key").unwrap().unwrap(), secret);
}
