//! `lamchat init`: process 1 of the box. The only place that wires what the machine needs; it runs the exchange as an
//! unprivileged process and never reads what comes from the network.

mod boot_order;
mod clock;
mod console;
mod crash;
mod disk;
mod exchange;
mod figures;
mod floor;
mod former;
mod good;
mod hardware;
mod health;
mod keys;
mod late;
mod lockdown;
mod log;
mod machine;
mod measured;
mod mirror;
mod network;
mod record;
mod release;
mod remote;
mod remote_acts;
mod repair;
mod rescue;
mod restore;
mod service;
mod settling;
mod state;
mod stick;
mod threads;
mod trial;
mod trouble;
mod update;
mod vault;
mod vital;

use crate::cli::Failure;
use lamchat_machine::power::{self, End};
use lamchat_machine::signals::Signals;
use lamchat_machine::{kernel_log, mounts};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Everything that is kept.
const DATA: &str = "/data";
/// What process 1 and the exchange tell each other.
const RUN: &str = "/run/lamchat";
/// The image's modules.
const MODULES: &str = "/lib/modules";
/// Most files that a process may have open.
const FILES_MAX: u64 = 1 << 20;
/// How long a reason can be read on the console before the machine starts again.
const READING_TIME: Duration = Duration::from_secs(30);

/// Runs until the machine is switched off; comes back only where it is not process 1. `installs`: nothing is served, the
/// consoles offer to put the image onto a disk.
pub fn run(installs: bool) -> Result<(), Failure> {
    if std::process::id() != 1 {
        return Err("this is process 1 of the bootable image: on another system use `lamchat serve`".into());
    }
    let Err(reason) = start(installs);
    // Without a kernel there is nobody to tell but the console.
    eprintln!("lamchat init: {}", reason.0);
    if let Err(error) = kernel_log::write(&format!("init failed: {}", reason.0)) {
        eprintln!("lamchat init: {error}");
    }
    std::thread::sleep(READING_TIME);
    let error = power::end(End::Reboot);
    Err(Failure(format!("{}; and no restart: {error}", reason.0)))
}

fn start(installs: bool) -> Result<std::convert::Infallible, Failure> {
    // Before any thread, so that each inherits it.
    let signals = Signals::block()?;
    crate::serve::keep_files_private();
    let absent = mounts::mount_kernel()?;
    kernel_log::silence()?;
    let shared = Arc::new(state::Shared::new(release::read()));
    let note = |what: &str, result: Result<(), String>| {
        if let Err(error) = result {
            shared.log.note(&format!("{what}: {error}"));
        }
    };
    shared
        .log
        .note(&format!("lamchat {} starts as process 1", crate::cli::VERSION));
    for error in absent {
        shared.log.note(&format!("not there: {error}"));
    }
    note(
        "Ctrl-Alt-Del",
        power::tame_keyboard().map_err(|error| error.to_string()),
    );
    limits(&note);
    folders()?;
    note(
        "the loopback interface",
        network::loopback_up().map_err(|error| error.to_string()),
    );
    clock::raise(&shared);
    if installs {
        shared.enter(state::State::Install);
    }
    machine::Machine::new(shared, signals)?.run()
}

/// What the processes started from here inherit.
fn limits(note: &dyn Fn(&str, Result<(), String>)) {
    use nix::sys::resource::{Resource, setrlimit};
    let text = |error: nix::errno::Errno| error.to_string();
    // Nothing that is started from here ever gets more rights than it was started with.
    note("no_new_privs", nix::sys::prctl::set_no_new_privs().map_err(text));
    note("core files", setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(text));
    note(
        "open files",
        setrlimit(Resource::RLIMIT_NOFILE, FILES_MAX, FILES_MAX).map_err(text),
    );
    let settings = [
        // The exchange has no capability and listens on 443.
        ("/proc/sys/net/ipv4/ip_unprivileged_port_start", "80"),
        ("/proc/sys/net/ipv4/conf/all/accept_redirects", "0"),
        ("/proc/sys/net/ipv6/conf/all/accept_redirects", "0"),
        ("/proc/sys/net/ipv4/tcp_syncookies", "1"),
        ("/proc/sys/kernel/kptr_restrict", "2"),
        ("/proc/sys/kernel/dmesg_restrict", "1"),
        ("/proc/sys/kernel/unprivileged_bpf_disabled", "2"),
        ("/proc/sys/kernel/yama/ptrace_scope", "3"),
        ("/proc/sys/kernel/kexec_load_disabled", "1"),
        ("/proc/sys/kernel/sysrq", "0"),
    ];
    for (path, value) in settings {
        note(path, std::fs::write(path, value).map_err(|error| error.to_string()));
    }
}

fn folders() -> Result<(), Failure> {
    use std::os::unix::fs::{PermissionsExt, chown};
    std::fs::create_dir_all(RUN)?;
    // Exchange and key holder enter, and find what is named to them.
    chown(RUN, Some(0), Some(exchange::GROUP))?;
    std::fs::set_permissions(RUN, std::fs::Permissions::from_mode(0o711))?;
    std::fs::create_dir_all(Path::new(DATA))?;
    Ok(())
}
