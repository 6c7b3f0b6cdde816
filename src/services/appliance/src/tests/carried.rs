//! A backup whose bytes another process carries, as at the set-up of a box.

use super::*;
use crate::rack::{FolderRack, Rack};
use crate::{Carried, Outcome, Part, RestoreUnder, Step, beginning, carry, restore_under};
use lamchat_seal::BackupKeyring;
use std::io::{Error, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;

/// A house with a backup that has several parts.
fn backed_up() -> (House, PathBuf) {
    let house = House::build();
    house
        .keyring
        .add_slot(&passphrase("correct horse"), PassphraseCost::MINIMUM)
        .unwrap();
    for number in (0..10_000).step_by(20) {
        note(&house.source.store, number);
    }
    let dir = house.back_up("backup", 50_000);
    (house, dir)
}

/// Somebody who carries from `rack`; answers the outcome, and which files were begun.
type Carrier = JoinHandle<(std::io::Result<Outcome>, Vec<String>)>;

fn carrier(mut rack: impl Rack + Send + 'static) -> (Carried, Carrier) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let carrying = std::thread::spawn(move || {
        let mut begun = Vec::new();
        let outcome = carry(&ours, &mut rack, &mut |step| {
            if let Step::Begins(name) = step {
                begun.push(name.to_owned());
            }
        });
        (outcome, begun)
    });
    (Carried::new(theirs), carrying)
}

/// Looks at the backup, installs its keyring and restores it, all of it carried.
fn take_back(house: &House, dir: &Path, name: &str) -> Result<crate::Restored, RestoreError> {
    let (mut carried, carrying) = carrier(FolderRack::new(dir));
    let found = beginning(&mut carried, dir);
    drop(carried);
    carrying.join().unwrap().0.unwrap_err();
    let found = found?;
    let data_dir = house.root.join(name);
    std::fs::create_dir_all(&data_dir).unwrap();
    let keys_dir = house.root.join(format!("{name}-keys"));
    if keys_dir.exists() {
        std::fs::remove_dir_all(&keys_dir).unwrap();
    }
    let keyring = BackupKeyring::open(&found.keyring, &passphrase("correct horse")).unwrap();
    let keyring = keyring.install(&keys_dir, false, house.entropy.clone()).unwrap();
    let (mut carried, carrying) = carrier(FolderRack::new(dir));
    let place = RestoreUnder {
        keys: keyring.data_keys(&data_dir).unwrap(),
        data_dir,
        keyring: &keyring,
        tables: tables(),
    };
    let restored = restore_under(&mut carried, dir, place);
    let outcome = restored.as_ref().map_or_else(
        |error| Outcome::Failed {
            reason: error.to_string(),
        },
        |restored| restored.clone().into(),
    );
    carried.end(&outcome).unwrap();
    let (heard, begun) = carrying.join().unwrap();
    assert_eq!(heard.unwrap(), outcome);
    if restored.is_ok() {
        let lists = begun.iter().filter(|name| *name == MANIFEST_FILE).count();
        assert_eq!(lists, 3, "the list, the check and the restoring: {begun:?}");
    }
    restored
}

#[test]
fn what_is_carried_is_restored_as_from_a_folder() {
    let (house, dir) = backed_up();
    let options = house.options(&dir, "from-folder");
    let expected = restore(&options).unwrap();
    let restored = take_back(&house, &dir, "carried").unwrap();
    assert_eq!(restored, expected);
    let keyring = Keyring::open(
        &house.root.join("carried-keys"),
        &passphrase("correct horse"),
        house.entropy.clone(),
    );
    let keyring = Arc::new(keyring.unwrap());
    let rows = |source: &Source| {
        let mut rows = Vec::new();
        let visit = &mut |table: Table, key: &[u8], value: &[u8]| {
            rows.push((table.name, key.to_vec(), value.to_vec()));
            std::ops::ControlFlow::Continue(())
        };
        source.store.snapshot().rows(visit).unwrap();
        rows
    };
    let there = open(&keyring, &Folders::below(&house.root.join("carried")), &house.entropy);
    assert!(
        rows(&there) == rows(&house.source),
        "other rows than those of the backup"
    );
    assert!(
        there.store.epoch().0 > house.source.store.epoch().0,
        "tokens of before are taken"
    );
    // Nothing is put over what is there.
    assert!(matches!(
        take_back(&house, &dir, "carried"),
        Err(RestoreError::NotEmpty(_))
    ));
}

#[test]
fn what_is_missing_damaged_or_too_large_is_refused_and_nothing_is_written() {
    let (house, dir) = backed_up();
    let manifest = std::fs::read(dir.join(MANIFEST_FILE)).unwrap();
    let parts: Vec<Part> = serde_json::from_slice::<Manifest>(&manifest).unwrap().parts;
    assert!(parts.len() > 1);
    let is_empty = |name: &str| {
        let folder = house.root.join(name);
        !folder.exists() || std::fs::read_dir(folder).unwrap().next().is_none()
    };
    let (last, path) = (parts.last().unwrap(), dir.join(&parts.last().unwrap().file));
    let good = std::fs::read(&path).unwrap();

    std::fs::remove_file(&path).unwrap();
    let refused = take_back(&house, &dir, "missing").unwrap_err();
    assert!(
        matches!(&refused, RestoreError::Part(PartError::Missing(file)) if *file == last.file),
        "{refused}"
    );
    assert!(refused.to_string().contains("is missing"), "{refused}");
    assert!(!house.root.join("missing").exists(), "before anything was begun");

    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    std::fs::write(&path, &bad).unwrap();
    let refused = take_back(&house, &dir, "damaged").unwrap_err();
    assert!(is_empty("damaged"), "{refused}");

    // As long as no disk is.
    let huge = Part {
        bytes: 1 << 43,
        ..last.clone()
    };
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(huge.bytes).unwrap();
    let list = Manifest {
        format: 1,
        parts: parts.iter().take(parts.len() - 1).cloned().chain([huge]).collect(),
    };
    std::fs::write(dir.join(MANIFEST_FILE), serde_json::to_vec(&list).unwrap()).unwrap();
    let refused = take_back(&house, &dir, "small").unwrap_err();
    assert!(matches!(refused, RestoreError::NoRoom { .. }), "{refused}");
    assert!(is_empty("small"));
}

/// A stick that is pulled.
struct Pulled(FolderRack, usize);

impl Read for Pulled {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.1 == 0 {
            return Err(Error::other("the stick is gone"));
        }
        self.1 -= 1;
        self.0.read(buffer)
    }
}

impl Rack for Pulled {
    fn length(&mut self, name: &str) -> std::io::Result<u64> {
        self.0.length(name)
    }

    fn begin(&mut self, name: &str) -> std::io::Result<()> {
        self.0.begin(name)
    }
}

#[test]
fn why_nothing_comes_any_more_is_said() {
    let (_house, dir) = backed_up();
    let (mut carried, carrying) = carrier(Pulled(FolderRack::new(&dir), 1));
    let refused = beginning(&mut carried, &dir).unwrap_err();
    assert!(refused.to_string().contains("the stick is gone"), "{refused}");
    drop(carried);
    carrying.join().unwrap().0.unwrap_err();
}

#[test]
fn a_reader_that_says_something_else_is_left() {
    let (_house, dir) = backed_up();
    let frame = |kind: u8, bytes: &[u8]| [&[kind], &(bytes.len() as u32).to_be_bytes()[..], bytes].concat();
    for (said, kind) in [
        (frame(9, b""), ErrorKind::InvalidData),
        (frame(2, &[b'x'; 65]), ErrorKind::InvalidData),
        (frame(2, b"\xff"), ErrorKind::InvalidData),
        (frame(4, b"{}"), ErrorKind::InvalidData),
        (vec![4, 0xff, 0xff, 0xff, 0xff], ErrorKind::InvalidData),
        (vec![1, 0], ErrorKind::UnexpectedEof),
        (Vec::new(), ErrorKind::UnexpectedEof),
    ] {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(&said).unwrap();
        drop(theirs);
        let heard = carry(&ours, &mut FolderRack::new(&dir), &mut |_| {});
        assert_eq!(heard.unwrap_err().kind(), kind, "{said:?}");
    }
}
