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
        screen.page("Busy", "Another console is setting this box up.")?;
        return screen.pause();
    };
    if shared.state() != State::SetUp {
        return Ok(());
    }
    // What it is set up on is looked at once more when it begins.
    let disks = match vault::look_again(shared) {
        Ok(found) if found.members.len() > 1 => format!(
            "\n\nTwo disks have the image, {}: they will hold the same, and the box goes on when one fails. Take one away \
             first if it is not meant.",
            found.names()
        ),
        Ok(_) => String::new(),
        Err(error) => {
            screen.page("Not possible", &error)?;
            return screen.pause();
        }
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
    if let Err(error) = vault::format(shared).and_then(|()| start(shared, &answers)) {
        screen.page("Not set up", &error)?;
        return screen.pause();
    }
    if let Err(error) = late::note(shared, Act::new("set-up", &screen.name)) {
        shared.log.note(&format!("the set-up is not in the audit log: {error}"));
    }
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
    let network = loop {
        let question = "2/5 Network: none, dhcp, or ADDRESS/LENGTH ROUTER";
        let Some(network) = screen.ask(question, Echo::Shown)? else {
            return Ok(None);
        };
        match parse_network(&network) {
            Ok(network) => break network,
            Err(error) => screen.print(&format!(" {error}\r\n"))?,
        }
    };
    let Some(administrator) = screen.ask("3/5 Name of the first administrator, such as alice", Echo::Shown)? else {
        return Ok(None);
    };
    let Some(password) = new_secret(screen, "4/5 Password of the administrator")? else {
        return Ok(None);
    };
    let pin = loop {
        let Some(typed) = new_secret(screen, "5/5 A PIN for this console, 6 digits or more")? else {
            return Ok(None);
        };
        if (pin::PIN_DIGITS_MIN..=pin::PIN_DIGITS_MAX).contains(&typed.len())
            && typed.bytes().all(|byte| byte.is_ascii_digit())
        {
            break typed;
        }
        screen.print(" A PIN has 6 to 32 digits.\r\n")?;
    };
    Ok(Some(Answers {
        name,
        network,
        administrator: administrator.trim().to_owned(),
        password,
        pin,
    }))
}

/// Hands the configuration over and waits until the exchange answers.
fn start(shared: &Shared, answers: &Answers) -> Result<(), String> {
    let mut site = Site::new(&answers.name, answers.network.clone());
    site.pin = Some(pin::hash(&answers.pin, &OsEntropy).map_err(|error| error.to_string())?);
    let (sender, receiver) = sync_channel(1);
    shared.tell(Event::Configured(Box::new(site), sender));
    receiver.recv_timeout(START_MAX).map_err(|error| error.to_string())??;
    vault::finish(shared)?;
    let since = Instant::now();
    while shared.state() != State::Serving {
        if since.elapsed() > START_MAX {
            return Err("the exchange does not answer: the log says why".to_owned());
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}
