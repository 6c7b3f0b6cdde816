//! What is compared with bundles of before, what is remembered of them, and what the verdict says of it.

use crate::forged::{Scene, has, scene};
use lamchat_attestation::simulation::{self, Draft, SoftwareBox};
use lamchat_attestation::{AuditContinuity, Mark, Verdict};

/// What an auditor remembers of an honest bundle, and a scene of the same box after `change`.
fn later(change: impl FnOnce(&mut Draft)) -> Scene {
    let mut draft = Draft::honest();
    let manifest = draft.manifest.clone();
    let mark = draft.verify(&draft.evidence().to_bytes()).unwrap().mark;
    change(&mut draft);
    draft.manifest = manifest;
    let mut scene = scene(draft);
    // As it comes from the file.
    scene.seen = Some(Mark::from_bytes(&mark.to_bytes()).unwrap());
    scene
}

fn grown(draft: &mut Draft) {
    draft.made.clock.reset_count += 2;
    draft.made.clock.clock_ms += 5_000;
    draft.claims.audit_checkpoint = Some(simulation::checkpoint(50, 9));
}

fn reason(scene: &Scene) -> &'static str {
    scene.verify().unwrap_err().reason()
}

#[test]
fn without_a_bundle_of_before_the_verdict_says_so() {
    let verdict = scene(Draft::honest()).verify().unwrap();
    assert_eq!((verdict.since_previous, verdict.since_seen), (None, None));
    assert!(
        has(&verdict.not_checked, "whether the TPM's counters"),
        "{:?}",
        verdict.not_checked
    );
    assert!(!has(&verdict.proved, "since "));
}

#[test]
fn a_longer_log_is_one_of_more_entries_and_no_more() {
    let mut scene = later(grown);
    let mut verdict: Verdict = scene.verify().unwrap();
    let since = verdict.since_seen.unwrap();
    assert_eq!((since.resets, since.clock_ms), (2, 5_000));
    assert_eq!(since.audit, AuditContinuity::LengthOnly);
    assert!(has(
        &verdict.proved,
        "since the bundle that was accepted last: 2 resets"
    ));
    assert!(
        has(&verdict.not_checked, "whether the audit log continues"),
        "{:?}",
        verdict.not_checked
    );
    assert!(has(&verdict.claimed, "the audit log has more entries"));
    // The head of before is kept until an export has shown that it was continued.
    let heads: Vec<&[u8]> = verdict.mark.heads().collect();
    assert_eq!(heads, [simulation::checkpoint(42, 7), simulation::checkpoint(50, 9)]);
    scene.seen = Some(verdict.mark.clone());
    assert_eq!(scene.verify().unwrap().mark.heads().count(), 2);
    // An export that was verified makes it more.
    verdict.audit_is_consistent();
    assert_eq!(verdict.since_seen.unwrap().audit, AuditContinuity::Consistent);
    assert!(has(&verdict.proved, "the audit log continues"));
    assert_eq!(verdict.mark.heads().count(), 1);
    assert!(verdict.not_checked.is_empty() && !has(&verdict.claimed, "the audit log has more"));
}

#[test]
fn what_is_remembered_counts_as_a_bundle_does() {
    let back = |change: fn(&mut Draft)| reason(&later(change));
    assert_eq!(back(|d| d.made.clock.reset_count -= 1), "reset-count-went-back");
    assert_eq!(back(|d| d.made.clock.restart_count -= 1), "restart-count-went-back");
    assert_eq!(back(|d| d.made.clock.clock_ms -= 1), "clock-went-back");
    assert_eq!(back(|d| d.claims.audit_checkpoint = None), "audit-went-back");
    let fork = |d: &mut Draft| d.claims.audit_checkpoint = Some(simulation::checkpoint(42, 8));
    assert_eq!(back(fork), "audit-went-back");
    assert_eq!(
        later(|_| {}).verify().unwrap().since_seen.unwrap().audit,
        AuditContinuity::SameHead
    );
    // The nonce of the last bundle makes this one stale, and another box's memory is none of this one.
    let mut stale = later(grown);
    stale.nonce = vec![3; 20];
    stale.seen.as_mut().unwrap().nonce.clone_from(&stale.evidence.nonce);
    assert_eq!(reason(&stale), "nonce-stale");
    let mut other = later(grown);
    other.seen.as_mut().unwrap().ak_sha256.0[0] ^= 1;
    assert_eq!(reason(&other), "memory-unusable");
}

#[test]
fn both_are_compared_where_there_are_both() {
    let mut both = later(grown);
    let first = Draft {
        made: SoftwareBox::honest(),
        ..Draft::honest()
    };
    // A previous bundle of another box is refused, whatever the memory says.
    both.previous = Some(first.evidence());
    assert_eq!(reason(&both), "previous-unusable");
    both.previous = Some(both.evidence.clone());
    let verdict = both.verify().unwrap();
    assert_eq!(verdict.since_previous.unwrap().resets, 0);
    assert_eq!(verdict.since_seen.unwrap().resets, 2);
    // And the memory, whatever the previous bundle says.
    both.seen.as_mut().unwrap().resets += 3;
    assert_eq!(reason(&both), "reset-count-went-back");
}

fn restored(draft: &mut Draft) {
    grown(draft);
    let note = String::from_utf8(simulation::checkpoint(3, 1)).unwrap();
    draft.claims.audit_checkpoint = Some(note.replace("/audit", "/audit/2").into_bytes());
}

#[test]
fn a_new_log_has_to_be_accepted_and_the_counters_count_all_the_same() {
    let mut scene = later(restored);
    let rejection = scene.verify().unwrap_err();
    assert_eq!(rejection.reason(), "audit-is-another");
    assert!(rejection.to_string().contains("--accept-new-log"), "{rejection}");
    scene.accept_new_log = true;
    let mut verdict = scene.verify().unwrap();
    assert_eq!(verdict.since_seen.unwrap().audit, AuditContinuity::NewLog);
    assert!(has(&verdict.claimed, "the audit log is another one"));
    // No export of the new log says anything about the old one.
    verdict.audit_is_consistent();
    assert_eq!(verdict.since_seen.unwrap().audit, AuditContinuity::NewLog);

    let mut back = later(|draft| {
        restored(draft);
        draft.made.clock.reset_count -= 3;
    });
    back.accept_new_log = true;
    assert_eq!(reason(&back), "reset-count-went-back");
    // The same log gone back is no new log.
    let mut shorter = later(|draft| draft.claims.audit_checkpoint = Some(simulation::checkpoint(41, 7)));
    shorter.accept_new_log = true;
    assert_eq!(reason(&shorter), "audit-went-back");
}
