//! Where updates are looked for.

use super::SiteError;
use std::net::IpAddr;

/// Longest address of a bundle.
const URL_BYTES_MAX: usize = 1024;
/// Longest list of authorities, PEM.
const AUTHORITIES_BYTES_MAX: usize = 32 << 10;
/// Least and most hours between two looks.
const HOURS: std::ops::RangeInclusive<u32> = 1..=24 * 30;

/// Where updates are looked for. What is found is offered, and installed at an operator's word.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Updates {
    /// The address of the newest bundle: `https://updates.example.org/lamchat.bundle`.
    pub url: String,
    /// Where that server is: the box asks nobody for names, and lets nothing out but to here.
    pub address: IpAddr,
    /// The SHA-256 of the server's public key, `sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<String>,
    /// Or who vouches for its name: certificates, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorities: Option<String>,
    /// Hours between two looks.
    #[serde(default = "a_day")]
    pub hours: u32,
    /// Whether what is found is installed, and the machine restarted, without an operator's word.
    #[serde(default)]
    pub automatic: bool,
}

fn a_day() -> u32 {
    24
}

impl Updates {
    /// The port of the server.
    pub fn port(&self) -> Option<u16> {
        let authority = self.url.strip_prefix("https://")?.split('/').next()?;
        let behind = authority.rsplit_once(']').map_or(authority, |(_, behind)| behind);
        match behind.rsplit_once(':') {
            None => Some(443),
            Some((_, port)) => port.parse().ok().filter(|port| *port != 0),
        }
    }

    pub(super) fn check(&self) -> Result<(), SiteError> {
        let wrong = |what: &str| Err(SiteError::Wrong(what.to_owned()));
        let is_plain = self
            .url
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"\"\\@".contains(&byte));
        if self.url.len() > URL_BYTES_MAX || !is_plain || self.port().is_none() {
            return wrong("updates come from an address such as https://updates.example.org/lamchat.bundle");
        }
        if self.pin.is_some() == self.authorities.is_some() {
            return wrong("the updates' server is known by a `pin` or by `authorities`: one of them");
        }
        let is_pin = |pin: &String| {
            let digits = pin.strip_prefix("sha256:").unwrap_or_default();
            digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
        };
        if !self.pin.as_ref().is_none_or(is_pin) {
            return wrong("a pin is sha256: and 64 hexadecimal digits");
        }
        if self.authorities.as_ref().is_some_and(|pem| {
            pem.len() > AUTHORITIES_BYTES_MAX || !pem.contains("-----BEGIN CERTIFICATE-----") || pem.contains("'''")
        }) {
            return wrong("the updates' authorities are no certificates in PEM form");
        }
        if !HOURS.contains(&self.hours) {
            return wrong("updates are looked for every 1 to 720 hours");
        }
        Ok(())
    }
}
