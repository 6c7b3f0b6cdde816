//! The order in which the firmware tries what it can start: Boot#### and BootOrder (UEFI Specification 2.10, 3.3).
//!
//! Every firmware finds the image by itself, by the one file name that it always tries. When it does is the firmware's
//! choice: often only after it has waited minutes for a network that answers nothing. An entry that is first settles that.
//!
//! What must never happen here: an entry of somebody else's that is changed or goes; an order that an operator chose in
//! the firmware's set-up and that is undone.

use super::load_option::{Start, is_ours};
use super::{GLOBAL, VariableError, Variables};

/// Non-volatile, for boot services and the running system.
const ATTRIBUTES: u32 = 7;
const ORDER: &str = "BootOrder";

/// Sees to it that the firmware has an entry for each of `starts`. New ones come first, in their order; those that are
/// there keep their place. With `only` those of ours that start anything else go. Tells whether anything was written.
///
/// Cut off at any point, the old order is there or the new one, and what is named in neither goes the next time.
pub fn keep(variables: &Variables, starts: &[Start], only: bool) -> Result<bool, VariableError> {
    let there = options(variables)?;
    let order = read_order(variables)?;
    let mut taken: Vec<u16> = there.iter().map(|(number, _)| *number).collect();
    let mut new = Vec::new();
    let mut kept = Vec::new();
    for start in starts {
        let found = there.iter().find(|(_, option)| is_ours(option) && start.is_of(option));
        match found {
            Some((number, _)) if order.contains(number) => kept.push(*number),
            Some((number, _)) => new.push(*number),
            None => {
                // A firmware with 65,536 entries finds the disk by itself, as before.
                let Some(number) = (0..=u16::MAX).find(|number| !taken.contains(number)) else {
                    break;
                };
                variables.write(&name(number), GLOBAL, ATTRIBUTES, &start.encode())?;
                taken.push(number);
                new.push(number);
            }
        }
    }
    let is_wanted = |number: &u16| kept.contains(number) || new.contains(number);
    let gone: Vec<u16> = there
        .iter()
        .filter(|(number, option)| only && is_ours(option) && !is_wanted(number))
        .map(|(number, _)| *number)
        .collect();
    let rest = order.iter().filter(|number| !gone.contains(number));
    let wanted: Vec<u16> = new.iter().chain(rest).copied().collect();
    if wanted != order {
        let bytes: Vec<u8> = wanted.iter().flat_map(|number| number.to_le_bytes()).collect();
        variables.write(ORDER, GLOBAL, ATTRIBUTES, &bytes)?;
    }
    for number in &gone {
        variables.remove(&name(*number), GLOBAL)?;
    }
    Ok(wanted != order || !gone.is_empty())
}

fn name(number: u16) -> String {
    format!("Boot{number:04X}")
}

/// All entries, by their numbers.
fn options(variables: &Variables) -> Result<Vec<(u16, Vec<u8>)>, VariableError> {
    let mut options = Vec::new();
    for name in variables.names(GLOBAL)? {
        let digits = name.strip_prefix("Boot").filter(|digits| digits.len() == 4);
        // BootNext has four letters behind it as well, and they are no number.
        let Some(number) = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok()) else {
            continue;
        };
        if let Some(option) = variables.read(&name, GLOBAL)? {
            options.push((number, option));
        }
    }
    options.sort_by_key(|(number, _)| *number);
    Ok(options)
}

fn read_order(variables: &Variables) -> Result<Vec<u16>, VariableError> {
    let bytes = variables.read(ORDER, GLOBAL)?.unwrap_or_default();
    let (numbers, _) = bytes.as_chunks::<2>();
    Ok(numbers.iter().map(|number| u16::from_le_bytes(*number)).collect())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn start(byte: u8) -> Start {
        Start {
            description: format!("LamChat {byte}"),
            number: 1,
            first_block: 2048,
            blocks: 4096,
            id: [byte; 16],
        }
    }

    fn order(variables: &Variables) -> Vec<u16> {
        read_order(variables).unwrap()
    }

    /// A firmware with the network first and a disk of another system's.
    fn firmware() -> (tempfile::TempDir, Variables) {
        let folder = tempfile::tempdir().unwrap();
        let variables = Variables::in_folder(folder.path());
        for (name, content) in [
            ("Boot0000", &b"network"[..]),
            ("Boot0001", b"another system"),
            ("BootNext", b"\x01\0"),
            ("BootOrder", b"\x00\0\x01\0"),
        ] {
            variables.write(name, GLOBAL, ATTRIBUTES, content).unwrap();
        }
        (folder, variables)
    }

    #[test]
    fn what_is_new_comes_first_and_nothing_is_written_twice() {
        let (_folder, variables) = firmware();
        let both = [start(1), start(2)];
        assert!(keep(&variables, &both, true).unwrap());
        assert_eq!(order(&variables), [2, 3, 0, 1]);
        assert!(!keep(&variables, &both, true).unwrap());
        let choose = |order: &[u8]| {
            // A folder of a test's keeps the end of what was longer; the firmware does not.
            variables.remove(ORDER, GLOBAL).unwrap();
            variables.write(ORDER, GLOBAL, ATTRIBUTES, order).unwrap();
        };
        // An operator has the network tried first.
        choose(b"\x00\0\x02\0\x03\0");
        assert!(!keep(&variables, &both, true).unwrap());
        assert_eq!(order(&variables), [0, 2, 3]);
        // A firmware that has lost its order, or one of ours in it.
        choose(b"\x00\0\x03\0");
        assert!(keep(&variables, &both, true).unwrap());
        assert_eq!(order(&variables), [2, 0, 3]);
    }

    #[test]
    fn entries_of_disks_that_are_no_more_go_and_nobody_elses() {
        let (_folder, variables) = firmware();
        keep(&variables, &[start(1), start(2)], true).unwrap();
        // The other disk is only away.
        assert!(!keep(&variables, &[start(1)], false).unwrap());
        assert_eq!(order(&variables), [2, 3, 0, 1]);
        assert!(keep(&variables, &[start(1), start(3)], true).unwrap());
        assert_eq!(order(&variables), [4, 2, 0, 1]);
        assert_eq!(variables.read("Boot0003", GLOBAL).unwrap(), None);
        assert_eq!(
            variables.read("Boot0001", GLOBAL).unwrap().as_deref(),
            Some(&b"another system"[..])
        );
        // Numbers that are free are taken again.
        assert!(keep(&variables, &[start(1), start(4)], true).unwrap());
        assert_eq!(order(&variables), [3, 2, 0, 1]);
    }

    #[test]
    fn what_a_power_cut_left_is_used_or_goes() {
        let (_folder, variables) = firmware();
        // An entry was written, the order was not.
        variables
            .write("Boot0002", GLOBAL, ATTRIBUTES, &start(1).encode())
            .unwrap();
        assert!(keep(&variables, &[start(1)], true).unwrap());
        assert_eq!(order(&variables), [2, 0, 1]);
        assert_eq!(variables.read("Boot0003", GLOBAL).unwrap(), None);
        // The order was written, what went is still there.
        variables
            .write("Boot0007", GLOBAL, ATTRIBUTES, &start(9).encode())
            .unwrap();
        assert!(keep(&variables, &[start(1)], true).unwrap());
        assert_eq!(variables.read("Boot0007", GLOBAL).unwrap(), None);
        assert_eq!(order(&variables), [2, 0, 1]);
    }

    #[test]
    fn a_firmware_without_any_order_gets_one() {
        let folder = tempfile::tempdir().unwrap();
        let variables = Variables::in_folder(folder.path());
        assert!(keep(&variables, &[start(1)], true).unwrap());
        assert_eq!(order(&variables), [0]);
    }
}
