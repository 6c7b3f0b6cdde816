//! The box's configuration, onto a stick and from it. A file of it has everything but the PIN; what comes back is compared
//! with what is, shown, and taken over as any other change.

use super::{choose, tell};
use crate::init::console::change;
use crate::init::console::screen::Screen;
use crate::init::state::Shared;
use crate::init::stick::{self, Deposit};
use lamchat_appliance::site::{Editable, Site};
use std::sync::Arc;

/// Largest file.
const FILE_BYTES_MAX: u64 = 64 << 10;
/// The file's name.
const FILE: &str = "site.toml";

/// Writes it.
pub fn write(screen: &mut Screen, shared: &Arc<Shared>) -> std::io::Result<()> {
    let Some(disk) = choose(screen)? else { return Ok(()) };
    let Some(site) = shared.site.lock().clone() else {
        return Ok(());
    };
    let made = text_of(&site).and_then(|text| {
        let mut deposit = Deposit::begin(shared, &disk, "configuration")?;
        deposit.add(FILE, text.as_bytes())?;
        let folder = deposit.folder.clone();
        deposit.finish(&mut |_| {})?;
        Ok(format!(
            "{folder}/{FILE} was written and read back right. Change it on a computer, put it into the stick's first folder, \
             and choose \"Configuration from the stick\". The stick may be pulled."
        ))
    });
    tell(screen, made)
}

/// Reads one, shows what is different, and hands it over.
pub fn read(screen: &mut Screen, shared: &Arc<Shared>) -> std::io::Result<()> {
    let Some(disk) = choose(screen)? else { return Ok(()) };
    let Some(now) = shared.site.lock().clone() else {
        return Ok(());
    };
    let read = stick::open(shared, &disk).and_then(|mut stick| {
        let bytes = stick
            .read_small(FILE, FILE_BYTES_MAX)
            .map_err(|error| error.to_string())?;
        let text = String::from_utf8(bytes).map_err(|_| format!("{FILE} is not text in UTF-8"))?;
        let wanted = parse(&text)?;
        let next = now.changed(wanted).map_err(|error| error.to_string())?;
        let changes = differences(&text_of(&now)?, &text_of(&next)?);
        Ok((next, changes))
    });
    let (next, changes) = match read {
        Ok(read) => read,
        Err(error) => return tell(screen, Err(error)),
    };
    if changes.is_empty() {
        return tell(screen, Ok("The file says what is already so.".to_owned()));
    }
    screen.pages("What changes: - is now, + is in the file", &changes.join("\n"))?;
    if !screen.confirm("Take it over?")? {
        return tell(screen, Err("Nothing was changed.".to_owned()));
    }
    // Why it was not taken over is on the screen already.
    change::hand_over(screen, shared, next).map(|_| ())
}

/// Reads the file; what is wrong with it is said with its line.
fn parse(text: &str) -> Result<Editable, String> {
    toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map_or(1, |before| before.matches('\n').count() + 1);
        format!("{FILE}, line {line}: {}", error.message())
    })
}

/// What may be changed, as the file has it and `lamchat box show` prints it.
fn text_of(site: &Site) -> Result<String, String> {
    toml::to_string(&site.editable()).map_err(|error| error.to_string())
}

/// Lines that only one of the two has, but for the version, which every change counts.
fn differences(now: &str, next: &str) -> Vec<String> {
    let lines = |text: &str| -> Vec<String> {
        let mut table = String::new();
        let mut lines = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            if line.starts_with('[') {
                table = format!("{line} ");
            } else if !line.starts_with("version = ") {
                lines.push(format!("{table}{line}"));
            }
        }
        lines
    };
    let (now, next) = (lines(now), lines(next));
    let only = |mark: char, these: &[String], others: &[String]| -> Vec<String> {
        let only = these.iter().filter(|line| !others.contains(line));
        only.map(|line| format!("{mark} {line}")).collect()
    };
    [only('-', &now, &next), only('+', &next, &now)].concat()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{parse, text_of};
    use lamchat_appliance::site::{Site, parse_network};

    #[test]
    fn what_changes_is_shown() {
        let now = Site::new("chat.example.org", parse_network("dhcp").unwrap());
        let mut next = now.clone();
        next.version += 1;
        next.network = parse_network("10.0.0.5/24 10.0.0.1").unwrap();
        let changes = super::differences(&text_of(&now).unwrap(), &text_of(&next).unwrap());
        assert_eq!(
            changes,
            [
                "- [network] mode = \"dhcp\"",
                "+ [network] mode = \"static\"",
                "+ [network] addresses = [\"10.0.0.5/24\"]",
                "+ [network] routers = [\"10.0.0.1\"]",
            ]
        );
    }
    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let right = text_of(&Site::new("chat.example.org", parse_network("dhcp").unwrap())).unwrap();
        assert!(parse(&right).is_ok(), "{right}");
        let lines = right.lines().count() + 1;
        let unknown = parse(&format!("{right}[door]\nopen = true\n")).unwrap_err();
        assert!(
            unknown.contains(&format!("line {lines}: unknown field `door`")),
            "{unknown}"
        );
        let name = parse(&format!("server_name = \"other.example.org\"\n{right}")).unwrap_err();
        assert!(name.contains("line 1: unknown field `server_name`"), "{name}");
        let torn = parse(right.get(..right.len() - 3).unwrap()).unwrap_err();
        assert!(torn.contains(", line "), "{torn}");
    }
}
