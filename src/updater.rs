//! `lamchat updater`: one request about updates of the box, in a process of its own that process 1 starts for it. It
//! opens the staged bundle and the EFI system partition, gives up everything else, and only then reads what it is sent.
//!
//! What must never happen here: a byte of a release in a slot whose bundle was not checked from its first byte to its last.

mod epochs;
mod follow;
mod request;
mod sandbox;
mod stage;

use crate::cli::Failure;
use lamchat_release::{Approvers, Floor, Version};
use lamchat_slots::{FileDevice, Slot, Slots};
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{Gid, Uid, geteuid, setgid, setgroups, setuid};
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Exit code: done, and the machine is to start again with it.
pub const RESTART: u8 = 10;
/// Exit code: the other half's slots are like the first's.
pub const FOLLOWED: u8 = 11;
/// Exit code: done, and no slot has changed, so that nothing has to follow.
pub const UNCHANGED: u8 = 12;
/// The staged bundle, in the folder of updates.
const STAGED: &str = "staged.bundle";
/// How long another updater may be in the way before a request is refused: an installation waits for one that copies a
/// release to the other half of a mirror. Less than a sender may be kept waiting.
const OTHERS_MAX: Duration = Duration::from_secs(45);
/// The same before the other half does not follow: nobody waits for it, and nobody else would do its work soon.
const FOLLOW_MAX: Duration = Duration::from_secs(15 * 60);
/// Between two looks at that.
const OTHERS_PAUSE: Duration = Duration::from_millis(100);
/// Longest file with a key or a description of the release.
const SMALL_BYTES_MAX: u64 = 64 << 10;
/// A P-256 SubjectPublicKeyInfo up to the point (RFC 5480, section 2).
const SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// What it works with.
#[derive(Debug, Clone, clap::Args)]
pub struct Post {
    /// The EFI system partition: its device, or a file with its bytes.
    #[arg(long, value_name = "FILE")]
    esp: PathBuf,
    /// The folder for the staged bundle.
    #[arg(long, value_name = "DIR")]
    folder: PathBuf,
    /// The release key, PEM.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Whose approvals a bundle has to have as well: approvers.json. A file that is not there asks for none.
    #[arg(long, value_name = "FILE")]
    approvers: PathBuf,
    /// What the release that runs says of itself: release.json.
    #[arg(long, value_name = "FILE")]
    release: PathBuf,
    /// What the release that runs consists of: its bill of materials, sbom.cdx.json.
    #[arg(long, value_name = "FILE")]
    bill: PathBuf,
    /// The slot that runs.
    #[arg(long, value_name = "a|b", value_parser = slot)]
    running: Slot,
    /// The user and group to become, if this is root.
    #[arg(long, value_name = "NUMBER")]
    user: Option<u32>,
    /// Take no request: mark the slot that runs as good.
    #[arg(long, group = "errand")]
    mark_good: bool,
    /// Take no request: print the digest of the slot that runs.
    #[arg(long, group = "errand")]
    digest: bool,
    /// Take no request: give the slot that runs its attempts back.
    #[arg(long, group = "errand")]
    hold: bool,
    /// Take no request: give the slot that runs the attempt of this start back.
    #[arg(long, group = "errand")]
    uncount: bool,
    /// Take no request: take it again.
    #[arg(long, group = "errand")]
    count: bool,
    /// Take no request, change nothing: print the security epochs of all images in the slots.
    #[arg(long, group = "errand")]
    epochs: bool,
    /// Take no request: have the machine started again if the other slot is there to fall back to.
    #[arg(long, group = "errand")]
    leave: bool,
    /// Take no request: make the slots of this EFI system partition, the other half's of a mirror, like those of the first.
    #[arg(long, value_name = "FILE")]
    follow: Option<PathBuf>,
    /// With `--follow`: have the machine started again if a release had to be written.
    #[arg(long, requires = "follow")]
    restart_if_written: bool,
}

fn slot(text: &str) -> Result<Slot, String> {
    match text {
        "a" => Ok(Slot::A),
        "b" => Ok(Slot::B),
        _ => Err("the slots are a and b".to_owned()),
    }
}

/// Everything that is open when the sandbox closes.
struct Opened {
    esp: FileDevice,
    /// The same, for its lock.
    esp_file: File,
    staged: File,
    bill: File,
    key: [u8; 65],
    approvers: Approvers,
    running: Slot,
    version: Version,
    epoch: u64,
}

impl Opened {
    fn open(post: &Post) -> Result<Self, Failure> {
        std::fs::create_dir_all(&post.folder)?;
        let own = |name: &str| {
            let path = post.folder.join(name);
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path);
            file.map_err(|error| Failure(format!("{}: {error}", path.display())))
        };
        let release: Value = serde_json::from_str(&small(&post.release)?)?;
        let text = |key: &str| release.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (esp, esp_file) = esp(post)?;
        Ok(Self {
            esp,
            esp_file,
            staged: own(STAGED)?,
            bill: File::open(&post.bill).map_err(|error| Failure(format!("{}: {error}", post.bill.display())))?,
            key: point(&small(&post.key)?)?,
            approvers: approvers(&post.approvers)?,
            running: post.running,
            version: Version::try_from(text("version"))?,
            epoch: release.get("epoch").and_then(Value::as_u64).unwrap_or_default(),
        })
    }

    /// Nothing that is staged or in a slot changes from here on until this process ends.
    fn look(&self) -> Result<(), Failure> {
        lock(&self.staged, FlockArg::LockSharedNonblock, OTHERS_MAX)?;
        lock(&self.esp_file, FlockArg::LockSharedNonblock, OTHERS_MAX)
    }

    /// Nobody else looks at what is staged or changes it.
    fn stage(&self) -> Result<(), Failure> {
        lock(&self.staged, FlockArg::LockExclusiveNonblock, OTHERS_MAX)
    }

    /// Nobody else looks at the slots or changes them.
    fn change(&self) -> Result<(), Failure> {
        lock(&self.esp_file, FlockArg::LockExclusiveNonblock, OTHERS_MAX)
    }

    fn floor(&self) -> Floor {
        Floor {
            version: self.version,
            epoch: self.epoch,
        }
    }
}

/// Waits until no other updater is in the way. Held until this process ends, for the lock is the open file's.
fn lock(file: &File, wanted: FlockArg, patience: Duration) -> Result<(), Failure> {
    let since = Instant::now();
    loop {
        match Flock::lock(file.try_clone()?, wanted) {
            Ok(lock) => {
                std::mem::forget(lock);
                return Ok(());
            }
            Err(_) if since.elapsed() < patience => std::thread::sleep(OTHERS_PAUSE),
            Err(_) => return Err("another update is under way: try again when it has ended".into()),
        }
    }
}

fn small(path: &Path) -> Result<String, Failure> {
    use std::io::Read;
    let named = |error: std::io::Error| Failure(format!("{}: {error}", path.display()));
    let mut text = String::new();
    let file = File::open(path).map_err(named)?;
    file.take(SMALL_BYTES_MAX).read_to_string(&mut text).map_err(named)?;
    Ok(text)
}

/// The approvers that the image names; one that names none has no such file.
fn approvers(path: &Path) -> Result<Approvers, Failure> {
    if !path.try_exists()? {
        return Ok(Approvers::none());
    }
    Approvers::from_json(small(path)?.as_bytes()).map_err(|error| Failure(format!("{}: {error}", path.display())))
}

/// The point of a P-256 key in PEM.
fn point(pem: &str) -> Result<[u8; 65], Failure> {
    use rustls_pki_types::pem::PemObject;
    let key = rustls_pki_types::SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes());
    let key = key.map_err(|_| "the release key is no public key in PEM form")?;
    let point = key.as_ref().strip_prefix(&SPKI).and_then(|point| point.try_into().ok());
    point.ok_or_else(|| "the release key is not one of P-256".into())
}

/// Answers the request that comes in on standard input, on the same socket.
pub fn run(post: &Post) -> Result<ExitCode, Failure> {
    if post.epochs {
        epochs::run(post)?;
        return Ok(ExitCode::from(UNCHANGED));
    }
    let writes = post.hold || post.uncount || post.count;
    if writes || post.leave || post.digest {
        // There may be no data yet, so nothing of them is opened.
        let (mut esp, file) = esp(post)?;
        let wanted = match writes {
            true => FlockArg::LockExclusiveNonblock,
            false => FlockArg::LockSharedNonblock,
        };
        lock(&file, wanted, OTHERS_MAX)?;
        confine(post)?;
        return errand(post, &mut esp);
    }
    if let Some(other) = &post.follow {
        return follow::run(post, other);
    }
    let opened = prepare(post);
    if post.mark_good {
        let mut opened = opened?;
        opened.change()?;
        return errand(post, &mut opened.esp);
    }
    let mut stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let answered = match opened {
        Ok(mut opened) => request::answer(&mut opened, &mut stream),
        Err(reason) => request::refuse(&mut stream, reason),
    };
    let (answer, code) = match answered {
        Ok((answer, code)) => (answer, code),
        Err(Failure(error)) => (json!({"error": error}), ExitCode::FAILURE),
    };
    stream.write_all(answer.to_string().as_bytes())?;
    Ok(code)
}

/// What process 1 wants to know or have done about the release that runs.
fn errand(post: &Post, esp: &mut FileDevice) -> Result<ExitCode, Failure> {
    let mut slots = Slots::open(esp)?;
    if post.mark_good {
        slots.mark_good(post.running)?;
    } else if post.hold {
        slots.hold(post.running)?;
    } else if post.uncount {
        slots.uncount(post.running)?;
    } else if post.count {
        slots.count(post.running)?;
    } else if post.digest {
        let digest = slots.digest(post.running)?.ok_or("the slot that runs has no file")?;
        writeln!(std::io::stdout(), "{}", lamchat_attestation::Sha256(digest))?;
        return Ok(ExitCode::from(UNCHANGED));
    } else {
        let leaves = slots.has_fallback(post.running)?;
        return Ok(ExitCode::from(if leaves { RESTART } else { UNCHANGED }));
    }
    Ok(ExitCode::SUCCESS)
}

/// The EFI system partition, and the same for its lock.
fn esp(post: &Post) -> Result<(FileDevice, File), Failure> {
    partition(&post.esp)
}

fn partition(path: &Path) -> Result<(FileDevice, File), Failure> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.map_err(|error| Failure(format!("{}: {error}", path.display())))?;
    let same = file.try_clone()?;
    Ok((FileDevice::new(file)?, same))
}

/// Opens what is needed and gives up the rest.
fn prepare(post: &Post) -> Result<Opened, Failure> {
    let opened = Opened::open(post)?;
    confine(post)?;
    Ok(opened)
}

/// Gives up everything but what is open.
fn confine(post: &Post) -> Result<(), Failure> {
    if let Some(user) = post.user
        && geteuid().is_root()
    {
        if let Err(error) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
            tracing::warn!(%error, "the updater keeps its network; it can open no connection all the same");
        }
        setgroups(&[])?;
        setgid(Gid::from_raw(user))?;
        setuid(Uid::from_raw(user))?;
    }
    sandbox::close()
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_keys_of_p256_are_release_keys() {
        assert!(super::point("").is_err());
        assert!(super::point("-----BEGIN PUBLIC KEY-----\nMAA=\n-----END PUBLIC KEY-----\n").is_err());
    }
}
