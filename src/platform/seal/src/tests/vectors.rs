//! The vectors of `FORMAT.md`, and a file that an earlier version wrote.

use super::*;

/// The vectors of `FORMAT.md`: a keyring whose randomness was 0, 1, 2, …, with a passphrase slot `lamchat`.
#[test]
fn the_bytes_are_those_of_the_documentation() {
    let disk = SimulatedDisk::new(0);
    let keyring = create(&disk, &passphrase("lamchat")).unwrap();
    let released = keys(&keyring);
    released
        .seal_secret("vector", &SecretBytes::new(b"secret".to_vec()))
        .unwrap();
    let file = contents(&disk, "/data/keyring").unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &file);
    let sealed = contents(&disk, "/data/secrets/vector.sealed").unwrap();
    let documented = include_str!("../../FORMAT.md");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let vectors = [
        ("master key", hex(keyring.master.expose())),
        ("database key", hex(released.database_key().unwrap().expose())),
        (
            "media key",
            hex(released.data_key(Purpose::Media).unwrap().key.expose()),
        ),
        ("backup key", hex(keyring.backup_key(&[0; 32]).expose())),
        ("sealed secret", hex(&sealed)),
        ("SHA-256 of the file", hex(digest.as_ref())),
    ];
    let lines: String = vectors
        .iter()
        .map(|(name, hex)| format!("| {name} | `{hex}` |\n"))
        .collect();
    assert!(documented.contains(&lines), "{lines}");
}

/// The vectors of `FORMAT.md` for a recovery slot: all randomness 0, 1, 2, … from the key on.
#[test]
fn a_recovery_slot_is_that_of_the_documentation() {
    let disk = SimulatedDisk::new(0);
    let source = entropy();
    let key = RecoveryKey::generate(&*source);
    let keyring = Keyring::create_on(
        Arc::new(disk.clone()),
        Path::new(DIR),
        &Unlock::Recovery(key.clone()),
        PassphraseCost::MINIMUM,
        source,
    )
    .unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let slot = keyring.ring.read().slots[0].clone();
    let crate::slot::SlotLock::Recovery { salt, .. } = slot.lock else {
        panic!("another kind");
    };
    let file = contents(&disk, "/data/keyring").unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &file);
    let vectors = [
        ("recovery key", key.text().to_string()),
        ("its salt", hex(&salt)),
        ("its wrapping key", hex(key.derive(&salt).expose())),
        ("master key under it", hex(&slot.sealed)),
        ("SHA-256 of its file", hex(digest.as_ref())),
    ];
    let lines: String = vectors
        .iter()
        .map(|(name, text)| format!("| {name} | `{text}` |\n"))
        .collect();
    assert!(include_str!("../../FORMAT.md").contains(&lines), "{lines}");
}

/// A keyring as the first version wrote it, byte by byte: that of the test vectors.
#[test]
fn a_keyring_of_before_opens_and_gets_a_key_of_the_holders_own() {
    let disk = SimulatedDisk::new(0);
    disk.create_dir(Path::new(DIR)).unwrap();
    let stored = include_bytes!("../keyring-1.file");
    replace_file(&disk, Path::new("/data/keyring"), stored).unwrap();
    let keyring = open(&disk, &passphrase("lamchat")).unwrap();
    let released = keyring.release().unwrap();
    assert_eq!(released.len(), 4);
    let secret = SecretBytes::new(b"heads".to_vec());
    keyring.keep_own("audit-heads", &secret).unwrap();
    let again = open(&disk, &passphrase("lamchat")).unwrap();
    assert_eq!(again.release().unwrap(), released);
    assert_eq!(again.own("audit-heads").unwrap().unwrap(), secret);
}
