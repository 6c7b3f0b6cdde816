//! The log end to end, and exports that somebody has tampered with.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod keys;
mod lost;
mod power_cut;
mod tampering;

use crate::audit_log::{AuditError, AuditLog};
use crate::entry::{Actor, Entry};
use crate::key::VerifierKey;
use crate::log::{self, TABLES};
use crate::notary::{NotarizeError, Notary};
use crate::note::Note;
use crate::verify::{Trust, VerifyError, checkpoint_of, verify};
use crate::witness::WitnessKey;
use lamchat_base::{Clock, Entropy, ManualClock};
use lamchat_seal::{Keyring, PassphraseCost, Unlock};
use lamchat_store::Store;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers that differ.
struct Counted(AtomicU64);

impl Entropy for Counted {
    fn fill(&self, buffer: &mut [u8]) {
        for byte in buffer {
            *byte = (self
                .0
                .fetch_add(1, Ordering::Relaxed)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                >> 56) as u8;
        }
    }
}

/// A keyring, and as many stores as a test wants.
struct Site {
    folder: tempfile::TempDir,
    keyring: Arc<Keyring>,
    entropy: Arc<Counted>,
    clock: Arc<ManualClock>,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let entropy = Arc::new(Counted(AtomicU64::new(1)));
        let keyring = Keyring::create(folder.path(), &Unlock::File, PassphraseCost::MINIMUM, entropy.clone());
        Self {
            folder,
            keyring: Arc::new(keyring.unwrap()),
            entropy,
            clock: Arc::new(ManualClock::new(1_767_225_600_000)),
        }
    }

    fn notary(&self) -> Notary {
        Notary::open(self.keyring.clone(), None).unwrap()
    }

    fn log(&self, store: &Store) -> AuditLog {
        let clock: Arc<dyn Clock> = self.clock.clone();
        let signer = Arc::new(Mutex::new(self.notary()));
        AuditLog::open(store.clone(), signer, "example.org", clock, &*self.entropy).unwrap()
    }
}

fn act(number: u64) -> Entry {
    Entry::new(number, Actor::Socket { uid: 1000 }, "user.add")
        .subject(format!("@user{number}:example.org"))
        .fact("admin", number.is_multiple_of(2))
}

fn append(store: &Store, entry: Entry) -> u64 {
    store.write_blocking(move |txn| log::append(txn, &entry)).unwrap()
}

fn filled(count: u64) -> Store {
    let store = Store::in_memory(TABLES).unwrap();
    for number in 0..count {
        assert_eq!(append(&store, act(number)), number);
    }
    store
}

fn export(log: &AuditLog, since: u64) -> String {
    let mut file = String::new();
    let mut sink = |piece: String| {
        file.push_str(&piece);
        Ok(())
    };
    log.export(since, &mut sink).unwrap();
    file
}

fn pinned(log: &AuditLog) -> Trust {
    Trust {
        key: Some(log.status().unwrap().key),
        ..Trust::default()
    }
}

#[test]
fn an_export_verifies_from_any_entry_on() {
    for count in [0, 1, 2, 3, 7, 8, 13] {
        let (site, store) = (Site::new(), filled(count));
        let log = site.log(&store);
        for since in 0..=count {
            let verdict = verify(&export(&log, since), &pinned(&log)).unwrap();
            assert_eq!((verdict.start, verdict.checkpoint.size), (since, count));
            assert_eq!(verdict.entries, (since..count).map(act).collect::<Vec<_>>());
            assert!(verdict.is_key_pinned);
        }
        // A number beyond the end means: no entries.
        assert_eq!(verify(&export(&log, 99), &Trust::default()).unwrap().start, count);
    }
}

#[test]
fn growth_is_consistent_with_every_earlier_visit() {
    let site = Site::new();
    let store = filled(1);
    let log = site.log(&store);
    let mut trust = pinned(&log);
    for number in 1..20 {
        trust.previous.push(checkpoint_of(&export(&log, 0)).unwrap());
        append(&store, act(number));
        let verdict = verify(&export(&log, 0), &trust).unwrap();
        assert_eq!(verdict.consistent_with, (1..=number).collect::<Vec<_>>());
    }
    // A part that begins later cannot tell, and says so.
    let begins = verify(&export(&log, 5), &trust).unwrap_err();
    assert_eq!(begins, VerifyError::BeginsLater { earlier: 1, start: 5 });
}

#[test]
fn many_appends_cost_one_signature_and_reading_costs_none() {
    let site = Site::new();
    let store = filled(5);
    let log = site.log(&store);
    let first = log.sign().unwrap();
    assert_eq!(log.sign().unwrap(), first, "nothing new: the kept signature");
    for number in 5..50 {
        append(&store, act(number));
    }
    assert_eq!((log.status().unwrap().size, log.status().unwrap().signed), (50, 5));
    log.sign().unwrap();
    assert_eq!(log.status().unwrap().signed, 50);
    // A restart finds log, key and head again.
    let again = site.log(&store);
    assert_eq!(again.status().unwrap().key, log.status().unwrap().key);
    again.sign().unwrap();
}

#[test]
fn a_forked_or_shortened_log_is_not_signed() {
    let site = Site::new();
    let store = filled(20);
    let log = site.log(&store);
    let earlier = checkpoint_of(&export(&log, 0)).unwrap();
    let identity = store.read();
    for (count, change) in [(20, 3), (25, 19), (25, 0), (10, 99), (19, 99), (0, 99)] {
        // A database with the same log's name, and another history.
        let other = Store::in_memory(TABLES).unwrap();
        let row = lamchat_store::Read::get(&identity, log::META, b"log").unwrap().unwrap();
        let name = move |txn: &mut lamchat_store::WriteTxn<'_>| {
            txn.put(log::META, b"log", row);
            Ok::<_, ()>(())
        };
        other.write_blocking(name).unwrap();
        for number in 0..count {
            append(&other, act(if number == change { 1_000 } else { number }));
        }
        let forged = site.log(&other);
        match forged.sign() {
            Err(AuditError::Notarize(NotarizeError::Fork { signed: 20, asked })) => assert_eq!(asked, count),
            other => panic!("{count} {change}: {other:?}"),
        }
    }
    // The honest one goes on.
    append(&store, act(20));
    let mut trust = pinned(&log);
    trust.previous.push(earlier);
    assert_eq!(verify(&export(&log, 0), &trust).unwrap().consistent_with, [20]);
}

#[test]
fn nobody_invents_a_log() {
    let site = Site::new();
    let store = filled(9);
    let log = site.log(&store);
    log.sign().unwrap();
    let mut notary = site.notary();
    let root = log::frontier(&filled(5).read(), 5).unwrap().root();
    for number in 0..300 {
        let checkpoint = crate::checkpoint::Checkpoint {
            origin: format!("example.org/audit/{number}"),
            size: 5,
            root,
        };
        let refused = notary.sign(&checkpoint, &[]);
        assert!(
            matches!(refused, Err(NotarizeError::AnotherLog { .. })),
            "{number}: {refused:?}"
        );
    }
    // Another database with this keyring has a log of its own, which is none that is signed here.
    assert!(site.log(&filled(20)).sign().is_err());
    // They all block nothing.
    append(&store, act(9));
    assert_eq!(site.log(&store).sign().unwrap().text.lines().nth(1), Some("10"));
}

#[test]
fn a_restored_database_is_another_log() {
    let site = Site::new();
    let store = filled(4);
    let before = site.log(&store);
    let seen = checkpoint_of(&export(&before, 0)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(store.start_new_epoch()).unwrap();
    // Nobody has said that the signer is to go along with that.
    let refused = site.log(&store).sign();
    assert!(
        matches!(refused, Err(AuditError::Notarize(NotarizeError::AnotherLog { .. }))),
        "{refused:?}"
    );
    site.notary().allow_another_log().unwrap();
    let after = site.log(&store);
    let (old, new) = (before.status().unwrap().key, after.status().unwrap().key);
    assert_ne!(old.name(), new.name());
    let verdict = verify(&export(&after, 0), &pinned(&after)).unwrap();
    assert_eq!(verdict.entries[4].act, "backup.restored");
    assert!(old.name().ends_with(&verdict.entries[4].subject));
    let trust = Trust {
        previous: vec![seen],
        ..pinned(&after)
    };
    assert!(matches!(
        verify(&export(&after, 0), &trust),
        Err(VerifyError::OtherLog { .. })
    ));
}

#[test]
fn a_witness_signs_on_its_own_machine_and_the_log_keeps_it() {
    let site = Site::new();
    let store = filled(6);
    let log = site.log(&store);
    let witness = WitnessKey::generate("auditor.example.org", &*site.entropy).unwrap();
    let mut note = checkpoint_of(&export(&log, 0)).unwrap();
    assert!(matches!(
        log.add_witness(note.clone(), Actor::Server),
        Err(AuditError::NoWitness)
    ));
    witness.cosign(&mut note, 1_700_000_000).unwrap();
    assert_eq!(
        log.add_witness(note.clone(), Actor::Server).unwrap(),
        ["auditor.example.org"]
    );

    // Even a part that begins later proves that it continues what the witness saw.
    let mut trust = pinned(&log);
    trust.witnesses.push(witness.public().unwrap());
    trust.previous.push(note.clone());
    let verdict = verify(&export(&log, 7), &trust).unwrap();
    assert_eq!(verdict.consistent_with, [6]);
    assert_eq!(
        verdict.witnesses,
        [("auditor.example.org".to_owned(), 6, 1_700_000_000)]
    );
    assert_eq!(log.status().unwrap().witnesses, [("auditor.example.org".to_owned(), 6)]);
    assert_eq!(log::entries(&store.read(), 6, 9).unwrap()[0].1.act, "audit.witness");

    // Another log's checkpoint, or one that nobody signed, is refused.
    let mut foreign = note.clone();
    foreign.text = foreign.text.replace("\n6\n", "\n5\n");
    assert!(matches!(
        log.add_witness(foreign, Actor::Server),
        Err(AuditError::Foreign(VerifyError::Signature(_)))
    ));
    let elsewhere = Site::new();
    let other = elsewhere.log(&filled(6));
    let mut foreign = checkpoint_of(&export(&other, 0)).unwrap();
    witness.cosign(&mut foreign, 1).unwrap();
    assert!(matches!(
        log.add_witness(foreign, Actor::Server),
        Err(AuditError::Foreign(_))
    ));
}

#[test]
fn rows_survive_a_restart_and_a_refused_write_leaves_no_entry() {
    let site = Site::new();
    let open = |tables: &[lamchat_store::Table]| {
        let options = lamchat_store::Options {
            dir: site.folder.path().join("store"),
            key: site
                .keyring
                .data_keys(site.folder.path())
                .unwrap()
                .database_key()
                .unwrap(),
            tables: tables.to_vec(),
            progress: lamchat_store::Progress::default(),
        };
        Store::open(options).unwrap()
    };
    // A database of a program that knew no audit log yet.
    let other = lamchat_store::Table::new(1000, "of.before");
    let store = open(&[other]);
    let put = move |txn: &mut lamchat_store::WriteTxn<'_>| {
        txn.put(other, b"key", b"value".to_vec());
        Ok::<_, ()>(())
    };
    store.write_blocking(put).unwrap();
    drop(store);
    let tables = [TABLES, &[other]].concat();
    let store = open(&tables);
    assert_eq!(log::size(&store.read()).unwrap(), 0);
    for number in 0..11 {
        append(&store, act(number));
    }
    let refused = store.write_blocking(|txn| {
        log::append(txn, &act(99)).unwrap();
        Err::<(), _>("the act was refused")
    });
    assert!(refused.is_err());
    drop(store);
    let store = open(&tables);
    let log = site.log(&store);
    assert_eq!(verify(&export(&log, 0), &pinned(&log)).unwrap().entries.len(), 11);
}

/// A key that the file itself brings is a claim, and the verdict says so.
fn own_key(file: &str) -> VerifierKey {
    crate::export::Export::parse(file).unwrap().key
}

#[test]
fn whoever_makes_a_log_of_their_own_is_found_by_key_or_by_earlier_visits() {
    let site = Site::new();
    let log = site.log(&filled(9));
    let honest = export(&log, 0);
    let forger = Site::new();
    let forged = export(&forger.log(&filled(12)), 0);
    let unpinned = verify(&forged, &Trust::default()).unwrap();
    assert!(!unpinned.is_key_pinned);
    assert_eq!(unpinned.key, own_key(&forged));
    assert!(verify(&forged, &pinned(&log)).is_err());
    let seen: Note = checkpoint_of(&honest).unwrap();
    let trust = Trust {
        previous: vec![seen],
        ..Trust::default()
    };
    assert!(verify(&forged, &trust).is_err());
}
