//! `lamchat key-holder`: the process that has the keys. `lamchat serve` starts it, or a service manager does.

mod attester;
mod partition;
mod release;
mod tpm;

pub use attester::ek_certificates;

use crate::cli::{Failure, Place};
use crate::serve::{keep_files_private, logging};
use lamchat_base::{Entropy, SecretBytes};
use lamchat_config::{Config, TpmAddress};
use lamchat_disk::{Disk, RealDisk};
use lamchat_holder::{Post, Setup};
use lamchat_host::{OsEntropy, SystemClock};
use lamchat_seal::PassphraseCost;
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::socket::{getsockopt, sockopt::AcceptConn};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

/// This program, whatever has happened to its file.
const PROGRAM: &str = "/proc/self/exe";

/// Where the system's users are.
const USERS: &str = "/etc/passwd";

/// What process lists call it.
const NAME: &std::ffi::CStr = c"lamchat-keys";

/// How to start the key holder of a server at this place; `launch`: by a process in between.
pub fn command(place: &Place, launch: bool) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg0("lamchat").arg("key-holder");
    if launch {
        command.arg("--launch");
    }
    for (option, path) in [("--config", &place.config), ("--data-dir", &place.data_dir)] {
        if let Some(path) = path {
            command.args([OsString::from(option), path.into()]);
        }
    }
    // What a service manager hands to the server is not for the key holder.
    for variable in [
        "NOTIFY_SOCKET",
        "LISTEN_FDS",
        "LISTEN_PID",
        "LISTEN_FDNAMES",
        "WATCHDOG_USEC",
        "WATCHDOG_PID",
    ] {
        command.env_remove(variable);
    }
    command
}

/// Starts the key holder with this process's standard streams and ends: the key holder is nobody's child then, but the
/// first process's, and nothing that has to do with a network is above it.
pub fn launch(place: &Place) -> Result<(), Failure> {
    let mut command = command(place, false);
    // It outlives this process on purpose, and is not waited for.
    command
        .stdin(Stdio::inherit())
        .stdout(Stdio::inherit())
        .spawn()
        .map_err(|error| format!("the key holder could not be started: {error}"))?;
    Ok(())
}

/// The folder of the keyring.
pub fn keys_dir(config: &Config) -> PathBuf {
    let below = || config.data_dir.join(lamchat_holder::FOLDER);
    config.seal.keys_dir.clone().unwrap_or_else(below)
}

/// Runs until the exchange is gone. `exchange_user`: the number or name of the user that it runs as, if it is another one.
/// `partitions`: on the bootable image, where the keyring lies on each of them, and the holder stays while exchanges come
/// and go.
pub fn run(place: &Place, exchange_user: Option<&str>, partitions: &[PathBuf]) -> Result<(), Failure> {
    keep_files_private();
    let config = place.load()?;
    let keys_dir = keys_dir(&config);
    let post = Post {
        data_dir: config.data_dir.clone(),
        keys_dir: std::path::absolute(&keys_dir).unwrap_or(keys_dir),
        exchange_uid: exchange_user.map(uid).transpose()?,
        needs_network: matches!(config.seal.tpm, TpmAddress::Tcp { .. }),
    };
    let _log = logging::start(&config.log)?;
    nix::sys::prctl::set_name(NAME)?;
    let on_box = !partitions.is_empty();
    let disk = if on_box {
        partition::open(partitions, &post.keys_dir)?
    } else {
        RealDisk::shared()
    };
    // Where not all of its memory can be locked, the keys are, in a place of their own.
    if let Err(error) = lamchat_host::lock_all_memory() {
        tracing::warn!(%error, "not all of the key holder's memory is locked");
    }
    if let Err(error) = lamchat_host::lock_secrets() {
        tracing::warn!(%error, "keys may be written to a swap device");
    }
    if let Err(error) = lamchat_host::use_small_pages() {
        tracing::warn!(%error, "huge pages could not be switched off; the key holder will take more memory");
    }
    let setup = || setup(&config, &post.keys_dir, disk, on_box);
    if on_box {
        let listener = UnixListener::from(std::io::stdin().as_fd().try_clone_to_owned()?);
        return Ok(lamchat_holder::run_on_box(&listener, &post, setup)?);
    }
    let (requests, notices) = streams()?;
    Ok(lamchat_holder::run(requests, notices, &post, setup)?)
}

/// A user's number, from itself or from a name. Looked up by hand: the library's way would load modules, which a static
/// program cannot.
fn uid(user: &str) -> Result<u32, Failure> {
    if let Ok(number) = user.parse() {
        return Ok(number);
    }
    // passwd(5): "name:password:UID:GID:GECOS:directory:shell"
    let users = std::fs::read_to_string(USERS).map_err(|error| format!("{USERS}: {error}"))?;
    let mut fields = users.lines().map(|line| line.split(':'));
    let found = fields.find_map(|mut fields| fields.next().filter(|name| *name == user).and(fields.nth(1)));
    let number = found.and_then(|number| number.parse().ok());
    Ok(number.ok_or_else(|| format!("there is no user {user} in {USERS}"))?)
}

/// What the exchange asks through, and what it is told through. A server hands over one end of two pairs, as standard
/// input and output; a service manager a socket as standard input, to which the server connects twice.
fn streams() -> Result<(UnixStream, UnixStream), Failure> {
    let input = std::io::stdin().as_fd().try_clone_to_owned()?;
    let listens = getsockopt(&input, AcceptConn)
        .map_err(|_| "the key holder is not started by hand: `lamchat serve` does it, or a service manager")?;
    if listens {
        let listener = UnixListener::from(input);
        return Ok((listener.accept()?.0, listener.accept()?.0));
    }
    leave_terminal()?;
    let output: OwnedFd = std::io::stdout().as_fd().try_clone_to_owned()?;
    Ok((UnixStream::from(input), UnixStream::from(output)))
}

/// A server's key holder ends with its server and by nothing else: Ctrl-C, and a stop of everything at once, leave it in
/// place until the server is through.
fn leave_terminal() -> io::Result<()> {
    match nix::unistd::setsid() {
        // It leads a group of its own already.
        Ok(_) | Err(Errno::EPERM) => {}
        Err(error) => return Err(error.into()),
    }
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signals.add(signal);
    }
    // Before there are other threads, which inherit it.
    Ok(signals.thread_block()?)
}

fn setup(config: &Config, dir: &Path, disk: Arc<dyn Disk>, on_box: bool) -> Setup {
    let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
    Setup {
        dir: dir.to_owned(),
        disk,
        on_box,
        passphrase: config.seal.passphrase_file.as_deref().map(read_passphrase),
        tpm: tpm::find(&config.seal, &entropy),
        attester: attester::open(config),
        exchange_dir: std::path::absolute(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone()),
        cost: PassphraseCost::DEFAULT,
        clock: Arc::new(SystemClock::new()),
        entropy,
    }
}

/// The first line of a file.
fn read_passphrase(file: &Path) -> Result<SecretBytes, String> {
    let name = file.display();
    let bytes = std::fs::read(file).map_err(|error| format!("seal.passphrase_file {name}: {error}"))?;
    let bytes = SecretBytes::new(bytes);
    let line = bytes.expose().split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Err(format!("seal.passphrase_file {name}: its first line is empty"));
    }
    Ok(SecretBytes::new(line.to_vec()))
}
