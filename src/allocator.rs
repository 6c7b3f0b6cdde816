//! The allocator, and the memory that it keeps for later.

#![expect(
    unsafe_code,
    reason = "mimalloc is C; its crate binds all but allocation as foreign functions"
)]

use std::time::Duration;
use tokio::runtime::Handle;

/// An allocator that keeps resident memory small under threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long a thread for work that blocks waits for more of it. Its share of the heap cannot be given back before it ends.
pub(crate) const THREADS_KEPT_FOR: Duration = Duration::from_secs(2);

/// How long freed pages stay with the process while it is busy: long enough to be used again, which spares the faults of
/// fresh ones.
const BUSY: Duration = Duration::from_millis(100);

/// The same while there is next to nothing to do: an idle server sleeps.
const IDLE: Duration = Duration::from_secs(2);

/// Gives freed pages back to the kernel, again and again. mimalloc does so by itself only where its threads go on
/// allocating: what a load left behind would stay for as long as the server is idle. To be spawned on the runtime.
pub(crate) async fn give_back() {
    let metrics = Handle::current().metrics();
    let busy = || {
        (0..metrics.num_workers())
            .map(|worker| metrics.worker_total_busy_duration(worker))
            .sum::<Duration>()
    };
    let (mut pause, mut before) = (IDLE, busy());
    loop {
        tokio::time::sleep(pause).await;
        // SAFETY: takes no pointers, and may be called by any thread at any time (mimalloc.h, `mi_collect`).
        unsafe { libmimalloc_sys::mi_collect(true) };
        let now = busy();
        pause = if now.saturating_sub(before) > pause / 50 {
            BUSY
        } else {
            IDLE
        };
        before = now;
    }
}
