//! What the tests of a box share: its holder, a TPM in software for it, and exchanges that come and go.

use super::*;
use crate::peer::Administrator;
use crate::run::attend;
use crate::sealer::TpmSealer;
use crate::{Post, Typed};
use lamchat_base::Secret;
use lamchat_disk::Disk;
use lamchat_tpm::{Address, PcrSelection};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// Process 1.
pub(super) const FIRST: Administrator = Administrator { uid: 0, is_first: true };

/// A box's holder with this TPM, whose keyring lies in this folder of a disk.
pub(super) fn box_on(dir: &Path, disk: Arc<dyn Disk>, tpm: Tpm, seed: u64) -> Holder {
    let setup = Setup {
        dir: dir.to_owned(),
        disk,
        on_box: true,
        passphrase: None,
        tpm,
        attester: Ok(attester()),
        exchange_dir: dir.join("exchange"),
        cost: PassphraseCost::MINIMUM,
        clock: Arc::new(ManualClock::new(1_000_000)),
        entropy: entropy(seed),
    };
    Holder::new(setup, Notices::unattached(), "on threads".to_owned())
}

/// One without a TPM.
pub(super) fn box_without_tpm(folder: &Path) -> Arc<Holder> {
    box_with(folder, Tpm::none("this is a test", &[7], None))
}

/// One with this TPM.
pub(super) fn box_with(folder: &Path, tpm: Tpm) -> Arc<Holder> {
    Arc::new(box_on(folder, RealDisk::shared(), tpm, 7))
}

/// One with this TPM in software.
pub(super) fn box_at(folder: &Path, swtpm: &Swtpm, seed: u64) -> Arc<Holder> {
    Arc::new(box_on(folder, RealDisk::shared(), swtpm.tpm(seed), seed))
}

/// Why an act was refused.
pub(super) fn refused(holder: &Holder, request: Typed, who: Administrator) -> Reason {
    match holder.act(request, who) {
        Err(refusal) => refusal.0,
        Ok(reply) => panic!("{reply:?}"),
    }
}

pub(super) fn disk_key(holder: &Holder) -> Secret<64> {
    match holder.act(Typed::DiskKey, FIRST) {
        Ok(Reply::Disk(key)) => key,
        other => panic!("{other:?}"),
    }
}

/// A software TPM; ended on drop.
pub(super) struct Swtpm {
    folder: tempfile::TempDir,
    child: Child,
}

impl Swtpm {
    pub(super) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let child = spawn(folder.path());
        let this = Self { folder, child };
        this.wait();
        this
    }

    /// Away.
    pub(super) fn stop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::fs::remove_file(self.folder.path().join("sock")).unwrap();
    }

    /// Back again: its NV memory stays.
    pub(super) fn start_again(&mut self) {
        self.child = spawn(self.folder.path());
        self.wait();
    }

    fn wait(&self) {
        let until = Instant::now() + Duration::from_secs(30);
        while self.address().open().is_err() {
            assert!(Instant::now() < until, "swtpm does not start");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(super) fn address(&self) -> Address {
        Address::Unix(self.folder.path().join("sock"))
    }

    /// As a holder has it, with Secure Boot on.
    pub(super) fn tpm(&self, seed: u64) -> Tpm {
        let pcrs = PcrSelection::new(&[7]).unwrap();
        Tpm::at(self.address(), pcrs, false, Some(true), None, entropy(seed))
    }

    pub(super) fn sealer(&self) -> TpmSealer {
        TpmSealer::new(self.address(), PcrSelection::new(&[7]).unwrap(), entropy(9))
    }
}

fn spawn(folder: &Path) -> Child {
    Command::new("swtpm")
        .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
        .arg("--tpmstate")
        .arg(format!("dir={}", folder.display()))
        .arg("--server")
        .arg(format!("type=unixio,path={}", folder.join("sock").display()))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// An exchange: its way to the holder, and what it was told.
pub(super) struct Exchange {
    pub(super) client: Arc<Client>,
    notices: UnixStream,
    attending: JoinHandle<()>,
    pub(super) told: Arc<Mutex<Vec<Notice>>>,
}

impl Exchange {
    /// It goes, as the end of its process does it.
    pub(super) fn go(self, holder: &Holder) {
        self.client.close();
        self.notices.shutdown(std::net::Shutdown::Both).unwrap();
        self.attending.join().unwrap();
        holder.notices.detach();
    }
}

pub(super) fn exchange(holder: &Arc<Holder>, folder: &Path) -> Exchange {
    let ((ours, theirs), (notices, told_of)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    let post = Post {
        data_dir: folder.to_owned(),
        keys_dir: folder.to_owned(),
        exchange_uid: None,
        needs_network: false,
    };
    let shared = Arc::clone(holder);
    let attending = std::thread::spawn(move || {
        // What it says at the end is for the log.
        let _ended = attend(theirs, notices, (&post, Network::Open), &shared);
    });
    let told = Arc::new(Mutex::new(Vec::new()));
    let known = Arc::clone(&told);
    let end = told_of.try_clone().unwrap();
    std::thread::spawn(move || {
        listen(told_of, |notice| {
            known.lock().push(*notice);
            Ok(())
        })
    });
    Exchange {
        client: Arc::new(Client::new(ours).unwrap()),
        notices: end,
        attending,
        told,
    }
}
