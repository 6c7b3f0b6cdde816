//! Commands from a distance: `lamchat --server URL …`, with an administrator's credential and a server that is known.
//!
//! Which command may be far away: [`REACH`].

use super::Failure;
use super::reach::{REACH, Reach};
use super::socket::{self, Answer, Body, SILENCE_MAX};
use clap::ArgMatches;
use lamchat_http::client::{Address, Pin, Trust};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Longest file with a credential or an authority.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// How to reach a server that is not on this machine.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Distance {
    /// A server on another machine, such as https://chat.example.org:8449; also LAMCHAT_SERVER.
    #[arg(id = "url", long = "server", global = true, value_name = "URL")]
    pub url: Option<String>,
    /// The file with an administrator's credential, as `lamchat admin-credential create` made it; also
    /// LAMCHAT_CREDENTIAL.
    #[arg(long, global = true, value_name = "FILE")]
    pub credential: Option<PathBuf>,
    /// The fingerprint of that server's key, as its start and its console show it (sha256:…), instead of the
    /// credential file's; also LAMCHAT_PIN.
    #[arg(long, global = true, value_name = "FINGERPRINT", conflicts_with = "ca")]
    pub pin: Option<String>,
    /// A file with the authority (PEM) that vouches for that server's name; also LAMCHAT_CA.
    #[arg(long, global = true, value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

/// Why the commands that ask for a PIN cannot be far away from the key holder.
pub const PIN: &str = "this server asks for a PIN, which must not pass through the exchange: do it on the server's own console, or on its machine without --server";

/// Whether a command works with a server far away.
#[cfg(test)]
pub fn works_far_away(command: &str) -> bool {
    REACH.contains(&(command, Reach::Anywhere))
}

/// The words of the command that was typed; empty for none.
pub fn path(typed: &ArgMatches) -> String {
    let (mut words, mut at) = (Vec::new(), typed);
    while let Some((word, inner)) = at.subcommand() {
        words.push(word);
        at = inner;
    }
    words.join(" ")
}

impl Distance {
    /// Takes over what the environment says, as far as the command `path` has a use for it.
    ///
    /// # Errors
    /// A server far away was named for a command that cannot go there.
    pub fn settle(&mut self, path: &str) -> Result<(), Failure> {
        let path = if path.is_empty() { "serve" } else { path };
        let reach = REACH.iter().find(|(words, _)| *words == path).map(|(_, reach)| *reach);
        let typed = self.is_far();
        match reach {
            None => {
                return Err(Failure(format!(
                    "`lamchat {path}` has no place in the list of commands"
                )));
            }
            Some(Reach::Nobody) if typed => {
                let sentence = "it asks no server, it works on files of this machine. Leave --server out";
                return Err(Failure(format!(
                    "`lamchat {path}` does not work from a distance: {sentence}"
                )));
            }
            // What the environment says is for the commands that ask a server.
            Some(Reach::Nobody) => return Ok(()),
            Some(Reach::Anywhere | Reach::Here(_)) => self.take_environment(),
        }
        match reach {
            Some(Reach::Here(why)) if self.is_far() => Err(Failure(format!(
                "`lamchat {path}` does not work from a distance: {why}"
            ))),
            _ => Ok(()),
        }
    }

    fn take_environment(&mut self) {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let text = |name: &str| variable(name).map(|value| value.to_string_lossy().into_owned());
        self.url = self.url.take().or_else(|| text("LAMCHAT_SERVER"));
        self.credential = self
            .credential
            .take()
            .or_else(|| variable("LAMCHAT_CREDENTIAL").map(PathBuf::from));
        if self.pin.is_none() && self.ca.is_none() {
            self.pin = text("LAMCHAT_PIN");
            self.ca = variable("LAMCHAT_CA").map(PathBuf::from).filter(|_| self.pin.is_none());
        }
    }

    /// Whether the server is far away.
    pub fn is_far(&self) -> bool {
        self.url.is_some() || self.credential.is_some()
    }

    /// The way to the server far away; `None`: it is on this machine.
    pub fn way(&self) -> Result<Option<Way>, Failure> {
        if !self.is_far() {
            return Ok(None);
        }
        let file = self.credential.as_deref().ok_or(
            "which credential? Make one on the server with `lamchat admin-credential create NAME`, and name its file with --credential FILE",
        )?;
        let credential = Credential::read(file)?;
        let url = self.url.clone().or_else(|| credential.url.clone());
        let url = url.ok_or_else(|| format!("{}: it names no server: say which with --server URL", file.display()))?;
        let trust = match (&self.pin, &self.ca) {
            (Some(pin), _) => Some(Trust::Pins(vec![pin.parse()?])),
            (None, Some(ca)) => Some(Trust::Authority(read(ca)?.as_bytes().to_vec())),
            (None, None) if credential.pins.is_empty() => None,
            (None, None) => Some(Trust::Pins(credential.pins.clone())),
        };
        Ok(Some(Way {
            address: url.parse()?,
            trust,
            secret: credential.secret,
        }))
    }
}

/// The way to a server far away.
pub struct Way {
    address: Address,
    trust: Option<Trust>,
    secret: Zeroizing<String>,
}

impl Way {
    /// Sends a request.
    pub fn send(&self, method: &str, target: &str, body: Body<'_>) -> Result<Answer, Failure> {
        let stream = self.address.dial(self.trust.as_ref(), SILENCE_MAX)?;
        let answer = socket::request(stream, method, target, Some(&self.secret), body);
        let answer = answer.map_err(|error| format!("{}: {error}", self.address))?;
        Ok(answer)
    }
}

/// What stands in a credential's file.
struct Credential {
    secret: Zeroizing<String>,
    pins: Vec<Pin>,
    url: Option<String>,
}

impl Credential {
    fn read(path: &Path) -> Result<Self, Failure> {
        let mode = std::fs::metadata(path).map_err(|error| format!("{}: {error}", path.display()))?;
        if mode.permissions().mode() & 0o077 != 0 {
            return Err(format!("{}: others can read this credential: chmod 600 it", path.display()).into());
        }
        Self::parse(&read(path)?).map_err(|error| Failure(format!("{}: {}", path.display(), error.0)))
    }

    /// Lines: the secret, fingerprints (`sha256:…`), addresses (`https://…`, of which the first counts), remarks (`#`).
    fn parse(text: &str) -> Result<Self, Failure> {
        let (mut secret, mut pins, mut url) = (None, Vec::new(), None);
        let lines = text.lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if line.starts_with("sha256:") {
                pins.push(line.parse::<Pin>()?);
            } else if line.contains("://") {
                url = url.or_else(|| Some(line.to_owned()));
            } else if secret.replace(Zeroizing::new(line.to_owned())).is_some() {
                return Err("there are two credentials in it".into());
            }
        }
        let secret = secret.filter(|secret: &Zeroizing<String>| secret.bytes().all(|byte| byte.is_ascii_graphic()));
        Ok(Self {
            secret: secret.ok_or("there is no credential in it")?,
            pins,
            url,
        })
    }
}

fn read(path: &Path) -> Result<Zeroizing<String>, Failure> {
    use std::io::Read;
    let named = |error: std::io::Error| Failure(format!("{}: {error}", path.display()));
    let file = std::fs::File::open(path).map_err(named)?;
    let mut text = Zeroizing::new(String::new());
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(named)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::{Credential, Distance, REACH, Reach};
    use crate::cli::Cli;
    use clap::CommandFactory;
    use std::collections::BTreeSet;

    fn walk(command: &clap::Command, words: &str, found: &mut BTreeSet<String>) {
        let below: Vec<_> = command
            .get_subcommands()
            .filter(|below| below.get_name() != "help")
            .collect();
        if below.is_empty() {
            found.insert(words.to_owned());
        }
        for below in below {
            walk(below, format!("{words} {}", below.get_name()).trim_start(), found);
        }
    }

    #[test]
    fn every_command_has_its_place() {
        let mut found = BTreeSet::new();
        walk(&Cli::command(), "", &mut found);
        let listed: BTreeSet<String> = REACH.iter().map(|(words, _)| (*words).to_owned()).collect();
        assert_eq!(found, listed);
        assert_eq!(listed.len(), REACH.len(), "each once");
    }

    #[test]
    fn only_what_may_goes_far() {
        for (words, reach) in REACH {
            let mut distance = Distance {
                url: Some("https://a".to_owned()),
                ..Distance::default()
            };
            assert_eq!(distance.settle(words).is_ok(), *reach == Reach::Anywhere, "{words}");
        }
        assert!(Distance::default().settle("serve").is_ok());
        assert!(Distance::default().settle("nonsense").is_err());
    }

    #[test]
    fn credentials_are_read_from_their_files() {
        let pin = format!("sha256:{}", "ab".repeat(32));
        let text = format!("# remark\n lca.a.b\n\nhttps://a:1\n{pin}\n{pin}\nhttps://b:2\n");
        let read = Credential::parse(&text).unwrap();
        assert_eq!((read.secret.as_str(), read.pins.len()), ("lca.a.b", 2));
        assert_eq!(read.url.as_deref(), Some("https://a:1"));
        for wrong in ["", "# a\n", "a\nb\n", "a b\n", "a\nsha256:00\n", "a\u{e9}\n"] {
            assert!(Credential::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
