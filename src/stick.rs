//! `lamchat stick`: the files of one USB stick, in a process of its own that process 1 starts for it. Standard input is the
//! socket of whoever wants them, standard output the open device. It gives up everything else, and only then reads a
//! byte of either.

use crate::cli::Failure;
use lamchat_sandbox::{Calls, MEMORY_AND_TIME, OPEN_FILES, close_files};
use lamchat_stick::Limits;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, geteuid, setgid, setgroups, setuid};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

/// Seconds of a processor, for everything that is asked; a backup of terabytes takes hours, but mostly waits.
const PROCESSOR_SECONDS_MAX: u64 = 4 * 3600;

/// What it works with.
#[derive(Debug, Clone, clap::Args)]
pub struct Post {
    /// The user and group to become, if this is root.
    #[arg(long, value_name = "NUMBER")]
    user: Option<u32>,
}

/// Serves until the other end of the socket is closed.
pub fn run(post: &Post) -> Result<(), Failure> {
    let mut stream = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    let device = File::from(std::io::stdout().as_fd().try_clone_to_owned()?);
    // Whatever is printed must not end on the stick.
    nix::unistd::dup2_stdout(File::options().write(true).open("/dev/null")?)?;
    // Should it ever take all memory, nobody else is ended for it (Documentation/filesystems/proc.rst, 3.1).
    std::fs::write("/proc/self/oom_score_adj", "1000")?;
    setrlimit(Resource::RLIMIT_CPU, PROCESSOR_SECONDS_MAX, PROCESSOR_SECONDS_MAX)?;
    if let Some(user) = post.user
        && geteuid().is_root()
    {
        if let Err(error) = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET) {
            tracing::warn!(%error, "the process of the stick keeps its network; it can open no connection all the same");
        }
        setgroups(&[])?;
        setgid(Gid::from_raw(user))?;
        setuid(Uid::from_raw(user))?;
    }
    close_files(&[])?;
    let calls = Calls::of(&[MEMORY_AND_TIME, OPEN_FILES]);
    calls.and_memory_without_code()?.close_others()?;
    Ok(lamchat_stick::serve(device, &mut stream, Limits::default())?)
}
