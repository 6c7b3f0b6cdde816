//! The keyring as a whole: unlocking, slots, damage, power cuts, and the vectors of `FORMAT.md`.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod marks;

use crate::{
    BackupKeyring, CreateError, DataKeys, ExportError, ImportError, Keyring, KeyringError, OpenError, PassphraseCost,
    Purpose, RecoveryKey, ReleasedKey, RenewError, Sealer, SealerError, SealerReason, SecretError, SlotError, SlotKey,
    SlotKind, Unlock, VerifyRecoveryError,
};
use lamchat_base::{Entropy, Secret, SecretBytes};
use lamchat_disk::simulation::SimulatedDisk;
use lamchat_disk::{Disk, read_file, replace_file};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const DIR: &str = "/data";

/// Gives 0, 1, 2, … so that the bytes of a file can be foretold.
#[derive(Debug, Default)]
struct Counting(AtomicU8);

impl Entropy for Counting {
    fn fill(&self, buffer: &mut [u8]) {
        for byte in buffer {
            *byte = self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn entropy() -> Arc<Counting> {
    Arc::new(Counting::default())
}

fn passphrase(text: &str) -> Unlock {
    Unlock::Passphrase(SecretBytes::new(text.as_bytes().to_vec()))
}

fn create(disk: &SimulatedDisk, unlock: &Unlock) -> Result<Keyring, CreateError> {
    Keyring::create_on(
        Arc::new(disk.clone()),
        Path::new(DIR),
        unlock,
        PassphraseCost::MINIMUM,
        entropy(),
    )
}

fn open(disk: &SimulatedDisk, unlock: &Unlock) -> Result<Keyring, OpenError> {
    Keyring::open_on(Arc::new(disk.clone()), Path::new(DIR), unlock, entropy())
}

fn contents(disk: &SimulatedDisk, path: impl AsRef<Path>) -> std::io::Result<Vec<u8>> {
    read_file(disk, path.as_ref(), 1 << 20)
}

fn same_keys(one: &Keyring, other: &Keyring) -> bool {
    one.release().unwrap() == other.release().unwrap()
}

fn keys(keyring: &Keyring) -> DataKeys {
    keyring.data_keys(Path::new(DIR)).unwrap()
}

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

/// A TPM that seals by exclusive or, and whose policy can change.
#[derive(Debug, Default)]
struct PretendTpm {
    refusing: std::sync::atomic::AtomicBool,
    sealed: AtomicU8,
}

impl Sealer for PretendTpm {
    fn seal(&self, secret: &Secret<32>) -> Result<Vec<u8>, SealerError> {
        let number = self.sealed.fetch_add(1, Ordering::Relaxed);
        let bytes = secret.expose().iter().map(|byte| byte ^ 0x5A);
        Ok(std::iter::once(number).chain(bytes).collect())
    }

    fn unseal(&self, blob: &[u8]) -> Result<Secret<32>, SealerError> {
        let error = |reason, explanation: &str| SealerError {
            reason,
            explanation: explanation.to_owned(),
        };
        if self.refusing.load(Ordering::Relaxed) {
            return Err(error(SealerReason::Refused, "PCR 7 changed"));
        }
        let bytes: [u8; 32] = blob[1..]
            .try_into()
            .map_err(|_| error(SealerReason::Malformed, "length"))?;
        Ok(Secret::new(bytes.map(|byte| byte ^ 0x5A)))
    }
}

fn version(disk: &SimulatedDisk) -> u8 {
    contents(disk, "/data/keyring").unwrap()[11]
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

/// A keyring as the first version wrote it, byte by byte: that of the test vectors.
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

#[test]
fn a_keyring_of_before_opens_and_gets_a_key_of_the_holders_own() {
    let disk = SimulatedDisk::new(0);
    disk.create_dir(Path::new(DIR)).unwrap();
    let stored = include_bytes!("keyring-1.file");
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
    let documented = include_str!("../FORMAT.md");
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
    assert!(include_str!("../FORMAT.md").contains(&lines), "{lines}");
}

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

#[test]
fn what_a_power_cut_left_of_a_wrapping_key_goes() {
    let disk = SimulatedDisk::new(0);
    create(&disk, &Unlock::File).unwrap();
    let half = disk.create(std::path::Path::new("/data/keyring.key.new")).unwrap();
    half.write_at(0, b"half").unwrap();
    drop(half);
    open(&disk, &Unlock::File).unwrap();
    let left: Vec<_> = disk.files().into_iter().map(|(path, _)| path).collect();
    assert!(left.iter().any(|path| path.ends_with("keyring.key")));
    assert!(!left.iter().any(|path| path.ends_with("keyring.key.new")), "{left:?}");
}
