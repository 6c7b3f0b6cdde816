//! Both ends over socket pairs, strangers' bytes, folders of before, and the sandbox.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod indices;
mod marks;
mod on_box;
mod pin;

use crate::{
    Act, Anchor, Anchored, AskError, Client, Files, FolderError, Holder, Network, Notice, Notices, Opened, Reason,
    Reply, Request, ServeError, Setup, State, Tpm, TpmPlace, Typed, ask_typed, confine, files, leave_network, listen,
    serve, serve_typed,
};
use lamchat_attestation::Sha256;
use lamchat_attester::{Attester, Machine, Nonce, Places, Settings, Statement};
use lamchat_audit::checkpoint::Checkpoint;
use lamchat_audit::notary::{HeadSigner, NotarizeError};
use lamchat_base::{Clock, Entropy, ManualClock, SecretBytes};
use lamchat_disk::RealDisk;
use lamchat_hardware::{TpmMake, Version};
use lamchat_seal::{Keyring, OpenError, PassphraseCost, Purpose, RecoveryKey, ReleasedKey, SlotKind, Unlock};
use nix::unistd::Pid;
use parking_lot::Mutex;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

#[derive(Debug)]
struct Counting(AtomicU64);

impl Entropy for Counting {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let number = self
                .0
                .fetch_add(1, Ordering::Relaxed)
                .wrapping_mul(0x9E37_79B9_7F4A_7C15);
            let bytes = number.rotate_left(17).to_le_bytes();
            chunk.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        }
    }
}

fn entropy(seed: u64) -> Arc<dyn Entropy> {
    Arc::new(Counting(AtomicU64::new(seed)))
}

/// A holder on threads, and both ways to it.
struct House {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    client: Client,
    served: JoinHandle<Result<(), ServeError>>,
    /// What the exchange was told.
    told: Arc<Mutex<Vec<Notice>>>,
    /// Whether the exchange can note anything.
    notes: Arc<Mutex<bool>>,
}

fn attester() -> Attester {
    let settings = Settings {
        pcrs: vec![7],
        ek_certificates: Vec::new(),
    };
    Attester::new(Machine::open(&Places::of_software_tpm()), settings, "1")
}

fn evidence() -> Request {
    Request::Evidence {
        nonce: Nonce::new(&[1; 20]).unwrap(),
        origin: "example.org/audit/1".to_owned(),
        statement: Statement {
            server_name: "example.org".to_owned(),
            configuration: Sha256::of(b"configuration"),
            tls_files: vec![Sha256::of(b"file")],
        },
        sealed: Vec::new(),
    }
}

impl House {
    fn new() -> Self {
        Self::with(tempfile::tempdir().unwrap(), None)
    }

    fn with(folder: tempfile::TempDir, passphrase: Option<&str>) -> Self {
        // Some other process, so that these tests may type.
        Self::of(folder, passphrase, 1)
    }

    fn of(folder: tempfile::TempDir, passphrase: Option<&str>, exchange: i32) -> Self {
        let ((ours, theirs), (notices, told_of)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        let clock = Arc::new(ManualClock::new(1_000_000));
        let setup = Setup {
            dir: folder.path().to_owned(),
            disk: RealDisk::shared(),
            on_box: false,
            passphrase: passphrase.map(|text| Ok(typed(text))),
            tpm: Tpm::none("this is a test", &[7], None),
            attester: Ok(attester()),
            exchange_dir: folder.path().join("exchange"),
            cost: PassphraseCost::MINIMUM,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            entropy: entropy(1),
        };
        let (notices, acks) = Notices::new(notices).unwrap();
        let holder = Arc::new(Holder::new(setup, notices, "on threads".to_owned()));
        let socket = folder.path().join(crate::SOCKET);
        // An earlier one may have left it.
        let _left = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let shared = Arc::clone(&holder);
        std::thread::spawn(move || serve_typed(&listener, &shared, Network::Open, Some(Pid::from_raw(exchange))));
        std::thread::spawn(move || acks.run());
        let (told, notes) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(true)));
        let (known, can) = (Arc::clone(&told), Arc::clone(&notes));
        std::thread::spawn(move || {
            listen(told_of, |notice| {
                known.lock().push(*notice);
                if *can.lock() {
                    Ok(())
                } else {
                    Err("the disk is full".to_owned())
                }
            })
        });
        Self {
            folder,
            clock,
            client: Client::new(ours).unwrap(),
            served: std::thread::spawn(move || serve(theirs, &holder, &AtomicBool::new(false))),
            told,
            notes,
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join(crate::SOCKET)
    }

    /// Takes the file slot out; the other one opens by this passphrase.
    fn without_file_slot(&self, passphrase: &str) {
        let renew = |text: &str| {
            let keys = vec![(2, typed(text))];
            self.type_in(&Typed::Renew { slot: 1, keys })
        };
        assert_eq!(refused(renew("something else")), Reason::WrongKey);
        self.clock.advance_ms(2_000);
        let Ok(Reply::Slot(gone)) = renew(passphrase) else {
            panic!()
        };
        assert_eq!((gone.id, gone.kind), (1, SlotKind::File));
        self.client.forget_status();
    }

    fn type_in(&self, request: &Typed) -> Result<Reply, AskError> {
        ask_typed(&self.socket(), request)
    }

    fn acts(&self) -> Vec<(Act, State)> {
        let told = std::mem::take(&mut *self.told.lock());
        told.iter().map(|notice| (notice.act, notice.state)).collect()
    }

    fn keys(&self) -> Vec<ReleasedKey> {
        match self.client.open(true).unwrap() {
            Opened::Keys { keys, .. } => keys,
            Opened::Locked { reason, .. } => panic!("{reason}"),
        }
    }

    /// Everything ends, and the folder stays.
    fn leave(self) -> tempfile::TempDir {
        self.client.close();
        self.served.join().unwrap().unwrap();
        self.folder
    }
}

fn typed(text: &str) -> SecretBytes {
    SecretBytes::new(text.as_bytes().to_vec())
}

fn refused<T: std::fmt::Debug>(result: Result<T, AskError>) -> Reason {
    match result {
        Err(AskError::Refused(reason, _)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_exchange_gets_data_keys_and_changes_slots() {
    let house = House::new();
    let early = house.type_in(&Typed::AddPassphrase(typed("long enough now")));
    assert_eq!(refused(early), Reason::NotNow);
    let keys = house.keys();
    assert_eq!(keys.len(), 4);
    assert!(matches!(keys[0], ReleasedKey::Database { number: 1, .. }));
    let rotated = house.client.rotate(Purpose::Media).unwrap();
    assert!(matches!(
        rotated,
        ReleasedKey::Data {
            purpose: Purpose::Media,
            number: 2,
            ..
        }
    ));
    assert_eq!(refused(house.client.export_for_backup()), Reason::NoPortableSlot);
    assert_eq!(refused(house.client.remove(1)), Reason::NotAllowed);
    assert_eq!(refused(house.client.remove(7)), Reason::UnknownSlot);
    assert_eq!(refused(house.client.add_tpm(true)), Reason::Tpm);
    assert_eq!(refused(house.client.rebind(1, false)), Reason::Tpm);
    // What people type waits until the exchange takes notices.
    assert_eq!(refused(house.type_in(&Typed::AddRecovery)), Reason::NotNow);
    house.client.ready().unwrap();
    house.type_in(&Typed::AddPassphrase(typed("long enough now"))).unwrap();
    assert_eq!(refused(house.client.remove(1)), Reason::NotAllowed, "the file slot");
    house.without_file_slot("long enough now");
    let status = house.client.status().unwrap();
    assert_eq!((status.slots[0].kind, status.former_keys), (SlotKind::Passphrase, true));
    house.client.forget_former().unwrap();
    assert!(!house.client.status().unwrap().former_keys);
    let exported = house.client.export_for_backup().unwrap();
    let unlock = Unlock::Passphrase(typed("long enough now"));
    let backup = lamchat_seal::BackupKeyring::open(&exported, &unlock).unwrap();
    assert_eq!(house.client.backup_key(&[7; 32]).unwrap(), backup.backup_key(&[7; 32]));
    house.leave();
}

#[test]
fn what_is_typed_is_told_before_and_after_it_is_done() {
    use State::{Begun, Done, Failed};
    let house = House::new();
    house.keys();
    house.client.ready().unwrap();
    let Reply::Recovery(slot, key) = house.type_in(&Typed::AddRecovery).unwrap() else {
        panic!("no key")
    };
    assert_eq!(slot.kind, SlotKind::Recovery);
    assert_eq!(house.acts(), [(Act::AddSlot, Begun), (Act::AddSlot, Done)]);
    let other = RecoveryKey::generate(&*entropy(77));
    let wrong = house.type_in(&Typed::VerifyRecovery(typed(&other.text())));
    assert_eq!(refused(wrong), Reason::WrongKey);
    assert_eq!(
        house.acts(),
        [(Act::VerifyRecovery, Begun), (Act::VerifyRecovery, Failed)]
    );
    // Slowed down, and typing errors cost nothing: neither is an act.
    let slowed = house.type_in(&Typed::VerifyRecovery(key.clone()));
    assert_eq!(refused(slowed), Reason::Slowed);
    let typo = house.type_in(&Typed::VerifyRecovery(typed("000012 005157")));
    assert_eq!(refused(typo), Reason::NotAllowed);
    assert_eq!(house.acts(), []);
    house.clock.advance_ms(1_100);
    let Reply::Slot(verified) = house.type_in(&Typed::VerifyRecovery(key)).unwrap() else {
        panic!("no slot")
    };
    assert_eq!((verified.id, verified.verified_ms), (slot.id, Some(1_001_100)));
    house.acts();
    // What cannot be noted is not done.
    *house.notes.lock() = false;
    let passphrase = Typed::AddPassphrase(typed("long enough now"));
    assert_eq!(refused(house.type_in(&passphrase)), Reason::NotNoted);
    assert_eq!(house.acts(), [(Act::AddSlot, Begun)]);
    house.client.forget_status();
    assert_eq!(house.client.status().unwrap().slots.len(), 2);
    for text in ["short", "000012 005157 010293 015432 020572 025710 030853 035993"] {
        assert_eq!(
            refused(house.type_in(&Typed::AddPassphrase(typed(text)))),
            Reason::NotAllowed
        );
    }
    let open = house.type_in(&Typed::Unlock(typed("anything")));
    assert_eq!(refused(open), Reason::NotAllowed);
    house.leave();
}

#[test]
fn the_exchange_is_nobody_who_types() {
    let own = std::process::id().try_into().unwrap();
    let house = House::of(tempfile::tempdir().unwrap(), None, own);
    house.keys();
    house.client.ready().unwrap();
    assert!(matches!(house.type_in(&Typed::AddRecovery), Err(AskError::Frame(_))));
    assert_eq!(house.acts(), []);
    house.leave();
}

#[test]
fn locked_keys_are_opened_by_hand_and_the_exchange_learns_of_it_later() {
    let house = House::new();
    house.keys();
    house.client.ready().unwrap();
    house.type_in(&Typed::AddPassphrase(typed("long enough now"))).unwrap();
    house.without_file_slot("long enough now");
    let house = House::with(house.leave(), None);
    let Opened::Locked { reason, slots, .. } = house.client.open(false).unwrap() else {
        panic!("open")
    };
    assert!(reason.contains("no slot that opens by itself"), "{reason}");
    assert_eq!(slots.len(), 1);
    assert_eq!(house.client.status().unwrap().slots, slots);
    assert_eq!(refused(house.client.rotate(Purpose::Media)), Reason::NotNow);
    let wrong = house.type_in(&Typed::Unlock(typed("something else")));
    assert_eq!(refused(wrong), Reason::WrongKey);
    let slowed = house.type_in(&Typed::Unlock(typed("long enough now")));
    assert_eq!(refused(slowed), Reason::Slowed);
    house.clock.advance_ms(1_100);
    let opened = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| house.client.await_unlock());
        let unlocked = house.type_in(&Typed::Unlock(typed("long enough now"))).unwrap();
        assert_eq!(unlocked, Reply::Unlocked(SlotKind::Passphrase));
        waiting.join().unwrap().unwrap()
    });
    assert!(matches!(
        opened,
        Opened::Keys {
            by: SlotKind::Passphrase,
            ..
        }
    ));
    assert_eq!(house.acts(), []);
    // What cannot be noted yet goes before whatever comes next.
    *house.notes.lock() = false;
    house.client.ready().unwrap();
    assert_eq!(house.acts(), [(Act::Unlock, State::Failed)]);
    *house.notes.lock() = true;
    house.type_in(&Typed::AddRecovery).unwrap();
    let told = [
        (Act::Unlock, State::Failed),
        (Act::Unlock, State::Done),
        (Act::AddSlot, State::Begun),
        (Act::AddSlot, State::Done),
    ];
    assert_eq!(house.acts(), told);
    // A wrong passphrase file is a mistake, and ends the start.
    let house = House::with(house.leave(), Some("something else"));
    assert_eq!(refused(house.client.open(false)), Reason::WrongKey);
    let house = House::with(house.leave(), Some("long enough now"));
    assert_eq!(
        house.keys().len(),
        8,
        "the former ones until everything is encrypted anew"
    );
    let folder = house.leave();
    std::fs::remove_file(folder.path().join("keyring")).unwrap();
    let house = House::with(folder, None);
    assert_eq!(refused(house.client.open(false)), Reason::Keyring);
    house.leave();
}

#[test]
fn heads_are_signed_as_long_as_they_continue_each_other() {
    let house = House::new();
    assert!(house.client.identity("example.org/audit/1").is_err(), "no keys yet");
    house.keys();
    let identity = house.client.identity("example.org/audit/1").unwrap();
    assert_eq!((identity.kind.as_str(), identity.signed), ("software key", 0));
    let head = |size, root| Checkpoint {
        origin: "example.org/audit/1".to_owned(),
        size,
        root: [root; 32],
    };
    let note = house.client.sign(&head(1, 1), &[]).unwrap();
    assert!(identity.key.check(&note).unwrap().is_some());
    let forked = house.client.sign(&head(1, 2), &[]).unwrap_err();
    assert!(matches!(forked, NotarizeError::Signer(_)), "{forked:?}");
    assert!(forked.to_string().contains("not the continuation"), "{forked}");
    // Another holder of the same keyring remembers.
    let house = House::with(house.leave(), None);
    house.keys();
    let again = house.client.identity("example.org/audit/1").unwrap();
    assert_eq!((again.key, again.signed), (identity.key, 1));
    assert!(house.client.sign(&head(1, 2), &[]).is_err());
    house.leave();
}

#[test]
fn another_log_begins_only_by_hand_and_only_once() {
    let house = House::new();
    house.keys();
    let head = |log: u32| Checkpoint {
        origin: format!("example.org/audit/{log}"),
        size: 1,
        root: [1; 32],
    };
    let is_refused = |house: &House, log| {
        let refused = house.client.sign(&head(log), &[]);
        refused.is_err_and(|error| error.to_string().contains("the database was exchanged"))
    };
    house.client.sign(&head(1), &[]).unwrap();
    assert!((2..300).all(|log| is_refused(&house, log)));
    // Nor does evidence speak of another log than the one that is signed.
    let Request::Evidence { nonce, statement, .. } = evidence() else {
        panic!()
    };
    let other = house
        .client
        .evidence(nonce, "example.org/audit/2", statement, Vec::new());
    assert!(matches!(other, Err(AskError::Refused(Reason::Fork, _))), "{other:?}");
    house.client.ready().unwrap();
    let passphrase = "correct horse battery";
    house.type_in(&Typed::AddPassphrase(typed(passphrase))).unwrap();
    house.without_file_slot(passphrase);
    assert!(is_refused(&house, 2), "a new master key changes nothing");

    // The owner opens the keys, and the log goes on before anybody asks for another one.
    let by_hand = |house: House| {
        let house = House::with(house.leave(), None);
        assert!(matches!(house.client.open(true).unwrap(), Opened::Locked { .. }));
        house.type_in(&Typed::Unlock(typed(passphrase))).unwrap();
        house
    };
    // And says that this disk is the one, because the start asks.
    let says_so = |house: &House| {
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| house.client.await_hand(true));
            while house.type_in(&Typed::Unlock(typed(passphrase))).is_err() {
                std::thread::sleep(Duration::from_millis(5));
            }
            waiting.join().unwrap().unwrap();
        });
    };
    let house = by_hand(house);
    house.client.sign(&head(1), &[]).unwrap();
    says_so(&house);
    assert!(is_refused(&house, 2));
    // Or by the owner's word about something else, after which asking again is of no use.
    let house = by_hand(house);
    house.client.await_hand(false).unwrap();
    says_so(&house);
    assert!(is_refused(&house, 2));
    // Or for a disk that was put back; what was allowed survives a power cut.
    let house = by_hand(house);
    assert!(is_refused(&house, 2));
    says_so(&house);
    let house = House::with(house.leave(), Some(passphrase));
    house.keys();
    house.client.sign(&head(2), &[]).unwrap();
    assert!(is_refused(&house, 1) && is_refused(&house, 3));
    let house = by_hand(house);
    says_so(&house);
    house.client.sign(&head(3), &[]).unwrap();
    house.client.await_hand(true).unwrap();
    assert!(is_refused(&house, 4));
    house.leave();
}

#[test]
fn what_is_not_the_protocol_ends_the_connection() {
    let frames: [&[u8]; 8] = [
        &[0, 0, 0, 0],
        &[0, 0, 0, 1, 1],
        &[0xFF; 8],
        &[0, 0, 0, 2, 2, 1],
        &[0, 0, 0, 2, 1, 200],
        &[0, 0, 0, 3, 1, 1, 2],
        &[0, 0, 0, 4, 1, 1, 0, 0],
        &[0, 0, 0, 3, 1, 64, 0],
    ];
    for frame in frames {
        let house = House::new();
        let mut stream = house.client.raw();
        stream.write_all(frame).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(house.served.join().unwrap().is_err(), "{frame:?}");
        // Whoever types nonsense ends nothing but that connection.
        let house = House::new();
        UnixStream::connect(house.socket()).unwrap().write_all(frame).unwrap();
        house.keys();
        house.client.ready().unwrap();
        house.type_in(&Typed::AddRecovery).unwrap();
        house.leave();
    }
}

const ANCHOR: Anchor = Anchor {
    audit_head: [7; 32],
    audit_entries: 8,
    commit: 9,
};

#[test]
fn every_cut_or_longer_message_is_malformed() {
    let requests = [
        Request::Open { create: true },
        Request::Status,
        Request::Rebind { slot: 3, force: true },
        Request::Rotate(Purpose::Content),
        Request::BackupKey([1; 32]),
        Request::EnrolmentRequest,
        Request::EkCertificates(vec![vec![1; 700], Vec::new()]),
        evidence(),
        Request::PlanKey,
        Request::ReadAnchor,
        Request::WriteAnchor(ANCHOR),
        Request::AwaitHand { another_log: true },
        Request::LogLost,
        Request::TpmMake,
    ];
    for request in requests {
        let frame = request.encode();
        assert_eq!(Request::parse(&frame).unwrap(), request);
        assert!(
            (0..frame.len()).all(|end| Request::parse(&frame[..end]).is_err()),
            "{request:?}"
        );
        assert!(Request::parse(&[&frame[..], &[0]].concat()).is_err(), "{request:?}");
    }
    let house = House::new();
    let replies = [
        Reply::Keys {
            by: SlotKind::File,
            keys: house.keys(),
        },
        Reply::Status(Box::new((*house.client.status().unwrap()).clone())),
        Reply::Done,
        Reply::Key(house.client.rotate(Purpose::Secrets).unwrap()),
        Reply::Unlocked(SlotKind::Tpm),
        Reply::Anchored(Anchored::Never),
        Reply::Anchored(Anchored::At {
            anchor: ANCHOR,
            put_back: true,
        }),
        Reply::TpmMake(TpmMake {
            manufacturer: "NTC".to_owned(),
            model: "NPCT75x".to_owned(),
            firmware: Version(0x0007_0002_0001_0000),
        }),
    ];
    for reply in replies {
        let frame = reply.encode();
        assert_eq!(Reply::parse(&frame).unwrap(), reply);
        assert!(
            (0..frame.len()).all(|end| Reply::parse(&frame[..end]).is_err()),
            "{reply:?}"
        );
        assert!(Reply::parse(&[&frame[..], &[0]].concat()).is_err(), "{reply:?}");
    }
    let long = Reply::Refused(Reason::Disk, "ä".repeat(10_000));
    let Ok(Reply::Refused(_, sentence)) = Reply::parse(&long.encode()) else {
        panic!("malformed");
    };
    assert_eq!(sentence.len(), 4_096);
}

#[test]
fn a_folder_of_before_is_moved_and_kept_by_one_holder() {
    let data = tempfile::tempdir().unwrap();
    let at = |name: &str| data.path().join(name);
    let keyring = Keyring::create(data.path(), &Unlock::File, PassphraseCost::MINIMUM, entropy(1)).unwrap();
    let keys = keyring.data_keys(data.path()).unwrap();
    for name in ["audit-key", "audit-heads", "signing-key"] {
        keys.seal_secret(name, &typed(name)).unwrap();
    }
    // Cut off in the middle: the keyring still is where it was.
    std::fs::create_dir(at("keys")).unwrap();
    std::fs::rename(at("keyring.key"), at("keys/keyring.key")).unwrap();
    let dir = at("keys");
    files::prepare(data.path(), &dir).unwrap();
    assert!(!at("keyring").exists() && !at("secrets/audit-key.sealed").exists());
    assert!(at("secrets/signing-key.sealed").exists());
    let moved = Keyring::open(&dir, &Unlock::File, entropy(9)).unwrap();
    assert_eq!(moved.release().unwrap(), keyring.release().unwrap());
    assert_eq!(moved.own("audit-heads").unwrap().unwrap().expose(), b"audit-heads");
    files::prepare(data.path(), &dir).unwrap();

    let lock = files::lock(&dir).unwrap();
    assert!(matches!(files::lock(&dir), Err(FolderError::Busy(_))));
    drop(lock);
    let _lock = files::lock(&dir).unwrap();
    let mode = |listener: UnixListener| {
        drop(listener);
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(dir.join(crate::SOCKET)).unwrap().permissions())
    };
    assert_eq!(mode(files::socket(&dir).unwrap()) & 0o777, 0o600);
    assert_eq!(mode(files::socket(&dir).unwrap()) & 0o777, 0o600, "one that was left");
}

/// Everything that a holder does happens in the sandbox, on threads that are made there.
#[test]
fn a_confined_thread_does_its_work_and_reaches_nothing_else() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    assert!(TcpStream::connect(address).is_ok());
    let folder = tempfile::tempdir().unwrap();
    let (dir, secrets) = (folder.path().join("keys"), folder.path().join("secrets"));
    for dir in [&dir, &secrets] {
        std::fs::create_dir(dir).unwrap();
    }
    std::fs::write(secrets.join("key.sealed"), b"sealed").unwrap();
    let thread = std::thread::spawn(move || {
        let network = leave_network();
        let files = confine(&dir, TpmPlace::Nowhere).unwrap();
        // What the exchange sealed is none of the holder's.
        assert_eq!(std::fs::read(secrets.join("key.sealed")).is_ok(), files == Files::Open);
        let foreign = std::fs::read("/etc/passwd").is_ok();
        let reached = TcpStream::connect(address).is_ok();
        let shell = std::process::Command::new("/bin/true").status().is_ok();
        let worked = std::thread::spawn(move || work(&dir)).join().unwrap();
        (network, files, foreign, reached, shell, worked)
    });
    let (network, files, foreign, reached, shell, worked) = thread.join().unwrap();
    println!("{network:?} {files:?}");
    worked.unwrap();
    assert!(!reached && !shell);
    assert_eq!(foreign, files == Files::Open);
}

fn work(dir: &Path) -> Result<(), OpenError> {
    let keyring = Keyring::create(dir, &Unlock::File, PassphraseCost::MINIMUM, entropy(1)).unwrap();
    let passphrase = Unlock::Passphrase(typed("long enough now"));
    keyring.add_slot(&passphrase, PassphraseCost::DEFAULT).unwrap();
    keyring.keep_own("heads", &typed("x")).unwrap();
    keyring.remove_slot(1).unwrap();
    Keyring::open(dir, &passphrase, entropy(2)).map(drop)
}

#[test]
fn without_a_tpm_there_is_no_evidence_and_a_reason() {
    let house = House::new();
    house.keys();
    let Request::Evidence {
        nonce,
        origin,
        statement,
        sealed,
    } = evidence()
    else {
        panic!()
    };
    for refused in [
        house.client.evidence(nonce, &origin, statement, sealed),
        house.client.enrolment_request(),
        house.client.activate(b"challenge"),
    ] {
        let AskError::Refused(Reason::Tpm, sentence) = refused.unwrap_err() else {
            panic!()
        };
        assert!(sentence.contains("this is a test"), "{sentence}");
    }
    house.leave();
}
