//! The threads that wait for something and tell the main loop.

use super::state::{Event, Shared};
use super::{clock, console, good, hardware, health, mirror, network, remote, update, vault};
use lamchat_appliance::site::Site;
use lamchat_machine::button;
use lamchat_machine::signals::Signals;
use lamchat_machine::uevent::Monitor;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

/// After an error that comes again and again.
const PAUSE: Duration = Duration::from_secs(5);
/// Longest notice of the exchange.
const NOTICE_BYTES_MAX: usize = 4096;

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

/// Hands signals on.
pub fn signals(shared: &Arc<Shared>, signals: Signals) -> std::io::Result<()> {
    let shared = Arc::clone(shared);
    spawn("signals", move || {
        loop {
            match signals.wait() {
                Ok(signal) => shared.tell(Event::Signal(signal)),
                Err(error) => shared.log.note(&format!("signals: {error}")),
            }
        }
    })
}

/// Hands news of devices on.
pub fn devices(shared: &Arc<Shared>, monitor: Monitor) -> std::io::Result<()> {
    let shared = Arc::clone(shared);
    spawn("devices", move || {
        loop {
            match monitor.next() {
                Ok(event) => shared.tell(Event::Device(event)),
                Err(error) => {
                    shared.log.note(&format!("devices: {error}"));
                    std::thread::sleep(PAUSE);
                }
            }
        }
    })
}

/// Waits for an input device's power button.
pub fn power_button(shared: &Arc<Shared>, device: String) -> std::io::Result<()> {
    let shared = Arc::clone(shared);
    spawn("button", move || {
        loop {
            match button::wait(&device) {
                Ok(()) => shared.tell(Event::PowerButton),
                Err(error) => return shared.log.note(&format!("the power button {device}: {error}")),
            }
        }
    })
}

/// Hands the exchange's notices on.
pub fn notices(shared: &Arc<Shared>, socket: UnixDatagram) -> std::io::Result<()> {
    let shared = Arc::clone(shared);
    spawn("notices", move || {
        let mut buffer = [0; NOTICE_BYTES_MAX];
        loop {
            match socket.recv(&mut buffer) {
                Ok(length) => {
                    let text = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default());
                    shared.tell(Event::Notice(text.into_owned()));
                }
                Err(error) => {
                    shared.log.note(&format!("notices: {error}"));
                    std::thread::sleep(PAUSE);
                }
            }
        }
    })
}

/// Asks the exchange how it is.
pub fn health(shared: &Arc<Shared>) -> std::io::Result<()> {
    let shared = Arc::clone(shared);
    spawn("health", move || health::watch(&shared))
}

/// Asks the hardware how it is.
pub fn hardware(shared: &Arc<Shared>) -> std::io::Result<()> {
    let shared = Arc::clone(shared);
    spawn("hardware", move || hardware::watch(&shared))
}

/// Looks after two disks that hold the same.
pub fn mirror(shared: &Arc<Shared>) -> std::io::Result<()> {
    let shared = Arc::clone(shared);
    spawn("mirror", move || mirror::watch(&shared))
}

/// Keeps the network as the configurations say that are sent to it.
pub fn network(shared: &Arc<Shared>) -> std::io::Result<Sender<Site>> {
    let shared = Arc::clone(shared);
    // A configuration comes by an operator's hand: there are never many.
    let (sender, wanted) = channel();
    spawn("network", move || network::run(&shared, &wanted))?;
    Ok(sender)
}

/// Opens the data.
pub fn vault(shared: &Arc<Shared>) -> std::io::Result<()> {
    let shared = Arc::clone(shared);
    spawn("vault", move || vault::run(&shared))
}

/// Has the release marked as good.
pub fn good(shared: &Arc<Shared>) -> std::io::Result<()> {
    let shared = Arc::clone(shared);
    spawn("good", move || good::run(&shared))
}

/// Takes updates.
pub fn updates(shared: &Arc<Shared>) -> std::io::Result<()> {
    let (shared, listener) = (Arc::clone(shared), update::listen()?);
    spawn("updates", move || update::serve(&shared, &listener))
}

/// Takes changes of the configuration from a distance.
pub fn remote(shared: &Arc<Shared>) -> std::io::Result<()> {
    let (shared, listener) = (Arc::clone(shared), remote::listen()?);
    spawn("remote", move || remote::serve(&shared, &listener))
}

/// Keeps the clock right.
pub fn clock(shared: &Arc<Shared>) -> std::io::Result<()> {
    let shared = Arc::clone(shared);
    spawn("clock", move || clock::run(&shared))
}

/// Serves a console. A session that fails or panics is followed by the next.
pub fn console(shared: &Arc<Shared>, name: String) -> std::io::Result<()> {
    let shared = Arc::clone(shared);
    spawn("console", move || {
        loop {
            let session = std::panic::AssertUnwindSafe(|| console::run(&name, &shared));
            match std::panic::catch_unwind(session) {
                Ok(Ok(never)) => match never {},
                Ok(Err(error)) => shared.log.note(&format!("console {name}: {error}")),
                Err(_) => shared
                    .log
                    .note(&format!("console {name}: a mistake of ours ended the session")),
            }
            std::thread::sleep(PAUSE);
        }
    })
}
