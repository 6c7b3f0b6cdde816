//! What the machine gives: the time, randomness, a service manager, and limits of the process.
//!
//! The only place that asks the operating system for time and randomness; everything else is handed
//! [`SystemClock`] and [`OsEntropy`] as trait objects.

mod clock;
mod entropy;
mod handed;
mod hardening;
mod notify;
mod rooms;
mod secure_boot;

pub use clock::SystemClock;
pub use entropy::OsEntropy;
pub use handed::{handed_socket, is_handed, take_handed_sockets};
pub use hardening::{accept_signals, disable_core_dumps, raise_open_files, use_small_pages};
pub use notify::{Notice, NotifyError, PROGRESS_WITHIN, notify, notify_progress, notify_status, watchdog_interval};
pub use rooms::{LockMemoryError, lock_all_memory, lock_secrets};
pub use secure_boot::secure_boot;
