//! The box's data as another program sees them: opened on this machine by the recovery key, without a kernel's dm-crypt,
//! and given to e2fsck.

use super::drive::Drive;
use super::life::Life;
use aes::Aes256;
use aes::cipher::{Array, KeyInit};
use lamchat_base::Secret;
use lamchat_disk::{PackedDisk, Piece};
use lamchat_host::OsEntropy;
use lamchat_machine::gpt::{self, Partition};
use lamchat_machine::two_copies::{self, KEYRING};
use lamchat_seal::{Keyring, RecoveryKey, Unlock};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use xts_mode::{Xts128, get_tweak_default};

/// Bytes that are encrypted as one, and of the sectors by whose number that is done (`sector_size:4096`, `plain64`).
const SECTOR_BYTES: usize = 4096;
const NUMBERED_BYTES: u64 = 512;
/// Sectors that are read at once.
const TOGETHER: usize = 256;
/// What e2fsck(8) ends with: all is well; errors were corrected.
const WELL: i32 = 0;
const CORRECTED: i32 = 1;

/// Nothing of a keyring that is only read is written.
#[derive(Debug)]
struct ReadOnly;

impl Piece for ReadOnly {
    fn keep(&self, _: &[u8]) -> std::io::Result<()> {
        Err(std::io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn bytes_max(&self) -> usize {
        KEYRING.content_bytes_max
    }
}

/// A partition as a file of its own, sparse where nobody has written; `change` sees each part with its place.
fn copy(disk: &File, of: &Partition, change: impl Fn(u64, &mut [u8])) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    file.as_file().set_len(of.length).unwrap();
    let mut at = 0;
    while at < of.length {
        let length = (of.length - at).min((TOGETHER * SECTOR_BYTES) as u64);
        let mut part = vec![0; usize::try_from(length).unwrap()];
        disk.read_exact_at(&mut part, of.offset + at).unwrap();
        if part.iter().any(|byte| *byte != 0) {
            change(at, &mut part);
            file.as_file().write_all_at(&part, at).unwrap();
        }
        at += length;
    }
    file
}

/// How many sectors of the data differ between two disks, as far as both have them.
pub fn different_sectors(one: &Drive, other: &Drive) -> u64 {
    let data = |drive: &Drive| {
        let partitions = gpt::read(drive.disk().path()).unwrap();
        let found = partitions
            .into_iter()
            .find(|partition| partition.label == "lamchat-data");
        (File::open(drive.disk().path()).unwrap(), found.unwrap())
    };
    let ((one, first), (other, second)) = (data(one), data(other));
    let (length, mut at, mut differ) = (first.length.min(second.length), 0, 0);
    while at < length {
        let part = usize::try_from((length - at).min((TOGETHER * SECTOR_BYTES) as u64)).unwrap();
        let (mut here, mut there) = (vec![0; part], vec![0; part]);
        one.read_exact_at(&mut here, first.offset + at).unwrap();
        other.read_exact_at(&mut there, second.offset + at).unwrap();
        let pairs = here.chunks(512).zip(there.chunks(512));
        differ += pairs.filter(|(here, there)| here != there).count() as u64;
        at += part as u64;
    }
    differ
}

/// The key of the disk, by the recovery key.
fn disk_key(partition: &File, recovery: &str) -> Secret<64> {
    let kept = two_copies::read(partition, &KEYRING).unwrap().unwrap();
    let root = Path::new("/keys");
    let files = PackedDisk::new(root, &kept, Box::new(ReadOnly)).unwrap();
    let key = Unlock::Recovery(RecoveryKey::parse(recovery).unwrap());
    let keyring = Keyring::open_on(Arc::new(files), root, &key, Arc::new(OsEntropy)).unwrap();
    keyring.disk_key().unwrap()
}

/// dm-crypt's `aes-xts-plain64`.
fn cipher(key: &Secret<64>) -> Xts128<Aes256> {
    let (data, tweak) = key.expose().split_at(32);
    let half = |bytes: &[u8]| Aes256::new(&Array(*bytes.first_chunk::<32>().unwrap()));
    Xts128::new(half(data), half(tweak))
}

fn e2fsck(arguments: &[&str], file: &Path) -> (i32, String) {
    let found = ["/usr/sbin/e2fsck", "/sbin/e2fsck"]
        .into_iter()
        .find(|path| Path::new(path).exists());
    let output = Command::new(found.unwrap()).args(arguments).arg(file).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code().unwrap(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// What the last cut left: with the journal replayed, as a start does it, nothing is wrong.
pub fn check(life: &Life) {
    let path = life.drive.disk().path();
    let (disk, partitions) = (File::open(path).unwrap(), gpt::read(path).unwrap());
    let of = |label: &str| partitions.iter().find(|partition| partition.label == label).unwrap();
    let keyring = copy(&disk, of("lamchat-keyring"), |_, _| {});
    let cipher = cipher(&disk_key(keyring.as_file(), &life.recovery));
    let data = copy(&disk, of("lamchat-data"), |at, part| {
        for (sector, number) in part.chunks_exact_mut(SECTOR_BYTES).zip(0u64..) {
            // What was never written is no ciphertext.
            if sector.iter().any(|byte| *byte != 0) {
                let first = (at + number * SECTOR_BYTES as u64) / NUMBERED_BYTES;
                cipher.decrypt_sector(sector, get_tweak_default(u128::from(first)));
            }
        }
    });
    let (code, said) = e2fsck(&["-p"], data.path());
    assert!([WELL, CORRECTED].contains(&code), "{code}: {said}");
    let (code, said) = e2fsck(&["-fn"], data.path());
    println!("e2fsck after the last cut: {said}");
    assert_eq!(code, WELL, "{said}");
}
