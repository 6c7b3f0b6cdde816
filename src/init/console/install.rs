//! The installer's questions: which disk, whose firmware.

use super::screen::{Echo, Screen};
use crate::init::state::{Event, Shared, State};
use lamchat_installer::{
    Described, Disk, Driver, EnrolError, InstallError, Owner, Phase, Stick, Updates, drivers, enrol, find, install,
    list, log_of_machine, owner,
};
use lamchat_machine::efi::Variables;
use lamchat_machine::gpt;
use lamchat_machine::power::End;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the installer brings along.
const DESCRIBED: &str = "/etc/lamchat/payload.json";
const UPDATES: &str = "/etc/lamchat/secureboot";
const BLOCKS: &str = "/sys/block";
/// How long the stick is waited for, and how long between two looks.
const STICK_PATIENCE: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_secs(1);
/// Drivers that fit on a screen.
const DRIVERS_MAX: usize = 12;
/// Hundredths between two reports of progress.
const REPORT: u64 = 10;

/// What the installer knows before it asks.
struct Ready {
    described: Described,
    updates: Updates,
    variables: Variables,
    owner: Owner,
}

/// Asks, installs, makes the firmware the operator's.
pub fn run(screen: &mut Screen, shared: &Arc<Shared>) -> std::io::Result<()> {
    let Some(_operator) = shared.operator.try_lock() else {
        screen.page("Busy", "Another console is installing.")?;
        return screen.pause();
    };
    let ready = match prepare() {
        Ok(ready) => ready,
        Err(error) => return stop(screen, shared, &error),
    };
    let Some((stick, disks)) = choose(screen, &ready)? else {
        return Ok(());
    };
    for disk in &disks {
        shared.log.note(&format!("installing on {}", disk.name));
        screen.print(&format!("\r\n {}", disk.name))?;
        if let Err(error) = copy(screen, &ready.described, &stick, disk) {
            return stop(screen, shared, &format!("{}: {error}", disk.name));
        }
        shared.log.note(&format!("{} has the image", disk.name));
    }
    let written = match disks.as_slice() {
        [disk] => format!("{} has LamChat now.", disk.name),
        _ => format!("{} have LamChat now, and will hold the same.", names(&disks, " and ")),
    };
    screen.page("The disk is written", &written)?;
    match take_firmware(screen, &ready)? {
        Ok(sentence) => {
            shared.log.note(&sentence);
            screen.print(&format!(" {sentence}\r\n"))?;
        }
        Err(error) => {
            shared.log.note(&error);
            screen.page("The firmware is not yours yet", &error)?;
        }
    }
    screen.print("\r\n Take the stick out, then press Enter: the machine starts from its disk, and this\r\n")?;
    screen.print(" console asks five questions.\r\n")?;
    screen.pause()?;
    if shared.state() != State::Stopping {
        shared.tell(Event::End(End::Reboot));
    }
    Ok(())
}

fn stop(screen: &mut Screen, shared: &Shared, error: &str) -> std::io::Result<()> {
    shared.log.note(&format!("not installed: {error}"));
    screen.page("Not installed", error)?;
    screen.pause()
}

fn prepare() -> Result<Ready, String> {
    let described = std::fs::read(DESCRIBED).map_err(|error| format!("{DESCRIBED}: {error}"))?;
    let described = serde_json::from_slice(&described).map_err(|error| format!("{DESCRIBED}: {error}"))?;
    let updates = Updates::read(Path::new(UPDATES)).map_err(|error| format!("{UPDATES}: {error}"))?;
    let variables = Variables::of_machine();
    let owner = owner(&variables, &updates).map_err(|error| error.to_string())?;
    Ok(Ready {
        described,
        updates,
        variables,
        owner,
    })
}

fn firmware(owner: Owner) -> &'static str {
    match owner {
        Owner::Nobody => "is in set-up mode: it will take your keys.",
        Owner::Operator => "has your keys already.",
        Owner::Another => "has somebody else's platform key. Clear it in the firmware's set-up first.",
        Owner::Without => "knows no Secure Boot: this box cannot prove what it runs.",
    }
}

/// Waits for the stick: what hangs on USB shows up late.
fn look(screen: &mut Screen, ready: &Ready) -> std::io::Result<(Option<Stick>, Vec<Disk>)> {
    let since = Instant::now();
    loop {
        let paths = gpt::disks();
        let stick = find(&paths, &ready.described);
        if stick.is_some() || since.elapsed() > STICK_PATIENCE {
            let disks = list(
                &paths,
                Path::new(BLOCKS),
                stick.as_ref().map(|stick| stick.disk.as_path()),
            );
            return Ok((stick, disks));
        }
        screen.page("Install LamChat on a disk", "Looking for the stick …")?;
        std::thread::sleep(LOOK);
    }
}

/// Shows the disks and asks for one, or two that will hold the same, by numbers and then by names.
fn choose(screen: &mut Screen, ready: &Ready) -> std::io::Result<Option<(Stick, Vec<Disk>)>> {
    let (stick, chosen) = loop {
        let (stick, disks) = look(screen, ready)?;
        screen.page("Install LamChat on a disk", &describe(ready.owner, &disks))?;
        let Some(stick) = stick else {
            screen.print(" The stick with the image is not there. Plug it in and try again.\r\n")?;
            screen.pause()?;
            return Ok(None);
        };
        match ask_numbers(screen, &disks)? {
            None => return Ok(None),
            Some(chosen) if chosen.is_empty() => {}
            Some(chosen) => break (stick, chosen),
        }
    };
    for disk in &chosen {
        screen.print(&format!(
            "\r\n Everything on {} ({}, {}) will be lost.\r\n",
            disk.name,
            size(disk.bytes),
            disk.content
        ))?;
    }
    let names = names(&chosen, " ");
    let typed = screen.ask(&format!("Type {names} to go on"), Echo::Shown)?;
    if typed.as_ref().map(|typed| typed.trim()) != Some(&names) {
        screen.print(" That was not its name: nothing was written.\r\n")?;
        screen.pause()?;
        return Ok(None);
    }
    Ok(Some((stick, chosen)))
}

fn names(disks: &[Disk], between: &str) -> String {
    let names: Vec<&str> = disks.iter().map(|disk| disk.name.as_str()).collect();
    names.join(between)
}

/// Asks until one or two disks were named that can be taken; none: look again.
fn ask_numbers(screen: &mut Screen, disks: &[Disk]) -> std::io::Result<Option<Vec<Disk>>> {
    loop {
        let question = "Number of the disk, or two for a mirror (Enter looks again, Esc goes back)";
        let Some(answer) = screen.ask(question, Echo::Shown)? else {
            return Ok(None);
        };
        match chosen(&answer, disks) {
            Ok(chosen) => return Ok(Some(chosen)),
            Err(error) => screen.print(&format!(" {error}\r\n"))?,
        }
    }
}

/// The disks of an answer: one, two different ones, or none.
fn chosen(answer: &str, disks: &[Disk]) -> Result<Vec<Disk>, String> {
    let mut chosen: Vec<Disk> = Vec::new();
    for word in answer.split([' ', ',']).filter(|word| !word.is_empty()) {
        let number = word.parse::<usize>().ok().and_then(|number| number.checked_sub(1));
        match number.and_then(|number| disks.get(number)) {
            Some(Disk {
                refusal: Some(refusal),
                name,
                ..
            }) => return Err(format!("{name} cannot be taken: {refusal}.")),
            Some(disk) if chosen.contains(disk) => return Err("A mirror has two disks.".to_owned()),
            Some(disk) => chosen.push(disk.clone()),
            None => return Err("There is no disk of that number.".to_owned()),
        }
    }
    if chosen.len() > 2 {
        return Err("A mirror has two disks.".to_owned());
    }
    Ok(chosen)
}

fn describe(owner: Owner, disks: &[Disk]) -> String {
    let mut text = format!("The firmware {}\n\n", firmware(owner));
    for (number, disk) in (1..).zip(disks) {
        let why = match disk.refusal {
            Some(refusal) => format!("no: {refusal}"),
            None => disk.content.clone(),
        };
        let (name, size) = (&disk.name, size(disk.bytes));
        text.push_str(&format!("{number:>3}  {name:<8} {size:>8}  {:<18} {why}\n", disk.model));
    }
    text
}

/// Decimal, as disks are sold.
fn size(bytes: u64) -> String {
    match bytes / 1_000_000_000 {
        0 => format!("{} MB", bytes / 1_000_000),
        gigabytes => format!("{gigabytes} GB"),
    }
}

fn copy(screen: &mut Screen, described: &Described, stick: &Stick, disk: &Disk) -> Result<(), InstallError> {
    let mut last = (None, 0);
    install(stick, described, &disk.path, &mut |phase, done| {
        let step = done / REPORT;
        if last == (Some(phase), step) {
            return;
        }
        let begins = last.0 != Some(phase);
        last = (Some(phase), step);
        let text = match phase {
            Phase::Checking => "Checking the stick",
            Phase::Writing => "Writing the disk",
            Phase::ReadingBack => "Reading it back",
        };
        let line = if begins {
            format!("\r\n {text}:")
        } else {
            format!(" {} %", step * REPORT)
        };
        // A terminal that has gone away is no reason to leave a disk half written.
        drop(screen.print(&line));
    })
}

/// Enrols the keys where the firmware takes them; answers what came of it.
fn take_firmware(screen: &mut Screen, ready: &Ready) -> std::io::Result<Result<String, String>> {
    match ready.owner {
        Owner::Nobody => {}
        Owner::Operator => return Ok(Ok("The firmware has your keys already.".to_owned())),
        Owner::Another | Owner::Without => {
            return Ok(Err(format!(
                "The firmware {}\nThe box starts, and its keys can be sealed only to what this firmware lets through. In the \
                 firmware's set-up, clear the Secure Boot keys (\"set-up mode\") and start this stick again.",
                firmware(ready.owner)
            )));
        }
    }
    let wanted = match ask_drivers(screen)? {
        Ok(wanted) => wanted,
        Err(error) => {
            screen.print(&format!(" Which drivers the cards bring is not known: {error}\r\n"))?;
            Vec::new()
        }
    };
    Ok(match enrol(&ready.variables, &ready.updates, &wanted) {
        Ok(()) => Ok(format!(
            "The firmware is yours: PK, KEK and db are enrolled; drivers of cards: {}.",
            wanted.len()
        )),
        Err(error) => Err(enrol_failed(&error)),
    })
}

fn enrol_failed(error: &EnrolError) -> String {
    format!(
        "{error}\nIn the firmware's set-up, clear the Secure Boot keys (\"set-up mode\") and start this stick again."
    )
}

/// Offers to let the drivers of cards start under the operator's keys.
fn ask_drivers(screen: &mut Screen) -> std::io::Result<Result<Vec<Driver>, String>> {
    let found = log_of_machine()
        .map_err(|error| error.to_string())
        .and_then(|log| drivers(&log).map_err(|error| error.to_string()));
    let found = match found {
        Ok(found) => found,
        Err(error) => return Ok(Err(error)),
    };
    if found.is_empty() {
        screen.print(" No card brought a driver of its own.\r\n")?;
        return Ok(Ok(found));
    }
    screen.print(" Cards brought drivers of their own (PCR 2). Under your keys alone they do not\r\n")?;
    screen.print(" start, and a screen, network boot or disk may stay dead until Linux runs:\r\n")?;
    for driver in found.iter().take(DRIVERS_MAX) {
        let digest: String = driver.digest.to_string().chars().take(32).collect();
        screen.print(&format!("   PCI {:<16} {digest}…\r\n", driver.place))?;
    }
    if found.len() > DRIVERS_MAX {
        screen.print(&format!("   and {} more\r\n", found.len() - DRIVERS_MAX))?;
    }
    let yes = screen.confirm("Trust these very drivers as well?")?;
    Ok(Ok(if yes { found } else { Vec::new() }))
}

#[cfg(test)]
mod tests {
    #[test]
    fn sizes_are_those_on_the_label() {
        assert_eq!(super::size(480_103_981_056), "480 GB");
        assert_eq!(super::size(612_368_384), "612 MB");
    }

    #[test]
    fn one_disk_is_chosen_or_two_or_none() {
        let disk = |name: &str, refusal| lamchat_installer::Disk {
            path: format!("/dev/{name}").into(),
            name: name.to_owned(),
            bytes: 1,
            model: String::new(),
            content: String::new(),
            refusal,
        };
        let disks = [
            disk("sda", None),
            disk("sdb", None),
            disk("sdc", Some(lamchat_installer::Refusal::Stick)),
            disk("sdd", None),
        ];
        let named = |answer: &str| super::chosen(answer, &disks).map(|chosen| super::names(&chosen, " "));
        assert_eq!(named("2"), Ok("sdb".to_owned()));
        assert_eq!(named(" 4, 1 "), Ok("sdd sda".to_owned()));
        assert_eq!(named(" "), Ok(String::new()));
        for wrong in ["0", "5", "x", "3", "1 3", "1 1", "1 2 4"] {
            assert!(named(wrong).is_err(), "{wrong}");
        }
    }
}
