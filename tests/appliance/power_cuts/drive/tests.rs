//! The disk itself: what a cut leaves, and when it comes.

use super::{Device, Disk, Drive, Duration, SECTOR, Trigger};

#[test]
fn a_cut_loses_only_what_was_not_flushed() {
    let (mut lost, mut kept) = (0, 0);
    for seed in 0..200 {
        let mut drive = Drive::new(Disk::of(&[0; 64 * SECTOR]), seed);
        drive.write(0, vec![1; 32 * SECTOR]).unwrap();
        drive.flush().unwrap();
        drive.write(SECTOR as u64, vec![2; 2 * SECTOR]).unwrap();
        drive.flush().unwrap();
        drive.write(16 * SECTOR as u64, vec![3; 32 * SECTOR]).unwrap();
        let mut bytes = vec![0; 64 * SECTOR];
        drive.read(0, &mut bytes).unwrap();
        let seen = |at: usize| *bytes.get(at * SECTOR).unwrap();
        assert_eq!([0, 1, 2, 3, 15, 16, 47, 48].map(seen), [1, 2, 2, 1, 1, 3, 3, 0]);
        let _ = drive.cut();
        assert!(drive.is_dead());
        let bytes = std::fs::read(drive.disk().path()).unwrap();
        for (sector, bytes) in bytes.chunks(SECTOR).enumerate() {
            let first = *bytes.first().unwrap();
            assert!(bytes.iter().all(|byte| *byte == first), "a torn sector");
            let allowed: &[u8] = match sector {
                1 | 2 => &[2],
                0..16 => &[1],
                16..32 => &[1, 3],
                32..48 => &[0, 3],
                _ => &[0],
            };
            assert!(allowed.contains(&first), "sector {sector} has {first}");
            if (16..48).contains(&sector) {
                *(if first == 3 { &mut kept } else { &mut lost }) += 1;
            }
        }
    }
    assert!(lost > 1000 && kept > 1000, "{lost} lost, {kept} kept");
}

#[test]
fn a_trigger_counts_flushes_then_writes() {
    let mut drive = Drive::new(Disk::of(&[0; 8 * SECTOR]), 1);
    drive.arm(Trigger { flushes: 1, writes: 1 });
    for _ in 0..3 {
        drive.write(0, vec![1; SECTOR]).unwrap();
    }
    drive.flush().unwrap();
    assert!(!drive.is_cut());
    drive.write(0, vec![2; SECTOR]).unwrap();
    assert!(!drive.is_cut());
    drive.write(0, vec![3; SECTOR]).unwrap();
    assert!(drive.wait_cut(Duration::ZERO));
    let last = *std::fs::read(drive.disk().path()).unwrap().first().unwrap();
    assert!((1..=3).contains(&last), "{last}");
}

/// How many of eight flushed sectors such a disk loses over many cuts.
fn lost_after_flush(lies: Option<Duration>) -> usize {
    let mut lost = 0;
    for seed in 0..200 {
        let mut drive = Drive::new(Disk::of(&[0; 8 * SECTOR]), seed);
        if let Some(age) = lies {
            drive.lie(age);
        }
        for sector in 0..8 {
            drive.write(sector * SECTOR as u64, vec![1; SECTOR]).unwrap();
            drive.flush().unwrap();
        }
        let mut seen = vec![0; 8 * SECTOR];
        drive.read(0, &mut seen).unwrap();
        assert!(
            seen.iter().all(|byte| *byte == 1),
            "a disk that lies forgets nothing by itself"
        );
        let _ = drive.cut();
        let bytes = std::fs::read(drive.disk().path()).unwrap();
        lost += bytes.chunks(SECTOR).filter(|sector| sector.first() == Some(&0)).count();
    }
    lost
}

#[test]
fn only_a_disk_that_lies_loses_what_it_flushed() {
    assert_eq!(lost_after_flush(None), 0);
    assert_eq!(lost_after_flush(Some(Duration::ZERO)), 0, "it has been long enough");
    let lost = lost_after_flush(Some(Duration::MAX));
    assert!(lost > 200, "{lost} sectors lost");
}

#[test]
fn two_disks_of_a_machine_lose_their_power_together_and_each_its_own_part() {
    let (mut lost, mut differ) = (0, 0);
    for seed in 0..100 {
        let mut first = Drive::new(Disk::of(&[0; 8 * SECTOR]), seed);
        let mut second = first.beside(Disk::of(&[0; 8 * SECTOR]), seed + 1000);
        first.arm(Trigger { flushes: 1, writes: 0 });
        for drive in [&mut first, &mut second] {
            drive.write(0, vec![1; 4 * SECTOR]).unwrap();
            drive.flush().unwrap();
            assert!(!drive.is_cut() && !drive.is_dead());
        }
        second.write(0, vec![2; 8 * SECTOR]).unwrap();
        first.write(0, vec![2; 8 * SECTOR]).unwrap();
        assert!(first.is_dead() && second.is_cut() && second.is_dead());
        let contents = [&first, &second].map(|drive| std::fs::read(drive.disk().path()).unwrap());
        for bytes in &contents {
            let first_of = |sector: usize| *bytes.get(sector * SECTOR).unwrap();
            assert!((0..4).all(|sector| first_of(sector) != 0), "what was flushed is gone");
            lost += (0..8).filter(|sector| first_of(*sector) != 2).count();
        }
        let [one, other] = contents;
        differ += usize::from(one != other);
    }
    assert!(lost > 300 && differ > 30, "{lost} lost, {differ} pairs differ");
}
