//! Parses the command line and hands over.

mod cli;
mod devices;
mod init;
mod key_holder;
mod serve;
mod stick;
mod timekeeper;
mod updater;

/// An allocator that keeps resident memory small under threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cli::run()
}
