//! A second partition that follows the first, with the power going at every write.
#![expect(clippy::panic, reason = "tests")]

use super::*;

fn follow(disk: &Disk, from: &Disk) -> Result<(usize, usize), SlotError> {
    let followed = Slots::open(disk.clone())?.follow(&mut Slots::open(from.clone())?)?;
    Ok((followed.written, followed.renamed))
}

#[test]
fn the_second_partition_becomes_like_the_first() {
    let (one, two) = (release(1, 5_000), release(2, 7_001));
    let (first, second) = (disk(&[("lamchat-a.efi", &one)]), disk(&[("lamchat-a.efi", &one)]));
    assert_eq!(follow(&second, &first).unwrap(), (0, 0));
    // An update, its first start, and that it is good.
    update(&first, Slot::A, &two).unwrap();
    for to in ["lamchat-b+3.efi", "lamchat-b+2-1.efi", "lamchat-b.efi"] {
        let before = list(&first);
        let (before, to) = (Name::parse(&before[1]).unwrap(), Name::parse(to).unwrap());
        if before != to {
            Slots::open(first.clone()).unwrap().rename(&before, &to).unwrap();
        }
        let expected = if before == to { (1, 0) } else { (0, 1) };
        assert_eq!(follow(&second, &first).unwrap(), expected, "{to}");
        assert_eq!(second.files(), first.files(), "{to}");
        assert_eq!(follow(&second, &first).unwrap(), (0, 0), "{to}");
    }
    // What the first does not have stays.
    let other = disk(&[("lamchat-a.efi", &one)]);
    assert_eq!(follow(&second, &other).unwrap(), (0, 0));
    assert_eq!(second.files(), first.files());
}

#[test]
fn a_cut_leaves_each_slot_as_it_was_or_as_it_is_to_be() {
    let (old, fallback, new) = (release(3, 3_000), release(1, 5_000), release(2, 7_001));
    let first = disk(&[("lamchat-a.efi", &fallback), ("lamchat-b+2-1.efi", &new)]);
    let second = disk(&[("lamchat-a.efi", &fallback), ("lamchat-b.efi", &old)]);
    let before = second.snapshot();
    follow(&second, &first).unwrap();
    let done = second.done.lock().unwrap().clone();
    for count in 0..=done.len() {
        for keeps in [true, false] {
            let cut = Disk::cut(&before, &done[..count], || keeps);
            let files = cut.files();
            assert_eq!(files["lamchat-a.efi"], fallback, "cut at {count}");
            match (files.get("lamchat-b.efi"), files.get("lamchat-b+2-1.efi")) {
                (Some(file), None) => assert_eq!(*file, old, "cut at {count}"),
                (None, Some(file)) => assert_eq!(*file, new, "cut at {count}"),
                other => panic!("cut at {count}: {other:?}"),
            }
            follow(&cut, &first).unwrap();
            assert_eq!(cut.files(), first.files(), "cut at {count}");
        }
    }
}
