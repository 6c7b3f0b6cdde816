//! Locked memory for keys: pages that the kernel never writes to a swap device.

use lamchat_base::{ROOM_BYTES, SecretRooms, keep_secrets_in};
use nix::errno::Errno;
use nix::libc;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};
use parking_lot::Mutex;

/// Pages; a process may lock at least 16 by default (64 KiB), since Linux 5.16 2,048.
const PAGES: usize = 4;
/// Bytes of a page.
const PAGE_BYTES: usize = 4096;
const ROOMS_PER_PAGE: usize = PAGE_BYTES / ROOM_BYTES;

/// Rooms that begin at a page, so that nothing else is on it.
#[repr(align(4096))]
struct Pages([[[u8; ROOM_BYTES]; ROOMS_PER_PAGE]; PAGES]);

/// The free rooms.
struct LockedRooms(Mutex<Vec<&'static mut [u8; ROOM_BYTES]>>);

impl SecretRooms for LockedRooms {
    fn take(&self) -> Option<&'static mut [u8; ROOM_BYTES]> {
        self.0.lock().pop()
    }

    fn give_back(&self, room: &'static mut [u8; ROOM_BYTES]) {
        self.0.lock().push(room);
    }

    fn lock(&self, from: *const u8, bytes: usize) {
        match region::lock(from, bytes) {
            // Whatever comes to lie there later is locked as well.
            Ok(guard) => std::mem::forget(guard),
            Err(error) => tracing::warn!(%error, "a cipher's keys may be written to a swap device"),
        }
    }
}

/// Why keys are in ordinary memory.
#[derive(Debug, thiserror::Error)]
#[error("memory could not be locked (`ulimit -l`, LimitMEMLOCK=): {0}")]
pub struct LockMemoryError(#[from] region::Error);

/// Has the kernel write nothing of this process to a swap device: each page is locked when it is first used. Answers
/// whether that is so: only where the system lets it lock as much as it likes (CAP_IPC_LOCK, or `LimitMEMLOCK=infinity`), for
/// where there is a limit memory would run out at it.
///
/// For a process whose memory is small and whose every page may hold a secret. The exchange's is neither.
pub fn lock_all_memory() -> Result<bool, Errno> {
    if getrlimit(Resource::RLIMIT_MEMLOCK)?.0 != RLIM_INFINITY && !is_beyond_limits() {
        return Ok(false);
    }
    let on_fault = MlockAllFlags::from_bits_retain(libc::MCL_ONFAULT);
    mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE | on_fault)?;
    Ok(true)
}

/// Whether it has CAP_IPC_LOCK, for which there is no limit: capabilities(7), proc_pid_status(5).
fn is_beyond_limits() -> bool {
    const CAP_IPC_LOCK: u64 = 14;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    effective.is_some_and(|mask| mask >> CAP_IPC_LOCK & 1 == 1)
}

/// Keeps the keys that are made from now on in locked memory, until the process ends. Call it once, before any is made.
pub fn lock_secrets() -> Result<(), LockMemoryError> {
    // For as long as the process runs: a secret may outlive everything else.
    let pages = Box::leak(Box::new(Pages([[[0; ROOM_BYTES]; ROOMS_PER_PAGE]; PAGES])));
    let guard = region::lock(std::ptr::from_ref(pages), size_of::<Pages>())?;
    std::mem::forget(guard);
    let free = pages.0.iter_mut().flatten().collect();
    keep_secrets_in(Box::leak(Box::new(LockedRooms(Mutex::new(free)))));
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{PAGE_BYTES, PAGES};
    use lamchat_base::Secret;

    /// Kilobytes that this process has locked: proc_pid_status(5), `VmLck`.
    fn locked_kib() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    #[test]
    fn secrets_are_on_locked_pages() {
        assert_eq!(locked_kib(), 0);
        super::lock_secrets().unwrap();
        assert_eq!(locked_kib(), PAGES * PAGE_BYTES / 1024);
        let secrets: Vec<Secret<32>> = (0..300).map(|at| Secret::new([at as u8; 32])).collect();
        let first = secrets.first().unwrap().expose().as_ptr() as usize;
        let second = secrets.get(1).unwrap().expose().as_ptr() as usize;
        assert_eq!(first.abs_diff(second), 64, "neighbours on a page");
        assert!(
            secrets
                .iter()
                .enumerate()
                .all(|(at, secret)| *secret == Secret::new([at as u8; 32]))
        );
    }
}
