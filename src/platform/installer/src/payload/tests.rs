#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests: a panic is the report"
)]

use super::*;
use lamchat_attestation::Sha256;
use tempfile::TempDir;

const MIB: u64 = 1 << 20;
/// Where the image is on the stick.
const OFFSET: u64 = 3 * MIB;

struct Bench {
    folder: TempDir,
    image: Vec<u8>,
    described: Described,
    stick: Stick,
}

/// A stick with an image of five and a half MiB.
fn bench() -> Bench {
    let folder = tempfile::tempdir().unwrap();
    let image: Vec<u8> = (0..5 * MIB + MIB / 2).map(|number| (number % 251) as u8 | 1).collect();
    let disk = folder.path().join("stick");
    let mut stick = vec![7; usize::try_from(OFFSET).unwrap()];
    stick.extend_from_slice(&image);
    stick.extend_from_slice(&[9; 4096]);
    std::fs::write(&disk, stick).unwrap();
    let described = Described {
        bytes: image.len() as u64,
        sha256: Sha256::of(&image),
    };
    Bench {
        folder,
        image,
        described,
        stick: Stick { disk, offset: OFFSET },
    }
}

impl Bench {
    fn target(&self, bytes: u64) -> PathBuf {
        let path = self.folder.path().join("target");
        std::fs::write(&path, vec![0xEE; usize::try_from(bytes).unwrap()]).unwrap();
        path
    }
}

#[test]
fn the_image_is_written_and_older_tables_go() {
    let bench = bench();
    let target = bench.target(9 * MIB);
    let mut phases = Vec::new();
    install(&bench.stick, &bench.described, &target, &mut |phase, done| {
        assert!(done <= 100);
        phases.push(phase);
    })
    .unwrap();
    phases.dedup();
    assert_eq!(phases, [Phase::Checking, Phase::Writing, Phase::ReadingBack]);
    let written = std::fs::read(&target).unwrap();
    assert!(written[..bench.image.len()] == bench.image);
    let end = written.len() - usize::try_from(MIB).unwrap();
    assert!(
        written[end..].iter().all(|byte| *byte == 0),
        "the old table at the end stays"
    );
    assert!(written[bench.image.len()..end].iter().all(|byte| *byte == 0xEE));
}

#[test]
fn a_changed_image_leaves_the_disk_as_it_was() {
    let mut bench = bench();
    let target = bench.target(9 * MIB);
    let before = std::fs::read(&target).unwrap();
    let mut stick = std::fs::read(&bench.stick.disk).unwrap();
    let last = usize::try_from(OFFSET).unwrap() + bench.image.len() - 1;
    stick[last] ^= 1;
    std::fs::write(&bench.stick.disk, &stick).unwrap();
    let refused = install(&bench.stick, &bench.described, &target, &mut |_, _| ());
    assert!(matches!(refused, Err(InstallError::Foreign(_))), "{refused:?}");
    // Cut off.
    std::fs::write(&bench.stick.disk, &stick[..last]).unwrap();
    let refused = install(&bench.stick, &bench.described, &target, &mut |_, _| ());
    assert!(matches!(refused, Err(InstallError::Io { .. })), "{refused:?}");
    for bytes in [0, 5, u64::MAX] {
        bench.described.bytes = bytes;
        let refused = install(&bench.stick, &bench.described, &target, &mut |_, _| ());
        assert!(matches!(refused, Err(InstallError::Described(_))), "{refused:?}");
    }
    assert!(std::fs::read(&target).unwrap() == before, "the disk was touched");
}

#[test]
fn a_disk_that_is_smaller_than_the_image_is_left_alone() {
    let bench = bench();
    let target = bench.target(5 * MIB);
    let refused = install(&bench.stick, &bench.described, &target, &mut |_, _| ());
    assert!(matches!(refused, Err(InstallError::Small { .. })), "{refused:?}");
    assert!(std::fs::read(&target).unwrap().iter().all(|byte| *byte == 0xEE));
}

#[test]
fn a_stick_that_changes_meanwhile_gives_a_disk_without_a_table() {
    let bench = bench();
    let target = bench.target(9 * MIB);
    let changing = std::fs::OpenOptions::new().write(true).open(&bench.stick.disk).unwrap();
    let mut changed = false;
    let refused = install(&bench.stick, &bench.described, &target, &mut |phase, done| {
        if phase == Phase::Checking && done == 100 && !changed {
            changed = true;
            changing.write_all_at(b"!", OFFSET + 4 * MIB).unwrap();
        }
    });
    assert!(matches!(refused, Err(InstallError::Unfaithful)), "{refused:?}");
    let written = std::fs::read(&target).unwrap();
    assert!(written[..usize::try_from(MIB).unwrap()].iter().all(|byte| *byte == 0));
}

#[test]
fn the_stick_is_found_by_its_partition() {
    let bench = bench();
    assert_eq!(find(std::slice::from_ref(&bench.stick.disk), &bench.described), None);
    assert!(serde_json::from_str::<Described>("{\"bytes\":1,\"sha256\":\"00\"}").is_err());
    let text = format!(
        "{{\"bytes\":{},\"sha256\":\"{}\"}}\n",
        bench.described.bytes, bench.described.sha256
    );
    assert_eq!(serde_json::from_str::<Described>(&text).unwrap(), bench.described);
}
