//! `lamchat timekeeper`: asks time servers for process 1, in a process of its own that has a network and nothing else: a
//! user without files, a list of system calls, no name to open. It never sets the clock; it says by how much it is off.
//!
//! A line of JSON comes in for each round, a line goes out. It keeps the keys of servers with NTS from round to round.

mod sandbox;

use crate::cli::Failure;
use lamchat_appliance::site::{Time, TimeServer};
use lamchat_base::Entropy;
use lamchat_host::OsEntropy;
use lamchat_machine::time;
use lamchat_nts::{Authorities, Server, Session, agree};
use nix::unistd::{Gid, Uid, geteuid, setgid, setgroups, setuid};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;

/// Longest question: the servers and their authorities.
const QUESTION_BYTES_MAX: u64 = 128 << 10;
/// Longest answer, for whoever reads it.
pub const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Longest reason why a server's time is not taken, in characters.
const REASON_CHARS_MAX: usize = 300;

/// Who it becomes.
#[derive(Debug, Clone, clap::Args)]
pub struct Post {
    /// The user and group to become, if this is root.
    #[arg(long, value_name = "NUMBER")]
    user: Option<u32>,
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Told {
    /// The server, as it is configured.
    pub server: TimeServer,
    /// By how many milliseconds its time is later than the clock.
    pub ahead_ms: Option<i64>,
    /// Why its time is not taken.
    pub problem: Option<String>,
}

/// Answers questions until there are no more.
pub fn run(post: &Post) -> Result<(), Failure> {
    if let Some(user) = post.user
        && geteuid().is_root()
    {
        setgroups(&[])?;
        setgid(Gid::from_raw(user))?;
        setuid(Uid::from_raw(user))?;
    }
    sandbox::close()?;
    let mut keeper = Keeper::default();
    let mut input = BufReader::new(std::io::stdin());
    loop {
        let mut line = Vec::new();
        if input.by_ref().take(QUESTION_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let wanted: Time = serde_json::from_slice(&line)?;
        let mut answer = serde_json::to_vec(&keeper.ask_all(&wanted))?;
        answer.push(b'\n');
        let mut output = std::io::stdout().lock();
        output.write_all(&answer)?;
        output.flush()?;
    }
}

/// The keys that were agreed on, by server.
#[derive(Default)]
struct Keeper {
    sessions: HashMap<(String, SocketAddr), Session>,
}

impl Keeper {
    fn ask_all(&mut self, wanted: &Time) -> Vec<Told> {
        let is_wanted = |name: &String, address: &SocketAddr| {
            let mut servers = wanted.servers.iter();
            servers.any(|server| matches!(server, TimeServer::Nts { name: n, address: a } if n == name && a == address))
        };
        self.sessions.retain(|(name, address), _| is_wanted(name, address));
        let authorities = wanted.authorities.as_ref();
        let authorities = authorities.and_then(|pem| Authorities::from_pem(pem.as_bytes()));
        let servers = wanted.servers.iter();
        servers
            .map(|server| {
                let told = match server {
                    TimeServer::Ntp(address) => plain(SocketAddr::new(*address, time::PORT)),
                    TimeServer::Nts { name, address } => self.secured(name, *address, authorities.as_ref()),
                };
                let ahead = told.map(|told| ahead(told, time::now_ms()));
                Told {
                    server: server.clone(),
                    ahead_ms: ahead.as_ref().ok().copied(),
                    problem: ahead.err().map(|text| text.chars().take(REASON_CHARS_MAX).collect()),
                }
            })
            .collect()
    }

    fn secured(&mut self, name: &str, address: SocketAddr, authorities: Option<&Authorities>) -> Result<u64, String> {
        let authorities = authorities.ok_or("its authorities are no certificates")?;
        let place = (name.to_owned(), address);
        if let Some(session) = self.sessions.get_mut(&place) {
            match session.ask(&OsEntropy) {
                Err(error) if error.needs_keys() => drop(self.sessions.remove(&place)),
                other => return other.map_err(|error| error.to_string()),
            }
        }
        let server = Server {
            name: name.to_owned(),
            address,
        };
        let mut session = agree(&server, authorities).map_err(|error| error.to_string())?;
        let told = session.ask(&OsEntropy).map_err(|error| error.to_string())?;
        self.sessions.insert(place, session);
        Ok(told)
    }
}

fn plain(server: SocketAddr) -> Result<u64, String> {
    let mut nonce = [0; 8];
    OsEntropy.fill(&mut nonce);
    time::ask(server, u64::from_ne_bytes(nonce)).map_err(|error| error.to_string())
}

fn ahead(told: u64, now: u64) -> i64 {
    let apart = i64::try_from(told.abs_diff(now)).unwrap_or(i64::MAX);
    if told >= now { apart } else { apart.saturating_neg() }
}

#[cfg(test)]
mod tests {
    use super::ahead;

    #[test]
    fn the_clock_may_be_behind_or_ahead() {
        assert_eq!((ahead(7, 5), ahead(5, 7), ahead(5, 5)), (2, -2, 0));
        assert_eq!(ahead(u64::MAX, 0), i64::MAX);
    }
}
