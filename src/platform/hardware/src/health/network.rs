//! Links and bonds: `/sys/class/net` (Linux, Documentation/ABI/testing/sysfs-class-net, networking/bonding.rst).

use super::reading::{Part, Reading, State, Unit};
use super::root::Root;

/// The most interfaces.
const INTERFACES_MAX: usize = 128;
/// IFF_UP of netdevice(7): somebody switched the interface on.
const UP: u64 = 1;

/// A reading for each card and each bond.
pub fn read(sys: &Root) -> Vec<Reading> {
    let interfaces = sys.folders("class/net").into_iter().take(INTERFACES_MAX);
    interfaces
        .filter_map(|interface| {
            if interface.has("bonding") {
                Some(bond(&interface))
            } else {
                card(&interface)
            }
        })
        .collect()
}

fn is_up(interface: &Root) -> bool {
    let flags = interface.text("flags");
    let flags = flags.and_then(|text| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok());
    flags.is_some_and(|flags| flags & UP != 0)
}

/// One that is hardware; what nobody switched on is nobody's worry.
fn card(interface: &Root) -> Option<Reading> {
    if !interface.has("device") || !is_up(interface) {
        return None;
    }
    let name = interface.name();
    let reading = Reading::new(Part::Network, name, "the link is up");
    if interface.flag("carrier") != Some(true) {
        return Some(reading.worse(State::Warning, "no link: is the cable in, and the switch on?"));
    }
    // -1 where a driver knows no speed.
    let speed = interface.number::<i64>("speed").filter(|speed| *speed > 0);
    let mut reading = match speed {
        Some(speed) => reading.value(speed as f64, Unit::MegabitPerSecond),
        None => reading,
    };
    if interface.text("duplex").as_deref() == Some("half") {
        reading = reading.worse(
            State::Warning,
            "the link is half duplex: cable or switch are faulty or set wrongly",
        );
    }
    Some(reading)
}

fn bond(interface: &Root) -> Reading {
    let mode = interface.text("bonding/mode").unwrap_or_default();
    let mode = mode.split(' ').next().unwrap_or_default();
    let slaves = interface.text("bonding/slaves").unwrap_or_default();
    let slaves: Vec<&str> = slaves.split_whitespace().collect();
    // A slave's folder is beside the bond's, and linked from it as lower_NAME.
    let down: Vec<&str> = slaves
        .iter()
        .filter(|slave| {
            let status = interface.text(&format!("lower_{slave}/bonding_slave/mii_status"));
            status.is_some_and(|status| status != "up")
        })
        .copied()
        .collect();
    let reading = Reading::new(
        Part::Network,
        interface.name(),
        format!("{mode} over {}", slaves.join(", ")),
    );
    let working = slaves.len() - down.len();
    let mut reading = reading.value(working as f64, Unit::Count);
    let dead = interface
        .text("bonding/mii_status")
        .is_some_and(|status| status != "up");
    if working == 0 || dead {
        reading = reading.worse(State::Failed, format!("{mode}: no link of this bond is up"));
    }
    if !down.is_empty() {
        reading = reading.worse(
            State::Warning,
            format!(
                "{mode}: {} of {} links are down: {}",
                down.len(),
                slaves.len(),
                down.join(", ")
            ),
        );
    }
    reading
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{State, read};
    use crate::health::testing::tree;

    #[test]
    fn cards_have_links() {
        let folder = tree(&[
            ("class/net/lo/flags", "0x9"),
            ("class/net/eth0/flags", "0x1003\n"),
            ("class/net/eth0/device/vendor", "0x8086"),
            ("class/net/eth0/carrier", "1\n"),
            ("class/net/eth0/speed", "1000\n"),
            ("class/net/eth0/duplex", "full\n"),
            ("class/net/eth1/flags", "0x1002\n"),
            ("class/net/eth1/device/vendor", "0x8086"),
            ("class/net/eth2/flags", "0x1003\n"),
            ("class/net/eth2/device/vendor", "0x8086"),
            ("class/net/eth2/carrier", "0\n"),
            ("class/net/eth3/flags", "0x1003\n"),
            ("class/net/eth3/device/vendor", "0x8086"),
            ("class/net/eth3/carrier", "1\n"),
            ("class/net/eth3/speed", "-1\n"),
            ("class/net/eth3/duplex", "half\n"),
            ("class/net/bonding_masters", "bond0"),
        ]);
        let said: Vec<_> = read(&folder.root)
            .iter()
            .map(|reading| (reading.name.clone(), reading.value.is_some(), reading.state))
            .collect();
        let expected = [
            ("eth0", true, State::Well),
            ("eth2", false, State::Warning),
            ("eth3", false, State::Warning),
        ];
        assert_eq!(
            said,
            expected.map(|(name, value, state)| (name.to_owned(), value, state))
        );
    }

    #[test]
    fn a_bond_loses_its_links() {
        let folder = tree(&[
            ("class/net/bond0/bonding/mode", "active-backup 1\n"),
            ("class/net/bond0/bonding/mii_status", "up\n"),
            ("class/net/bond0/bonding/slaves", "eth0 eth1\n"),
            ("class/net/bond0/lower_eth0/bonding_slave/mii_status", "up\n"),
            ("class/net/bond0/lower_eth1/bonding_slave/mii_status", "up\n"),
        ]);
        let said = || read(&folder.root).pop().unwrap();
        assert_eq!(said().to_string(), "bond0: 2 : active-backup over eth0, eth1");
        folder.write("class/net/bond0/lower_eth1/bonding_slave/mii_status", "down");
        assert_eq!(said().state, State::Warning);
        assert!(said().sentence.ends_with("down: eth1"), "{}", said());
        folder.write("class/net/bond0/lower_eth0/bonding_slave/mii_status", "down");
        folder.write("class/net/bond0/bonding/mii_status", "down");
        assert_eq!(said().state, State::Failed);
        folder.write("class/net/bond0/bonding/slaves", "\n");
        assert_eq!(said().state, State::Failed);
    }
}
