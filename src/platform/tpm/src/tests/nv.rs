//! Counter and anchor.

#![expect(clippy::unwrap_used, reason = "tests")]

use crate::testing::{Swtpm, open_handles};
use crate::{Anchor, AnchorError, CounterError, TpmError};
use lamchat_base::Secret;

const COUNTER: u32 = 0x0180_1111;
const ANCHOR: u32 = 0x0180_1112;

fn anchor(commit: u64) -> Anchor {
    Anchor {
        audit_head: [0xa5; 32],
        audit_entries: 3,
        commit,
    }
}

#[test]
fn a_counter_counts_through_resets_and_never_comes_back() {
    let mut swtpm = Swtpm::start();
    let mut tpm = swtpm.tpm();
    assert_eq!(tpm.counter(COUNTER).unwrap(), None);
    let first = tpm.ensure_counter(COUNTER).unwrap();
    assert_eq!(tpm.ensure_counter(COUNTER).unwrap(), first);
    let second = tpm.increment_counter(COUNTER).unwrap();
    assert_eq!((second.value, second.name), (first.value + 1, first.name));
    drop(tpm);
    swtpm.power_cycle();
    let mut tpm = swtpm.tpm();
    assert_eq!(tpm.counter(COUNTER).unwrap(), Some(second));
    tpm.delete_index(COUNTER).unwrap();
    tpm.delete_index(COUNTER).unwrap();
    assert_eq!(tpm.counter(COUNTER).unwrap(), None);
    assert!(matches!(
        tpm.increment_counter(COUNTER),
        Err(CounterError::Tpm(TpmError::Missing))
    ));
    assert!(tpm.ensure_counter(COUNTER).unwrap().value > second.value);
    assert!(open_handles(&mut tpm).is_empty());
}

#[test]
fn an_anchor_is_read_with_its_key_alone_and_not_seen_on_the_wire() {
    let mut swtpm = Swtpm::start();
    let (key, other) = (Secret::new([1; 32]), Secret::new([2; 32]));
    let (mut tpm, wire) = swtpm.recorded();
    assert!(matches!(
        tpm.read_anchor(ANCHOR, &key),
        Err(AnchorError::Absent(ANCHOR))
    ));
    tpm.ensure_anchor(ANCHOR, &key).unwrap();
    tpm.ensure_anchor(ANCHOR, &key).unwrap();
    assert!(matches!(tpm.read_anchor(ANCHOR, &key), Err(AnchorError::Unwritten)));
    // Whoever makes one in its place cannot pass it for ours.
    assert!(matches!(
        tpm.read_anchor(ANCHOR, &other),
        Err(AnchorError::AnotherInstallation)
    ));
    for commit in [1, 2, u64::MAX] {
        tpm.write_anchor(ANCHOR, &key, &anchor(commit)).unwrap();
        assert_eq!(tpm.read_anchor(ANCHOR, &key).unwrap(), anchor(commit));
    }
    assert!(!wire.lock().unwrap().windows(16).any(|window| window == [0xa5; 16]));
    let before = tpm.lockout().unwrap();
    assert!(matches!(
        tpm.read_anchor(ANCHOR, &other),
        Err(AnchorError::AnotherInstallation)
    ));
    assert!(matches!(
        tpm.write_anchor(ANCHOR, &other, &anchor(9)),
        Err(AnchorError::AnotherInstallation)
    ));
    assert_eq!(tpm.lockout().unwrap(), before);
    assert!(open_handles(&mut tpm).is_empty());
    drop(tpm);
    swtpm.power_cycle();
    assert_eq!(swtpm.tpm().read_anchor(ANCHOR, &key).unwrap(), anchor(u64::MAX));
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let swtpm = Swtpm::start();
    let key = Secret::new([1; 32]);
    let mut tpm = swtpm.tpm();
    tpm.ensure_counter(COUNTER).unwrap();
    tpm.ensure_anchor(ANCHOR, &key).unwrap();
    assert!(matches!(
        tpm.ensure_anchor(COUNTER, &key),
        Err(AnchorError::Foreign(COUNTER))
    ));
    assert!(matches!(
        tpm.read_anchor(COUNTER, &key),
        Err(AnchorError::Foreign(COUNTER))
    ));
    assert!(matches!(tpm.ensure_counter(ANCHOR), Err(CounterError::Foreign(ANCHOR))));
    assert!(matches!(
        tpm.increment_counter(ANCHOR),
        Err(CounterError::Foreign(ANCHOR))
    ));
    assert_eq!(tpm.counter(ANCHOR).unwrap(), None);
}

#[test]
fn what_was_given_up_makes_room_and_nothing_else_does() {
    const RANGE: std::ops::RangeInclusive<u32> = 0x0180_1200..=0x0180_1203;
    let mut swtpm = Swtpm::start();
    let key = Secret::new([1; 32]);
    let mut tpm = swtpm.tpm();
    let kept = tpm.new_counter(RANGE).unwrap();
    tpm.ensure_anchor(0x0180_1201, &key).unwrap();
    // Somebody else's: a counter that its own value increments, too.
    drop(tpm);
    let output = swtpm
        .tool("tpm2_nvdefine")
        .args(["-C", "o", "-s", "8", "0x1801202"])
        .args(["-a", "nt=counter|ownerwrite|ownerread|authread|authwrite|no_da"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut tpm = swtpm.tpm();
    let given_up = tpm.new_counter(RANGE).unwrap();
    assert_eq!(given_up.index, 0x0180_1203);
    assert!(matches!(tpm.new_counter(RANGE), Err(CounterError::Full(..))));
    assert_eq!(tpm.reclaim_counters(RANGE, &[kept.index]).unwrap(), 1);
    let fresh = tpm.new_counter(RANGE).unwrap();
    assert_eq!(fresh.index, given_up.index);
    assert!(fresh.value > given_up.value, "an old value came back");
    drop(tpm);
    swtpm.power_cycle();
    let mut tpm = swtpm.tpm();
    assert_eq!(tpm.counter(kept.index).unwrap(), Some(kept));
    for index in [0x0180_1201, 0x0180_1202] {
        assert!(tpm.has_index(index).unwrap(), "{index:#x}");
    }
    assert_eq!(tpm.reclaim_anchors(RANGE, &[]).unwrap(), 1);
    assert!(!tpm.has_index(0x0180_1201).unwrap());
    assert!(open_handles(&mut tpm).is_empty());
}
