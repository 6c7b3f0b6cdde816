//! The clock's part of the configuration.

use super::{LIST_MAX, SiteError};
use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

/// Where the keys of NTS are agreed on: RFC 8915, section 7.1.
pub const NTS_KE_PORT: u16 = 4460;
/// Longest name of a server: RFC 1035, section 2.3.4.
const NAME_BYTES_MAX: usize = 253;
/// Longest list of authorities, PEM.
const AUTHORITIES_BYTES_MAX: usize = 32 << 10;

/// The clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Time {
    /// Time servers: `ADDRESS` is asked by NTP, `NAME@ADDRESS` by NTS. None: the clock is set by hand.
    #[serde(default)]
    pub servers: Vec<TimeServer>,
    /// Who vouches for the names of the servers that are asked by NTS: certificates, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<String>,
}

/// A time server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimeServer {
    /// Anybody at this address: RFC 5905.
    Ntp(IpAddr),
    /// Who can show a certificate for the name: RFC 8915.
    Nts {
        /// The name in the certificate. Nobody is asked where it leads to.
        name: String,
        /// Where the keys are agreed on.
        address: SocketAddr,
    },
}

impl TimeServer {
    /// Where it is.
    pub fn address(&self) -> IpAddr {
        match self {
            Self::Ntp(address) => *address,
            Self::Nts { address, .. } => address.ip(),
        }
    }

    /// Whether it is asked by NTS.
    pub fn is_secured(&self) -> bool {
        matches!(self, Self::Nts { .. })
    }
}

impl Time {
    pub(super) fn check(&self) -> Result<(), SiteError> {
        let wrong = |what: &str| Err(SiteError::Wrong(what.to_owned()));
        if self.servers.len() > LIST_MAX {
            return wrong("there are more than 16 time servers");
        }
        let has_nts = self.servers.iter().any(TimeServer::is_secured);
        match &self.authorities {
            None if has_nts => wrong("time by NTS needs `authorities`: whoever vouches for the server's name"),
            Some(pem) if pem.len() > AUTHORITIES_BYTES_MAX => wrong("the time servers' authorities are too long"),
            Some(pem) if !pem.contains("-----BEGIN CERTIFICATE-----") => {
                wrong("the time servers' authorities are no certificates in PEM form")
            }
            _ => Ok(()),
        }
    }
}

impl FromStr for TimeServer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no time server: write ADDRESS, or NAME@ADDRESS for one with NTS");
        let Some((name, address)) = text.split_once('@') else {
            return text.parse().map(Self::Ntp).map_err(|_| wrong());
        };
        let is_name = (1..=NAME_BYTES_MAX).contains(&name.len())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
        let address = match address.parse::<IpAddr>() {
            Ok(address) => SocketAddr::new(address, NTS_KE_PORT),
            Err(_) => address.parse().map_err(|_| wrong())?,
        };
        if !is_name || address.port() == 0 {
            return Err(wrong());
        }
        Ok(Self::Nts {
            name: name.to_ascii_lowercase(),
            address,
        })
    }
}

impl Display for TimeServer {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ntp(address) => write!(f, "{address}"),
            Self::Nts { name, address } if address.port() == NTS_KE_PORT => write!(f, "{name}@{}", address.ip()),
            Self::Nts { name, address } => write!(f, "{name}@{address}"),
        }
    }
}

impl serde::Serialize for TimeServer {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for TimeServer {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
