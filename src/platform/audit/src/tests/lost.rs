//! What the signer kept is deleted, put back as it was when it was new, or cut off while it is made: a deletion is noticed
//! and begins no other log, and a power cut looks like none.

use super::keys::{chip, with_chip};
use super::{Counted, Site, act, append, filled, pinned};
use crate::audit_log::AuditError;
use crate::checkpoint::Checkpoint;
use crate::keep::Keep;
use crate::notary::{NotarizeError, Notary};
use crate::verify::verify;
use lamchat_base::SecretBytes;
use lamchat_disk::Disk;
use lamchat_disk::simulation::SimulatedDisk;
use lamchat_seal::{Keyring, Mark, PassphraseCost, Unlock};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

const NAMES: [&str; 3] = ["audit-heads", "audit-key", "audit-signing"];

fn file(site: &Site, name: &str) -> PathBuf {
    site.folder.path().join(format!("secrets/{name}.sealed"))
}

fn head(log: &str, size: u64) -> Checkpoint {
    Checkpoint {
        origin: format!("example.org/audit/{log}"),
        size,
        root: [1; 32],
    }
}

/// Nothing is signed, and the error names the file.
fn is_lost(notary: &mut Notary, name: &str) -> bool {
    ["1", "2"].iter().all(|log| match notary.sign(&head(log, 5), &[]) {
        Err(error @ NotarizeError::Lost { .. }) => error.to_string().contains(&format!("secrets/{name}.sealed")),
        _ => false,
    })
}

#[test]
fn whoever_deletes_a_record_gets_no_other_log() {
    for name in NAMES {
        let (site, store) = (Site::new(), filled(3));
        let (log, _) = with_chip(&site, &store, 1);
        log.sign().unwrap();
        log.sign().unwrap();
        let trust = pinned(&log);
        drop(log);
        let kept = std::fs::read(file(&site, name)).unwrap();
        std::fs::remove_file(file(&site, name)).unwrap();
        for _ in 0..2 {
            // As often as it starts: nothing takes the place of what is missing.
            assert!(is_lost(&mut site.notary(), name), "{name}");
            assert!(site.notary().plan().unwrap().is_none());
            assert!(!file(&site, name).exists(), "{name}");
        }
        let (log, _) = with_chip(&site, &store, 1);
        append(&store, act(7));
        let refused = log.sign();
        assert!(
            matches!(refused, Err(AuditError::Notarize(NotarizeError::Lost { .. }))),
            "{refused:?}"
        );
        assert!(log.status().unwrap().trouble.unwrap().sentence.contains(name));
        drop(log);
        // The file comes back: everything goes on.
        std::fs::write(file(&site, name), kept).unwrap();
        let (log, _) = with_chip(&site, &store, 1);
        log.sign().unwrap();
        assert!(verify(&super::export(&log, 0), &trust).unwrap().is_key_pinned);
    }
}

#[test]
fn by_its_owners_word_another_log_begins_and_one_alone() {
    for name in NAMES {
        let (site, store) = (Site::new(), filled(3));
        let (log, _) = with_chip(&site, &store, 1);
        log.sign().unwrap();
        log.sign().unwrap();
        drop(log);
        std::fs::remove_file(file(&site, name)).unwrap();
        site.notary().allow_another_log().unwrap();
        // Across a restart.
        let mut notary = site.notary();
        assert!(notary.lost().is_none(), "{name}");
        let signed = notary.sign(&head("2", 5), &[]);
        // The key in hardware is away, and a new log begins without it.
        assert!(signed.is_ok(), "{name}: {signed:?}");
        assert!(matches!(
            notary.sign(&head("3", 5), &[]),
            Err(NotarizeError::AnotherLog { .. })
        ));
        assert!(matches!(
            site.notary().sign(&head("3", 5), &[]),
            Err(NotarizeError::AnotherLog { .. })
        ));
        std::fs::remove_file(file(&site, "audit-heads")).unwrap();
        assert!(
            is_lost(&mut site.notary(), "audit-heads"),
            "the new one is marked as well"
        );
    }
}

#[test]
fn heads_from_before_the_first_are_no_heads() {
    let (site, store) = (Site::new(), filled(3));
    let empty = SecretBytes::new(Vec::new());
    site.keyring.keep_own("audit-heads", &empty).unwrap();
    let first = std::fs::read(file(&site, "audit-heads")).unwrap();
    site.log(&store).sign().unwrap();
    std::fs::write(file(&site, "audit-heads"), first).unwrap();
    assert!(is_lost(&mut site.notary(), "audit-heads"));
}

/// Installations of before have records and no marks.
#[test]
fn what_was_kept_before_there_were_marks_gets_them_without_a_word() {
    let (site, store) = (Site::new(), filled(3));
    let (log, _) = with_chip(&site, &store, 1);
    log.sign().unwrap();
    log.sign().unwrap();
    drop(log);
    let marks = [Mark::Heads, Mark::SoftwareKey, Mark::Signing];
    assert!(marks.iter().all(|mark| site.keyring.has_mark(*mark)));
    marks.iter().for_each(|mark| site.keyring.take_mark(*mark).unwrap());
    let (log, _) = with_chip(&site, &store, 1);
    // As each start does it.
    append(&store, act(7));
    log.sign().unwrap();
    assert!(marks.iter().all(|mark| site.keyring.has_mark(*mark)));
}

fn keyring(disk: &SimulatedDisk, seed: u64) -> Arc<Keyring> {
    let (shared, entropy) = (Arc::new(disk.clone()), Arc::new(Counted(AtomicU64::new(seed))));
    let dir = Path::new("/keys");
    let opened = Keyring::open_on(shared.clone(), dir, &Unlock::File, entropy.clone());
    let made = || Keyring::create_on(shared, dir, &Unlock::File, PassphraseCost::MINIMUM, entropy);
    Arc::new(opened.or_else(|_| made()).unwrap())
}

/// A first head, then a key in hardware is made, until the power fails. Whether the first signature was out.
fn sign_until_power_fails(keyring: &Arc<Keyring>) -> bool {
    let Ok(mut notary) = Notary::open(Arc::clone(keyring) as Arc<dyn Keep>, Some(chip(1))) else {
        return false;
    };
    notary.want_hardware(true);
    let is_out = notary.sign(&head("1", 5), &[]).is_ok();
    let _made = notary.plan();
    // And again, as for evidence.
    let _signed = notary.sign(&head("1", 5), &[]);
    is_out
}

#[test]
fn a_power_cut_is_no_deletion_and_hides_none() {
    let calm = SimulatedDisk::new(0);
    let whole = keyring(&calm, 1);
    let begun = calm.operations();
    assert!(sign_until_power_fails(&whole));
    let operations = calm.operations() - begun;
    assert!(operations > 20, "{operations}");
    let (mut early, mut out) = (0, 0);
    for round in 0..10 * operations {
        for deleted in [None, Some("audit-heads"), Some("audit-key"), Some("audit-signing")] {
            let disk = SimulatedDisk::new(round);
            let before = keyring(&disk, 1);
            disk.cut_power_after(round % operations);
            let is_out = sign_until_power_fails(&before);
            let disk = disk.power_on();
            let is_deleted = deleted.is_some_and(|name| {
                let path = format!("/keys/secrets/{name}.sealed");
                disk.remove(Path::new(&path)).is_ok()
            });
            let mut notary = Notary::open(keyring(&disk, 3), Some(chip(1))).unwrap();
            let signed = notary.sign(&head("1", 5), &[]);
            let is_lost = matches!(signed, Err(NotarizeError::Lost { .. }));
            match deleted {
                _ if !is_deleted => assert!(signed.is_ok(), "round {round}: {signed:?}"),
                Some(name @ ("audit-heads" | "audit-key")) if is_out => {
                    assert!(is_lost, "round {round}: {name}: {signed:?}");
                }
                // Nothing has come of it: it may be missed, and may be not.
                _ => assert!(is_lost || signed.is_ok(), "round {round}: {signed:?}"),
            }
            early += u64::from(!is_out);
            out += u64::from(is_out);
        }
    }
    assert!(early > 50 && out > 50, "{early} {out}");
}
