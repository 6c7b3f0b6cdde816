#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use super::*;

fn ids(name: &str) -> Ids {
    Ids {
        keyring: format!("{name}-keyring"),
        data: name.to_owned(),
    }
}

fn mirror(members: [&str; 2], without: Option<usize>, left: &[&str]) -> Mirror {
    Mirror {
        id: "m".to_owned(),
        sectors: 2048,
        members: members.map(ids),
        without,
        left: left.iter().map(|id| (*id).to_owned()).collect(),
    }
}

fn seen(name: &str, mirror: Mirror) -> (Ids, Stage, Mirror) {
    (ids(name), Stage::Done, mirror)
}

#[test]
fn mirrors_are_read_as_they_were_written() {
    for mirror in [mirror(["a", "b"], None, &[]), mirror(["a", "c"], Some(1), &["b"])] {
        assert_eq!(Mirror::parse(&mirror.json()), Some(mirror));
    }
    let mut wrong = mirror(["a", "b"], None, &[]).json();
    assert!(Mirror::parse(&json!({})).is_none());
    wrong["without"] = json!(2);
    assert!(Mirror::parse(&wrong).is_none());
    wrong["without"] = json!(1);
    assert!(Mirror::parse(&wrong).is_some());
    wrong["members"] = json!([{"keyring": "k", "data": "d"}]);
    assert!(Mirror::parse(&wrong).is_none());
}

#[test]
fn both_go_on_or_the_one_that_went_on() {
    let both = mirror(["a", "b"], None, &[]);
    let alone = |without: usize| mirror(["a", "b"], Some(without), &[]);
    let judged = |first: &Mirror, second: &Mirror| judge(&[seen("a", first.clone()), seen("b", second.clone())]);
    assert_eq!(judged(&both, &both), Verdict::Go(vec![0, 1]));
    assert_eq!(judged(&alone(1), &both), Verdict::Go(vec![0]), "b came back");
    assert_eq!(judged(&both, &alone(0)), Verdict::Go(vec![1]), "a came back");
    assert_eq!(judged(&alone(1), &alone(0)), Verdict::Parted(0, 1));
    for one in [&both, &alone(1)] {
        assert_eq!(judge(&[seen("a", one.clone())]), Verdict::Go(vec![0]));
    }
}

#[test]
fn a_disk_that_was_replaced_does_not_win() {
    let mut new = mirror(["a", "b"], Some(1), &[]);
    new.exchange(1, ids("c"));
    assert_eq!(new, mirror(["a", "c"], None, &["b"]));
    let old = mirror(["a", "b"], None, &[]);
    let three = [seen("a", new.clone()), seen("b", old.clone()), seen("c", new.clone())];
    assert_eq!(judge(&three), Verdict::Go(vec![0, 2]));
    assert_eq!(judge(&three[1..]), Verdict::Go(vec![1]), "also without a");
    // It had been started alone meanwhile.
    let alone = mirror(["a", "b"], Some(0), &[]);
    let parted = [seen("b", alone), seen("c", new)];
    assert_eq!(judge(&parted), Verdict::Parted(0, 1));
}

#[test]
fn a_disk_that_is_not_full_does_not_go_alone() {
    let mut new = mirror(["a", "b"], Some(1), &[]);
    let before = new.clone();
    new.exchange(1, ids("c"));
    let filling = (ids("c"), Stage::Filling, new.clone());
    assert_eq!(judge(std::slice::from_ref(&filling)), Verdict::Incomplete);
    assert_eq!(judge(&[seen("a", new), filling.clone()]), Verdict::Go(vec![0, 1]));
    // The power was cut before the first one knew of it.
    assert_eq!(judge(&[seen("a", before), filling]), Verdict::Go(vec![0]));
}

#[test]
fn those_left_behind_are_not_remembered_without_end() {
    let mut mirror = mirror(["a", "b"], None, &[]);
    for number in 0..100 {
        mirror.exchange(number % 2, ids(&format!("x{number}")));
    }
    assert_eq!(mirror.left.len(), LEFT_MAX);
    assert_eq!(mirror.left.last().unwrap(), "x97");
}
