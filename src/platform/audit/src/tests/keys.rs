//! Changes of the key: into hardware, out of it, to another, with everything that hardware does wrong.

use super::{Site, act, append, export, filled, pinned};
use crate::audit_log::{AuditError, AuditLog};
use crate::change::KeyChange;
use crate::export::Export;
use crate::key::Point;
use crate::log;
use crate::notary::{HardwareKeys, NotarizeError, Notary, SignerError};
use crate::note::Note;
use crate::verify::{Trust, VerifyError, checkpoint_of, verify};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use lamchat_base::Clock;
use lamchat_store::Store;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

/// A TPM as the notary sees it: keys are PKCS #8 behind its number.
struct Chip {
    number: u8,
    /// 0: well; 1: gone.
    state: Arc<AtomicU8>,
    signatures: Arc<AtomicUsize>,
}

impl HardwareKeys for Chip {
    fn kind(&self) -> &'static str {
        "TPM key"
    }

    fn create(&self) -> Result<Vec<u8>, SignerError> {
        self.answers()?;
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        Ok([&[self.number], pair.to_pkcs8v1().unwrap().as_ref()].concat())
    }

    fn public_key(&self, blob: &[u8]) -> Result<Point, SignerError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &blob[1..]).unwrap();
        Ok(pair.public_key().as_ref().try_into().unwrap())
    }

    fn sign(&self, blob: &[u8], digest: &[u8; 32]) -> Result<Vec<u8>, SignerError> {
        self.answers()?;
        if blob[0] != self.number {
            return Err(SignerError::Lost("another TPM made the key".to_owned()));
        }
        self.signatures.fetch_add(1, Ordering::Relaxed);
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &blob[1..]).unwrap();
        let digest = aws_lc_rs::digest::Digest::import_less_safe(digest, &aws_lc_rs::digest::SHA256).unwrap();
        Ok(pair.sign_digest(&digest).unwrap().as_ref().to_vec())
    }
}

impl Chip {
    fn answers(&self) -> Result<(), SignerError> {
        match self.state.load(Ordering::Relaxed) {
            0 => Ok(()),
            _ => Err(SignerError::Waiting("the TPM does not answer".to_owned())),
        }
    }
}

/// The chip of this number, which is well.
pub(super) fn chip(number: u8) -> Arc<dyn HardwareKeys> {
    Arc::new(Chip {
        number,
        state: Arc::default(),
        signatures: Arc::default(),
    })
}

/// A log whose machine has the chip of this number.
pub(super) fn with_chip(site: &Site, store: &Store, number: u8) -> (AuditLog, Arc<AtomicU8>) {
    let (log, state, _) = with_notary(site, store, number);
    (log, state)
}

fn with_notary(site: &Site, store: &Store, number: u8) -> (AuditLog, Arc<AtomicU8>, Arc<Mutex<Notary>>) {
    let state = Arc::new(AtomicU8::new(0));
    let chip = Chip {
        number,
        state: state.clone(),
        signatures: Arc::default(),
    };
    let mut notary = Notary::open(site.keyring.clone(), Some(Arc::new(chip))).unwrap();
    notary.want_hardware(true);
    let clock: Arc<dyn Clock> = site.clock.clone();
    let notary = Arc::new(Mutex::new(notary));
    let log = AuditLog::open(store.clone(), notary.clone(), "example.org", clock, &*site.entropy).unwrap();
    (log, state, notary)
}

fn accepting(trust: &Trust) -> Trust {
    Trust {
        accept_fallback: true,
        ..trust.clone()
    }
}

#[test]
fn the_key_moves_into_hardware_and_back_and_verification_follows() {
    let site = Site::new();
    let store = filled(5);
    let software = site.log(&store);
    let mut trust = pinned(&software);
    trust.previous.push(checkpoint_of(&export(&software, 0)).unwrap());
    drop(software);

    let (log, _) = with_chip(&site, &store, 1);
    log.sign().unwrap();
    assert_eq!(log.status().unwrap().key_kind, "TPM key");
    append(&store, act(6));
    for since in 0..=7 {
        let verdict = verify(&export(&log, since), &trust);
        if since > 5 {
            assert_eq!(
                verdict.unwrap_err(),
                VerifyError::BeginsLater {
                    earlier: 5,
                    start: since
                }
            );
            continue;
        }
        let verdict = verdict.unwrap();
        assert_eq!(verdict.keys.len(), 2);
        assert!(verdict.is_key_pinned && verdict.keys[1].vouched);
        assert_eq!(verdict.keys[1].kind.as_deref(), Some("TPM key"));
    }
    // Nothing more is due, and a restart finds the same key.
    log.sign().unwrap();
    assert_eq!(log::size(&store.read()).unwrap(), 7);
    drop(log);
    let (log, _, notary) = with_notary(&site, &store, 1);
    let hardware = pinned(&log);
    assert!(verify(&export(&log, 7), &hardware).is_ok());

    // Back, while the TPM still answers: its key signs for that.
    notary.lock().want_hardware(false);
    append(&store, act(7));
    log.sign().unwrap();
    assert_eq!(log.status().unwrap().key_kind, "software key");
    assert!(log.status().unwrap().trouble.is_none());
    for trust in [&trust, &hardware] {
        let verdict = verify(&export(&log, 0), trust).unwrap();
        assert!(verdict.keys.iter().all(|span| span.vouched));
        assert_eq!(verdict.keys.len(), 3);
    }
}

#[test]
fn a_tpm_that_is_gone_for_a_while_costs_no_entry_and_no_key() {
    let site = Site::new();
    let store = filled(3);
    let (log, state) = with_chip(&site, &store, 1);
    log.sign().unwrap();
    log.sign().unwrap();
    let trust = pinned(&log);
    state.store(1, Ordering::Relaxed);
    for number in 10..20 {
        append(&store, act(number));
        assert!(matches!(
            log.sign(),
            Err(AuditError::Notarize(NotarizeError::Signer(SignerError::Waiting(_))))
        ));
    }
    let status = log.status().unwrap();
    assert_eq!((status.size, status.signed), (14, 4));
    assert!(status.trouble.unwrap().sentence.contains("does not answer"));
    // What was signed is exported all the same.
    assert_eq!(verify(&export(&log, 0), &trust).unwrap().checkpoint.size, 4);
    state.store(0, Ordering::Relaxed);
    log.sign().unwrap();
    assert!(log.status().unwrap().trouble.is_none());
    assert_eq!(verify(&export(&log, 0), &trust).unwrap().checkpoint.size, 14);
}

#[test]
fn without_its_tpm_at_the_beginning_the_software_key_signs_and_says_so() {
    let site = Site::new();
    let store = filled(3);
    let (log, state) = with_chip(&site, &store, 1);
    state.store(1, Ordering::Relaxed);
    log.sign().unwrap();
    log.sign().unwrap();
    let status = log.status().unwrap();
    assert_eq!((status.key_kind.as_str(), status.signed), ("software key", 3));
    assert!(status.trouble.unwrap().sentence.contains("signs for now"));
    state.store(0, Ordering::Relaxed);
    log.sign().unwrap();
    assert_eq!(log.status().unwrap().key_kind, "TPM key");
}

#[test]
fn a_lost_tpm_is_followed_only_by_whoever_accepts_it() {
    let site = Site::new();
    let store = filled(3);
    let first = site.log(&store);
    let from_the_first_day = pinned(&first);
    first.sign().unwrap();
    drop(first);
    let (log, _) = with_chip(&site, &store, 1);
    log.sign().unwrap();
    let trust = pinned(&log);
    drop(log);
    // Another board: the fallback takes over, and vouches for the new TPM's key.
    let (log, _) = with_chip(&site, &store, 2);
    append(&store, act(9));
    log.sign().unwrap();
    log.sign().unwrap();
    let status = log.status().unwrap();
    assert_eq!(status.key_kind, "TPM key");
    assert_eq!(
        status.keys.iter().map(|span| span.vouched).collect::<Vec<_>>(),
        [true, true, false, true]
    );
    let file = export(&log, 0);
    for trust in [&from_the_first_day, &trust] {
        let refused = verify(&file, trust).unwrap_err();
        assert!(matches!(refused, VerifyError::Fallback { size: 6, .. }), "{refused}");
        assert_eq!(verify(&file, &accepting(trust)).unwrap().keys.len(), 4);
    }
    // Whoever visits after that needs to accept nothing.
    assert!(verify(&file, &pinned(&log)).is_ok());

    // Removed, and not even there any more.
    drop(log);
    let log = site.log(&store);
    append(&store, act(10));
    log.sign().unwrap();
    assert_eq!(log.status().unwrap().key_kind, "software key");
    assert!(verify(&export(&log, 0), &accepting(&trust)).is_ok());
}

#[test]
fn a_restored_backup_without_its_tpm_begins_a_log_with_the_software_key() {
    let site = Site::new();
    let store = filled(3);
    let (log, _) = with_chip(&site, &store, 1);
    log.sign().unwrap();
    log.sign().unwrap();
    assert_eq!(log.status().unwrap().key_kind, "TPM key");
    drop(log);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(store.start_new_epoch()).unwrap();
    site.notary().allow_another_log().unwrap();
    let log = site.log(&store);
    log.sign().unwrap();
    let status = log.status().unwrap();
    assert_eq!((status.key_kind.as_str(), status.keys.len()), ("software key", 1));
    let verdict = verify(&export(&log, 0), &pinned(&log)).unwrap();
    assert_eq!(verdict.entries.last().unwrap().act, "backup.restored");
}

#[test]
fn a_change_whose_row_was_not_written_is_found_again() {
    let site = Site::new();
    let store = filled(3);
    let software = site.log(&store);
    let trust = pinned(&software);
    software.sign().unwrap();
    drop(software);
    let (log, _) = with_chip(&site, &store, 1);
    log.sign().unwrap();
    drop(log);
    // The power went after the signer had changed, before the store kept it.
    let forget = |txn: &mut lamchat_store::WriteTxn<'_>| {
        txn.delete_range(log::META, &lamchat_store::KeyRange::prefix(b"change"))
            .map(drop)
    };
    store.write_blocking(forget).unwrap();
    let (log, _) = with_chip(&site, &store, 1);
    assert_eq!(verify(&export(&log, 0), &trust).unwrap().keys.len(), 2);
}

/// The export with its changes replaced.
fn with_changes(file: &str, changes: &[String]) -> String {
    let kept = file.lines().filter(|line| !line.starts_with("change "));
    let mut lines: Vec<String> = kept.map(str::to_owned).collect();
    let at = lines.iter().position(|line| line.starts_with("entry ")).unwrap();
    lines.splice(at..at, changes.iter().cloned());
    lines.join("\n") + "\n"
}

#[test]
fn no_other_key_is_followed() {
    let site = Site::new();
    let store = filled(6);
    let software = site.log(&store);
    let trust = pinned(&software);
    software.sign().unwrap();
    drop(software);
    let (log, _) = with_chip(&site, &store, 1);
    let honest = export(&log, 0);
    assert!(verify(&honest, &trust).is_ok());
    let changes: Vec<String> = honest
        .lines()
        .filter(|line| line.starts_with("change "))
        .map(str::to_owned)
        .collect();
    let [change] = changes.as_slice() else {
        panic!("{changes:?}")
    };
    let parsed = Export::parse(&honest).unwrap().changes.remove(0).0;
    let forged = |change: KeyChange| vec![format!("change {} proof ", change.line())];

    // Left out, doubled.
    assert_eq!(
        verify(&with_changes(&honest, &[]), &trust).unwrap_err(),
        VerifyError::Unsigned(7)
    );
    let twice = [change.clone(), change.clone()];
    assert!(matches!(
        verify(&with_changes(&honest, &twice), &trust),
        Err(VerifyError::KeyChange { .. })
    ));
    // Signed by the old key alone, or by the new one alone.
    for keep in 0..2 {
        let mut alone = parsed.clone();
        alone.note.signatures = vec![parsed.note.signatures[keep].clone()];
        let refused = verify(&with_changes(&honest, &forged(alone)), &trust).unwrap_err();
        assert!(matches!(refused, VerifyError::KeyChange { number: 6 }), "{refused}");
    }
    // The old key's true checkpoint, with an entry that was never in the log.
    let intruder = Site::new();
    let theirs = intruder.log(&filled(6));
    let mut plan = crate::change::Plan::of(&parsed.entry).unwrap();
    plan.to = Notary::open(intruder.keyring.clone(), None).unwrap().public_key();
    let mut other = parsed.clone();
    other.entry = plan.entry(1).encode();
    assert!(verify(&with_changes(&honest, &forged(other)), &trust).is_err());
    drop(theirs);
    // Each letter of the change.
    for at in (7..change.len()).step_by(5) {
        let mut bytes = change.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        if let Ok(verdict) = verify(&with_changes(&honest, &[changed]), &trust) {
            panic!("letter {at} of the change was changed, and still: {verdict:?}");
        }
    }
}

#[test]
fn a_key_that_was_replaced_signs_nothing_later() {
    let site = Site::new();
    let store = filled(4);
    let software = site.log(&store);
    let trust = pinned(&software);
    software.sign().unwrap();
    drop(software);
    let (log, _) = with_chip(&site, &store, 1);
    log.sign().unwrap();
    append(&store, act(50));
    let file = export(&log, 0);
    let head = checkpoint_of(&file).unwrap();
    // Whoever stole the software key signs a head of today with it.
    let keys = Notary::open(site.keyring.clone(), None).unwrap();
    assert_eq!(keys.kind(), "TPM key");
    let stolen = crate::software::SoftwareSigner::open(&*site.keyring).unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, head.text.as_bytes());
    let mut note = Note {
        signatures: Vec::new(),
        ..head.clone()
    };
    note.add(crate::note::NoteSignature {
        name: head.signatures[0].name.clone(),
        key_id: trust.key.as_ref().unwrap().id(),
        bytes: stolen.sign(digest.as_ref().try_into().unwrap()).unwrap(),
    });
    let (above, _) = file.split_once("\n\n").unwrap();
    let forged = format!("{above}\n\n{note}");
    assert_eq!(verify(&forged, &trust).unwrap_err(), VerifyError::Replaced(6));
    assert!(matches!(
        log.add_witness(note, crate::Actor::Server),
        Err(AuditError::Foreign(VerifyError::Replaced(6)))
    ));
}

#[test]
fn a_forked_log_gets_no_other_key_either() {
    let site = Site::new();
    let store = filled(8);
    let log = site.log(&store);
    log.sign().unwrap();
    let row = lamchat_store::Read::get(&store.read(), log::META, b"log")
        .unwrap()
        .unwrap();
    let other = filled(8);
    let forge = move |txn: &mut lamchat_store::WriteTxn<'_>| {
        txn.put(log::META, b"log", row);
        log::append(txn, &act(77)).map(drop)
    };
    other.write_blocking(forge).unwrap();
    append(&store, act(78));
    log.sign().unwrap();
    drop(log);
    let (forked, _) = with_chip(&site, &other, 1);
    let refused = forked.sign();
    assert!(
        matches!(refused, Err(AuditError::Notarize(NotarizeError::Fork { .. }))),
        "{refused:?}"
    );
    assert_eq!(log::size(&other.read()).unwrap(), 9, "nothing was announced");
}
