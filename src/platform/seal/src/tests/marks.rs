//! Marks: kept by everything that changes the keyring, left behind by a backup, old or new after a power cut.

use super::*;
use crate::Mark;
use crate::format::{encode, parse_copy};
use crate::keyring::mac_key;

const MARKS: [Mark; 5] = [Mark::Anchor, Mark::Heads, Mark::SoftwareKey, Mark::Signing, Mark::Pin];

fn recovery(keyring: &Keyring) -> RecoveryKey {
    let key = RecoveryKey::generate(&*keyring.entropy);
    let unlock = Unlock::Recovery(key.clone());
    keyring.add_slot(&unlock, PassphraseCost::MINIMUM).unwrap();
    key
}

#[test]
fn a_mark_stays_until_it_is_taken() {
    let disk = SimulatedDisk::new(0);
    let keyring = create(&disk, &Unlock::File).unwrap();
    let released = keyring.release().unwrap();
    assert!(MARKS.iter().all(|mark| !keyring.has_mark(*mark)));
    keyring.set_marks(&[Mark::Heads]).unwrap();
    assert!(keyring.has_mark(Mark::Heads) && !keyring.has_mark(Mark::Anchor));
    let written = contents(&disk, "/data/keyring").unwrap();
    keyring.set_marks(&[Mark::Heads]).unwrap();
    assert_eq!(contents(&disk, "/data/keyring").unwrap(), written, "nothing is new");
    keyring.set_marks(&[Mark::Heads, Mark::Anchor]).unwrap();
    assert_eq!(version(&disk), 1, "a keyring that older programs open stays one");
    assert_eq!(keyring.release().unwrap(), released, "the exchange gets none of them");

    // Whatever else changes, another master key included.
    let key = recovery(&keyring);
    keyring.rotate(Purpose::Media).unwrap();
    let renewed = keyring.renew(1, &[(2, SlotKey::Recovery(key.clone()))], 7).unwrap();
    renewed.forget_former().unwrap();
    let again = open(&disk, &Unlock::Recovery(key.clone())).unwrap();
    assert!(again.has_mark(Mark::Heads) && again.has_mark(Mark::Anchor));
    again.take_mark(Mark::Anchor).unwrap();
    again.take_mark(Mark::Anchor).unwrap();
    let again = open(&disk.power_on(), &Unlock::Recovery(key)).unwrap();
    assert!(again.has_mark(Mark::Heads) && !again.has_mark(Mark::Anchor));
}

/// What programs of before do with marks, on which a release on trial relies.
#[test]
fn keys_of_purposes_to_come_are_kept() {
    let disk = SimulatedDisk::new(0);
    let keyring = create(&disk, &Unlock::File).unwrap();
    let mut ring = keyring.ring.read().clone();
    let foreign = keyring.wrap_as(&ring, 200, 9, &[1; 32]);
    ring.keys.push(foreign);
    keyring.store(ring).unwrap();
    let again = open(&disk, &Unlock::File).unwrap();
    let key = recovery(&again);
    let renewed = again.renew(1, &[(2, SlotKey::Recovery(key.clone()))], 7).unwrap();
    renewed.forget_former().unwrap();
    let last = open(&disk, &Unlock::Recovery(key)).unwrap();
    assert!(
        last.ring
            .read()
            .keys
            .iter()
            .any(|key| (key.purpose, key.number) == (200, 9))
    );
    assert!(!last.release().unwrap().is_empty());
}

#[test]
fn no_backup_says_what_lay_beside_the_keyring() {
    let disk = SimulatedDisk::new(0);
    let keyring = create(&disk, &Unlock::File).unwrap();
    let key = recovery(&keyring);
    keyring.set_marks(&MARKS).unwrap();
    let exported = keyring.export_for_backup().unwrap();
    let purposes = |copy: &[u8]| -> Vec<u8> {
        let keys = parse_copy(copy).unwrap().ring.keys;
        keys.iter().map(|key| key.purpose).collect()
    };
    assert!(!purposes(&exported).contains(&7));
    // A program of before took them along.
    let before = encode(&keyring.ring.read(), &mac_key(&keyring.master));
    assert!(purposes(&before).contains(&7));
    for backup in [exported, before] {
        let backup = BackupKeyring::open(&backup, &Unlock::Recovery(key.clone())).unwrap();
        let other = Arc::new(SimulatedDisk::new(1));
        let restored = backup.install_on(other, Path::new(DIR), false, entropy()).unwrap();
        assert!(MARKS.iter().all(|mark| !restored.has_mark(*mark)));
    }
}

#[test]
fn a_power_cut_leaves_no_slot_without_its_mark() {
    let (mut old, mut new) = (0, 0);
    for round in 0..200 {
        let disk = SimulatedDisk::new(round);
        let keyring = create(&disk, &Unlock::File).unwrap();
        disk.cut_power_after(round % 13);
        let unlock = passphrase("p");
        let added = keyring.add_slot_with(&unlock, PassphraseCost::MINIMUM, Some(Mark::Anchor));
        let marked = added.is_ok() && keyring.set_marks(&[Mark::Heads]).is_ok();
        let disk = disk.power_on();
        let found = open(&disk, &Unlock::File).unwrap();
        let (has_slot, has_heads) = (found.slots().len() == 2, found.has_mark(Mark::Heads));
        assert_eq!(has_slot, found.has_mark(Mark::Anchor), "round {round}");
        assert!(has_slot || (added.is_err() && !has_heads), "round {round}");
        assert!(has_heads || !marked, "round {round}");
        old += u32::from(!has_slot);
        new += u32::from(has_heads);
    }
    assert!(old > 10 && new > 10, "{old} {new}");
}

/// A keyring with a slot of each kind, as it was before there were marks.
#[test]
fn a_keyring_of_before_has_no_marks_and_gets_them() {
    let disk = SimulatedDisk::new(0);
    disk.create_dir(Path::new(DIR)).unwrap();
    for (name, bytes) in [
        ("/data/keyring", &include_bytes!("../keyring-2.file")[..]),
        ("/data/secrets/audit-heads.sealed", include_bytes!("../heads-2.file")),
    ] {
        replace_file(&disk, Path::new(name), bytes).unwrap();
    }
    let keyring = open(&disk, &passphrase("lamchat")).unwrap();
    let kinds: Vec<SlotKind> = keyring.slots().iter().map(|slot| slot.kind).collect();
    assert_eq!(kinds, [SlotKind::Passphrase, SlotKind::Recovery, SlotKind::Tpm]);
    assert_eq!(keyring.own("audit-heads").unwrap().unwrap().expose(), b"heads");
    assert!(MARKS.iter().all(|mark| !keyring.has_mark(*mark)));
    keyring.set_marks(&MARKS).unwrap();
    let tpm = Arc::new(PretendTpm::default());
    let again = open(&disk, &Unlock::Tpm(tpm)).unwrap();
    assert!(MARKS.iter().all(|mark| again.has_mark(*mark)));
    assert!(same_keys(&again, &keyring));
}

/// Whoever has taken over the exchange has the key that sealed these secrets once.
#[test]
fn nothing_that_the_exchange_could_have_sealed_is_taken_once_it_is_marked() {
    let disk = SimulatedDisk::new(0);
    let keyring = create(&disk, &Unlock::File).unwrap();
    let forged = SecretBytes::new(b"forged".to_vec());
    let forge = |name: &str| keys(&keyring).seal_secret(name, &forged).unwrap();
    forge("anchor");
    assert!(matches!(keyring.own("anchor"), Err(SecretError::Damaged(_))));
    forge("audit-heads");
    assert_eq!(keyring.own("audit-heads").unwrap().unwrap(), forged, "as of before");
    keyring.set_marks(&[Mark::Heads]).unwrap();
    assert_eq!(
        keyring.own("audit-heads").unwrap().unwrap(),
        forged,
        "it was sealed anew"
    );
    forge("audit-heads");
    assert!(matches!(keyring.own("audit-heads"), Err(SecretError::Damaged(_))));
}
