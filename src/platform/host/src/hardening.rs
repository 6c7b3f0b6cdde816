//! Limits that the process sets for itself at its start.

use nix::errno::Errno;
use nix::sys::prctl::{set_dumpable, set_thp_disable};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::SigSet;

/// Makes sure that no core dump ever holds keys or messages, and that other processes of the same user cannot
/// read this one's memory. Call it before any secret is read.
pub fn disable_core_dumps() -> Result<(), Errno> {
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    set_dumpable(false)
}

/// Takes all signals again, which whoever started this process may have kept from it: process 1 does, and a mask is
/// inherited. Call it before threads are started.
pub fn accept_signals() -> Result<(), Errno> {
    SigSet::empty().thread_set_mask()
}

/// Allows as many open files (so, connections) as the system lets this process have, and tells how many.
pub fn raise_open_files() -> Result<u64, Errno> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

/// Keeps the kernel from backing memory with pages of 2 MiB: each would be cleared as a whole for the few kilobytes that
/// an answer needs, and stay resident. Call it before threads are started.
pub fn use_small_pages() -> Result<(), Errno> {
    set_thp_disable(true)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use nix::sys::resource::{Resource, getrlimit};
    use nix::sys::signal::SigSet;

    #[test]
    fn limits_are_set() {
        super::disable_core_dumps().unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_CORE).unwrap(), (0, 0));
        assert!(!nix::sys::prctl::get_dumpable().unwrap());
        super::accept_signals().unwrap();
        assert_eq!(SigSet::thread_get_mask().unwrap(), SigSet::empty());
        super::use_small_pages().unwrap();
        assert!(nix::sys::prctl::get_thp_disable().unwrap());
        let files = super::raise_open_files().unwrap();
        assert_eq!(getrlimit(Resource::RLIMIT_NOFILE).unwrap(), (files, files));
    }
}
