//! The box's configuration: what its operator answered at set-up and changed since. One small TOML file with a version
//! that counts its changes; the console, a USB stick and the admin API edit nothing else.
//!
//! The release before may have to start with the file that this one wrote. So what is added to it is optional, and a reader
//! passes over what it does not know (`later.rs`). A further word of a known member, or a member that changes what others
//! mean, makes another format, which waits until the release is marked good.

mod file;
mod former;
mod later;
mod text;
mod time;
mod updates;

pub use former::{InEffect, Instead};
pub use text::parse_network;
pub use time::{Time, TimeServer};
pub use updates::Updates;

use later::Later;
use std::net::IpAddr;
use std::path::PathBuf;

/// The only format so far.
const FORMAT: u32 = 1;
/// Most addresses and routers, and most time servers.
const LIST_MAX: usize = 16;
/// Most interfaces of a bond.
const MEMBERS_MAX: usize = 8;

/// Why a configuration is not taken.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// The file cannot be read or written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not TOML, or has a key that nobody knows.
    #[error("the configuration cannot be read: {0}")]
    Malformed(String),
    /// What it says cannot be.
    #[error("{0}")]
    Wrong(String),
}

/// The file's content.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Site {
    /// The file's format.
    pub format: u32,
    /// Counts the changes.
    pub version: u64,
    /// The Matrix server's name.
    pub server_name: String,
    /// The console PIN's hash, a PHC string.
    pub pin: Option<String>,
    /// The network.
    #[serde(default)]
    pub network: Network,
    /// The clock.
    #[serde(default)]
    pub time: Time,
    /// Where updates are looked for; without it nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updates: Option<Updates>,
    /// What is not known here.
    #[serde(skip)]
    later: Later,
    /// The highest version that any file has, where this is not the newest one.
    #[serde(skip)]
    highest: u64,
}

/// The part that is changed from a distance: neither the name, which stays for ever, nor the console's PIN.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Editable {
    /// The version that it was made from.
    pub version: u64,
    /// The network.
    #[serde(default)]
    pub network: Network,
    /// The clock.
    #[serde(default)]
    pub time: Time,
    /// Where updates are looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updates: Option<Updates>,
}

/// How the box is connected.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Where addresses come from.
    #[serde(default)]
    pub mode: Mode,
    /// The interface; without it the first one that has a cable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    /// Addresses with the length of their network: `10.1.2.3/24`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<Cidr>,
    /// Routers, one of each family.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routers: Vec<IpAddr>,
    /// The number of a tagged network, IEEE 802.1Q.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// Several interfaces as one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bond: Option<Bond>,
}

/// Where addresses come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// No network at all.
    #[default]
    None,
    /// DHCP for IPv4, router advertisements for IPv6.
    Dhcp,
    /// As the file says.
    Static,
}

/// Several interfaces as one.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bond {
    /// How they share.
    pub mode: BondMode,
    /// Which.
    pub members: Vec<String>,
}

/// How interfaces share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BondMode {
    /// One works, the others wait.
    ActiveBackup,
    /// IEEE 802.1AX, with a switch that knows it.
    Lacp,
}

/// An address with the length of its network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    /// The address.
    pub address: IpAddr,
    /// Bits of the network.
    pub length: u8,
}

impl std::str::FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("{text:?} is not an address with its network, such as 10.1.2.3/24");
        let (address, length) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let length: u8 = length.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        if length == 0 || length > most || address.is_unspecified() || address.is_multicast() || address.is_loopback() {
            return Err(wrong());
        }
        Ok(Self { address, length })
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl serde::Serialize for Cidr {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Cidr {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Site {
    /// A first configuration.
    pub fn new(server_name: &str, network: Network) -> Self {
        Self {
            format: FORMAT,
            version: 1,
            server_name: server_name.to_owned(),
            pin: None,
            network,
            time: Time::default(),
            updates: None,
            later: Later::default(),
            highest: 0,
        }
    }

    /// The version that a change makes: one that no file has yet, whether this release can read it or not.
    pub fn next_version(&self) -> u64 {
        self.version.max(self.highest).saturating_add(1)
    }

    /// The part that is changed from a distance.
    pub fn editable(&self) -> Editable {
        Editable {
            version: self.version,
            network: self.network.clone(),
            time: self.time.clone(),
            updates: self.updates.clone(),
        }
    }

    /// With that part changed, and checked. Only what was made from this version: whoever has seen an older one would undo
    /// what somebody else changed since.
    pub fn changed(&self, wanted: Editable) -> Result<Self, SiteError> {
        if wanted.version != self.version {
            let sentence = format!(
                "the configuration is at version {} meanwhile, not {}: look at it again",
                self.version, wanted.version
            );
            return Err(SiteError::Wrong(sentence));
        }
        let changed = Self {
            version: self.next_version(),
            network: wanted.network,
            time: wanted.time,
            updates: wanted.updates,
            ..self.clone()
        };
        changed.check()?;
        Ok(changed)
    }

    /// What serde cannot tell.
    pub fn check(&self) -> Result<(), SiteError> {
        let wrong = |what: &str| Err(SiteError::Wrong(what.to_owned()));
        if self.format != FORMAT {
            return wrong("the configuration is of another format: a newer release wrote it");
        }
        if self.server_name.is_empty() || self.server_name.len() > 230 {
            return wrong("the server's name has 1 to 230 characters");
        }
        let network = &self.network;
        if network.addresses.len() > LIST_MAX || network.routers.len() > LIST_MAX {
            return wrong("a list has more than 16 entries");
        }
        self.time.check()?;
        if let Some(updates) = &self.updates {
            updates.check()?;
        }
        if network.mode == Mode::Static && network.addresses.is_empty() {
            return wrong("a static network needs at least one address");
        }
        if network.vlan.is_some_and(|vlan| !(1..=4094).contains(&vlan)) {
            return wrong("a VLAN has a number from 1 to 4094");
        }
        let bond = network.bond.iter().flat_map(|bond| &bond.members);
        if network
            .bond
            .as_ref()
            .is_some_and(|bond| !(1..=MEMBERS_MAX).contains(&bond.members.len()))
        {
            return wrong("a bond has 1 to 8 interfaces");
        }
        if !network.interface.iter().chain(bond).all(|name| is_interface(name)) {
            return wrong("an interface has a name of 1 to 15 letters, digits, dots and dashes");
        }
        Ok(())
    }
}

/// Linux: `IFNAMSIZ` is 16 with the NUL; the name is part of paths in /sys.
fn is_interface(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && !name.starts_with('.')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

#[cfg(test)]
#[path = "site_tests.rs"]
mod tests;
