//! The key holder, a file for each topic; here is what they share: a holder on threads, with both ways to it over socket
//! pairs.

#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod boxes;
mod exchange;
mod folder;
mod frames;
mod indices;
mod marks;
mod notary;
mod on_box;
mod pin;
mod sealed_box;
mod typing;

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

const ANCHOR: Anchor = Anchor {
    audit_head: [7; 32],
    audit_entries: 8,
    commit: 9,
};

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
