//! The first set-up: five questions, then the recovery key. Until its end a restart begins it anew.

use super::acts::{make_administrator, new_secret};
use super::recovery;
use super::screen::{Echo, Screen};
use crate::init::late::{self, Act};
use crate::init::state::{Event, Shared, State};
use crate::init::vault;
use lamchat_appliance::pin;
use lamchat_appliance::site::{Network, Site, parse_network};
use lamchat_host::OsEntropy;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// How long the exchange may take to start for the first time.
const START_MAX: Duration = Duration::from_secs(5 * 60);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(500);

const INTRODUCTION: &str = "Five questions, then a recovery key to write down. Esc goes back; nothing is changed before the \
last answer.\n\nThe server's name ends every account's name (@alice:NAME) and can never be changed.";

/// What was answered.
struct Answers {
    name: String,
    network: Network,
    administrator: String,
    password: Zeroizing<String>,
    pin: Zeroizing<String>,
}

/// Asks, and makes it so.
pub fn run(screen: &mut Screen, shared: &Arc<Shared>) -> std::io::Result<()> {
    let Some(_operator) = shared.operator.try_lock() else {
        return is_busy(screen);
    };
    let Some(disks) = disks(screen, shared)? else {
        return Ok(());
    };
    screen.page("Set up this box", &format!("{INTRODUCTION}{disks}"))?;
    let Some(answers) = ask(screen)? else {
        return Ok(());
    };
    screen.page("Set up this box", "The disk gets a keyring of its own …")?;
    let begun = match vault::begin(shared) {
        Ok(begun) => begun,
        Err(error) => {
            screen.page("Not set up", &error)?;
            return screen.pause();
        }
    };
    recovery::show(screen, &begun.recovery)?;
    screen.page(
        "Set up this box",
        "The data get an encrypted file system, and the exchange starts for the first time …",
    )?;
    let started = vault::format(shared).and_then(|()| start(shared, &answers.name, &answers.network, &answers.pin));
    if let Err(error) = started {
        screen.page("Not set up", &error)?;
        return screen.pause();
    }
    note(screen, shared, "set-up");
    match make_administrator(&answers.administrator, &answers.password) {
        Ok(user) => shared.log.note(&format!("{user} was made")),
        Err(error) => {
            screen.page("No administrator yet", &format!("{error}\nMake one from the menu."))?;
            screen.pause()?;
        }
    }
    let text = format!(
        "Clients connect to https://{}/\n\n{}",
        answers.name,
        recovery::sentence(&begun.sealed)
    );
    screen.page("This box is set up", &text)?;
    screen.pause()
}

/// Somebody else is at it.
pub fn is_busy(screen: &mut Screen) -> std::io::Result<()> {
    screen.page("Busy", "Another console is setting this box up.")?;
    screen.pause()
}

/// What is to be said of the disks that a set-up would take, which are looked at once more when it begins. `None`: there is
/// no set-up to be done, or none that could be.
pub fn disks(screen: &mut Screen, shared: &Shared) -> std::io::Result<Option<String>> {
    if shared.state() != State::SetUp {
        return Ok(None);
    }
    match vault::look_again(shared) {
        Ok(found) if found.members.len() > 1 => Ok(Some(format!(
            "\n\nTwo disks have the image, {}: they will hold the same, and the box goes on when one fails. Take one away \
             first if it is not meant.",
            found.names()
        ))),
        Ok(_) => Ok(Some(String::new())),
        Err(error) => {
            screen.page("Not possible", &error)?;
            screen.pause()?;
            Ok(None)
        }
    }
}

fn ask(screen: &mut Screen) -> std::io::Result<Option<Answers>> {
    let name = loop {
        let Some(name) = screen.ask("1/5 Server name, such as chat.example.org", Echo::Shown)? else {
            return Ok(None);
        };
        let name = name.trim().to_ascii_lowercase();
        match crate::init::exchange::check(&Site::new(&name, Network::default())) {
            Ok(()) => break name,
            Err(error) => screen.print(&format!(" {}\r\n", error.lines().last().unwrap_or_default()))?,
        }
    };
    let Some(network) = ask_network(screen, "2/5")? else {
        return Ok(None);
    };
    let Some(administrator) = screen.ask("3/5 Name of the first administrator, such as alice", Echo::Shown)? else {
        return Ok(None);
    };
    let Some(password) = new_secret(screen, "4/5 Password of the administrator")? else {
        return Ok(None);
    };
    let Some(pin) = ask_pin(screen, "5/5")? else {
        return Ok(None);
    };
    Ok(Some(Answers {
        name,
        network,
        administrator: administrator.trim().to_owned(),
        password,
        pin,
    }))
}

/// Asks for the network, as the question of this number.
pub fn ask_network(screen: &mut Screen, number: &str) -> std::io::Result<Option<Network>> {
    loop {
        let question = format!("{number} Network: none, dhcp, or ADDRESS/LENGTH ROUTER");
        let Some(network) = screen.ask(&question, Echo::Shown)? else {
            return Ok(None);
        };
        match parse_network(&network) {
            Ok(network) => return Ok(Some(network)),
            Err(error) => screen.print(&format!(" {error}\r\n"))?,
        }
    }
}

/// Asks for a new PIN, as the question of this number.
pub fn ask_pin(screen: &mut Screen, number: &str) -> std::io::Result<Option<Zeroizing<String>>> {
    loop {
        let question = format!("{number} A PIN for this console, 6 digits or more");
        let Some(typed) = new_secret(screen, &question)? else {
            return Ok(None);
        };
        if (pin::PIN_DIGITS_MIN..=pin::PIN_DIGITS_MAX).contains(&typed.len())
            && typed.bytes().all(|byte| byte.is_ascii_digit())
        {
            return Ok(Some(typed));
        }
        screen.print(" A PIN has 6 to 32 digits.\r\n")?;
    }
}

/// Hands the configuration over and waits until the exchange answers.
pub fn start(shared: &Shared, name: &str, network: &Network, pin: &str) -> Result<(), String> {
    let mut site = Site::new(name, network.clone());
    site.pin = Some(pin::hash(pin, &OsEntropy).map_err(|error| error.to_string())?);
    let (sender, receiver) = sync_channel(1);
    shared.tell(Event::Configured(Box::new(site), sender));
    receiver.recv_timeout(START_MAX).map_err(|error| error.to_string())??;
    vault::finish(shared)?;
    let since = Instant::now();
    while shared.state() != State::Serving {
        // A restored database may need work before it is served, which the console shows.
        if since.elapsed() > START_MAX && shared.state() != State::Repairing {
            return Err("the exchange does not answer: the log says why".to_owned());
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// What was done goes into the audit log.
pub fn note(screen: &Screen, shared: &Shared, act: &str) {
    if let Err(error) = late::note(shared, Act::new(act, &screen.name)) {
        shared.log.note(&format!("the set-up is not in the audit log: {error}"));
    }
}
