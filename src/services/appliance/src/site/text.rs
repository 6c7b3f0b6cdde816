//! A network as an operator types it and reads it: words on one line.

use super::{Bond, BondMode, Cidr, Mode, Network};
use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

/// Longest line.
const TEXT_BYTES_MAX: usize = 1024;

/// What an operator types for a network: `none`, `dhcp`, or `ADDRESS/LENGTH …` with routers' addresses, and behind it
/// `on=INTERFACE`, `vlan=NUMBER`, `bond=active-backup:INTERFACE,…` or `bond=lacp:INTERFACE,…`.
pub fn parse_network(text: &str) -> Result<Network, String> {
    if text.len() > TEXT_BYTES_MAX {
        return Err("that is too long".to_owned());
    }
    let mut words = text.split_whitespace().peekable();
    let mode = match words.peek().unwrap_or(&"none").to_ascii_lowercase().as_str() {
        "none" => Mode::None,
        "dhcp" => Mode::Dhcp,
        _ => Mode::Static,
    };
    if mode != Mode::Static {
        words.next();
    }
    let mut network = Network {
        mode,
        ..Network::default()
    };
    for word in words {
        take(&mut network, word)?;
    }
    match (mode, network.addresses.as_slice()) {
        (Mode::None, _) if network != Network::default() => Err("no network has nothing behind `none`".to_owned()),
        (Mode::Dhcp, [_, ..]) => Err("with dhcp the addresses come by themselves".to_owned()),
        (Mode::Static, []) => Err("write none, dhcp, or an address with its network, such as 10.1.2.3/24".to_owned()),
        (Mode::Static, addresses) => {
            let reached = |router: &IpAddr| {
                let mut same = addresses.iter().map(|cidr| cidr.address.is_ipv4());
                same.any(|is_ipv4| is_ipv4 == router.is_ipv4())
            };
            if network.routers.iter().all(reached) {
                Ok(network)
            } else {
                Err("the address and the router are of different families".to_owned())
            }
        }
        _ => Ok(network),
    }
}

fn take(network: &mut Network, word: &str) -> Result<(), String> {
    let set = |taken: bool| {
        if taken {
            Err(format!("{word:?} says something for the second time"))
        } else {
            Ok(())
        }
    };
    match word.split_once('=') {
        Some(("on", name)) => set(network.interface.replace(name.to_owned()).is_some()),
        Some(("vlan", number)) => {
            let number = number
                .parse()
                .map_err(|_| format!("{number:?} is no number of a VLAN"))?;
            set(network.vlan.replace(number).is_some())
        }
        Some(("bond", bond)) => set(network.bond.replace(parse_bond(bond)?).is_some()),
        Some(_) => Err(format!("{word:?} is not known: on=, vlan= and bond= are")),
        None if word.contains('/') => {
            network.addresses.push(word.parse()?);
            Ok(())
        }
        None => {
            let router: IpAddr = word.parse().map_err(|_| {
                format!("{word:?} is too much: write none, dhcp, or ADDRESS/LENGTH ROUTER, and on=, vlan= or bond=")
            })?;
            let same = |known: &IpAddr| known.is_ipv4() == router.is_ipv4();
            if network.mode != Mode::Static || network.routers.iter().any(same) {
                return Err(format!("{router} is one router too many"));
            }
            network.routers.push(router);
            Ok(())
        }
    }
}

fn parse_bond(text: &str) -> Result<Bond, String> {
    let wrong = || format!("{text:?} is no bond: write bond=active-backup:eth0,eth1 or bond=lacp:eth0,eth1");
    let (mode, members) = text.split_once(':').ok_or_else(wrong)?;
    let mode = match mode {
        "active-backup" => BondMode::ActiveBackup,
        "lacp" => BondMode::Lacp,
        _ => return Err(wrong()),
    };
    Ok(Bond {
        mode,
        members: members.split(',').map(str::to_owned).collect(),
    })
}

impl Display for Network {
    /// As it is typed.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        match self.mode {
            Mode::None => words.push("none".to_owned()),
            Mode::Dhcp => words.push("dhcp".to_owned()),
            Mode::Static => {}
        }
        words.extend(self.addresses.iter().map(ToString::to_string));
        words.extend(self.routers.iter().map(ToString::to_string));
        words.extend(self.interface.iter().map(|name| format!("on={name}")));
        words.extend(self.vlan.map(|number| format!("vlan={number}")));
        words.extend(self.bond.iter().map(|bond| {
            let mode = match bond.mode {
                BondMode::ActiveBackup => "active-backup",
                BondMode::Lacp => "lacp",
            };
            format!("bond={mode}:{}", bond.members.join(","))
        }));
        f.write_str(&words.join(" "))
    }
}

impl Network {
    /// Whether it has an address of this family that was typed, or gets one by itself.
    pub fn may_have(&self, address: IpAddr) -> bool {
        match self.mode {
            Mode::None => false,
            Mode::Dhcp => true,
            Mode::Static => {
                let mut families = self.addresses.iter().map(|cidr: &Cidr| cidr.address.is_ipv4());
                families.any(|is_ipv4| is_ipv4 == address.is_ipv4())
            }
        }
    }
}
