//! The installer's questions about disks. Those about the firmware are another file's.

use super::firmware;
use super::screen::{Echo, Screen};
use crate::init::boot_order;
use crate::init::state::{Event, Shared, State};
use lamchat_installer::{Described, Disk, InstallError, Owner, Phase, Stick, Updates, find, install, list, owner};
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
/// Hundredths between two reports of progress.
const REPORT: u64 = 10;

/// What the installer knows before it asks.
pub(super) struct Ready {
    described: Described,
    pub(super) updates: Updates,
    pub(super) variables: Variables,
    pub(super) owner: Owner,
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
    if let Some(disk) = disks.first() {
        boot_order::installed(shared, &disk.path);
    }
    screen.page("The disk is written", &written)?;
    firmware::make_yours(screen, shared, &ready)?;
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

pub(super) fn prepare() -> Result<Ready, String> {
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
    let mut text = format!("The firmware {}\n\n", firmware::sentence(owner));
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
