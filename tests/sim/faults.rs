//! A disk that cannot save, or has no room: clear errors, nothing lost, and everything works again afterwards.

use crate::check::{self, read_back};
use crate::house::{House, Known, content, open_keyring, passphrase};
use crate::load::upload;
use lamchat_base::SecretBytes;
use lamchat_disk::simulation::SimulatedDisk;
use lamchat_media::UploadError;
use lamchat_seal::{KeyringError, PassphraseCost, Purpose, SecretError, SlotError};
use lamchat_store::CommitError;
use std::io::ErrorKind;

/// A file for a pack, and one that gets its own.
const FILES: [u64; 2] = [1, 4];

/// The house after a power cut: what it said it has must be there.
fn again(house: House, known: &mut Known) -> House {
    let disk = house.disk.power_on();
    drop(house);
    let house = House::open(&disk, known).unwrap();
    check::all(&house, known).unwrap();
    house
}

#[test]
fn an_upload_whose_sync_fails_is_refused_and_the_next_one_is_kept() {
    type Break = fn(&SimulatedDisk);
    let breaks: [Break; 5] = [
        |disk| disk.fail_syncs("/media/packs/", 1),
        |disk| disk.fail_syncs("/media/files/", 1),
        |disk| disk.fail_dir_syncs("media/packs", 1),
        |disk| disk.fail_dir_syncs("media/files", 1),
        |disk| disk.fail_syncs("/wal/", 1),
    ];
    for (kind, fail) in breaks.into_iter().enumerate() {
        let mut known = Known::default();
        let disk = SimulatedDisk::new(kind as u64);
        let house = House::open(&disk, &mut known).unwrap();
        fail(&disk);
        let mut refused = 0;
        for number in FILES.into_iter().cycle().take(6) {
            match house.runtime.block_on(upload(&house.media, number)) {
                Ok(id) => known.files.push((id, number)),
                Err(UploadError::Io(error)) => {
                    assert!(error.to_string().contains("input/output error"), "{error}");
                    refused += 1;
                }
                Err(UploadError::Commit(CommitError::Unknown(_))) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
        // A failing sync of the log may hit a segment that is only being prepared: nobody hears of that.
        assert!(refused == 1 || (refused == 0 && kind == 4), "break {kind}: {refused}");
        assert!(known.files.len() >= 5);
        again(house, &mut known);
    }
}

#[test]
fn a_full_disk_refuses_files_and_keys_and_keeps_what_was_there() {
    let mut known = Known::default();
    let disk = SimulatedDisk::new(3);
    let house = House::open(&disk, &mut known).unwrap();
    let (media, keyring, keys) = (&house.media, &house.keyring, &house.keys);
    let first = house.runtime.block_on(upload(media, 4)).unwrap();
    keys.seal_secret("secret-0", &SecretBytes::new(vec![1; 2_000])).unwrap();
    disk.limit_capacity(Some(disk.used()));
    for number in FILES {
        let refused = house.runtime.block_on(upload(media, number)).unwrap_err();
        let full = match &refused {
            UploadError::Io(error) => error.kind() == ErrorKind::StorageFull,
            UploadError::Commit(error) => matches!(error, CommitError::DiskFull),
            _ => false,
        };
        assert!(full, "{refused:?}");
    }
    let full = |error: &std::io::Error| error.kind() == ErrorKind::StorageFull;
    let added = keyring.add_slot(&passphrase("new"), PassphraseCost::MINIMUM);
    assert!(matches!(&added, Err(SlotError::Io(error)) if full(error)), "{added:?}");
    let rotated = keyring.rotate(Purpose::Content);
    assert!(
        matches!(&rotated, Err(KeyringError::Io(error)) if full(error)),
        "{rotated:?}"
    );
    let sealed = keys.seal_secret("secret-0", &SecretBytes::new(vec![2; 3_000]));
    assert!(
        matches!(&sealed, Err(SecretError::Io(error)) if full(error)),
        "{sealed:?}"
    );
    // Nothing of it happened, and reading goes on.
    assert_eq!(keyring.slots().len(), 1);
    assert_eq!(keys.data_key(Purpose::Content).unwrap().number, 1);
    assert_eq!(keys.unseal_secret("secret-0").unwrap().unwrap().expose(), [1; 2_000]);
    assert_eq!(house.runtime.block_on(read_back(media, &first)).unwrap(), content(4));
    assert!(open_keyring(&disk, "new").is_err());
    // There is room again.
    disk.limit_capacity(None);
    keyring.add_slot(&passphrase("new"), PassphraseCost::MINIMUM).unwrap();
    keys.add(keyring.rotate(Purpose::Content).unwrap());
    assert_eq!(keys.data_key(Purpose::Content).unwrap().number, 2);
    keys.seal_secret("secret-0", &SecretBytes::new(vec![2; 3_000])).unwrap();
    known.files.push((first, 4));
    for number in FILES {
        known
            .files
            .push((house.runtime.block_on(upload(media, number)).unwrap(), number));
    }
    known.passphrases.known.push("new".to_owned());
    known.secrets[0].known = Some(vec![2; 3_000]);
    let house = again(house, &mut known);
    assert_eq!(house.keys.data_key(Purpose::Content).unwrap().number, 2);
}

#[test]
fn a_change_of_keys_whose_sync_fails_says_so_and_can_be_repeated() {
    type Break = fn(&SimulatedDisk);
    let breaks: [Break; 2] = [
        |disk| disk.fail_syncs("/data/keyring", 1),
        |disk| disk.fail_dir_syncs("data", 1),
    ];
    for (seed, fail) in breaks.into_iter().enumerate() {
        let mut known = Known::default();
        let disk = SimulatedDisk::new(seed as u64);
        let house = House::open(&disk, &mut known).unwrap();
        fail(&disk);
        let added = house.keyring.add_slot(&passphrase("new"), PassphraseCost::MINIMUM);
        assert!(matches!(added, Err(SlotError::Io(_))), "{added:?}");
        fail(&disk);
        assert!(matches!(house.keyring.rotate(Purpose::Media), Err(KeyringError::Io(_))));
        house
            .keyring
            .add_slot(&passphrase("new"), PassphraseCost::MINIMUM)
            .unwrap();
        house.keys.add(house.keyring.rotate(Purpose::Media).unwrap());
        let key = house.keys.data_key(Purpose::Media).unwrap();
        known.passphrases.known.push("new".to_owned());
        known.keys.push((Purpose::Media, key.number, *key.key.expose()));
        again(house, &mut known);
    }
}
