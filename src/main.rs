//! Parses the command line and hands over.

mod allocator;
mod cli;
mod devices;
mod init;
mod key_holder;
mod serve;
mod stick;
mod timekeeper;
mod updater;

fn main() -> std::process::ExitCode {
    cli::run()
}
