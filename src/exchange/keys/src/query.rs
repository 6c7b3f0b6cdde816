//! `/keys/query`: what everyone may see of a user's devices and cross-signing keys, spliced from stored bytes.
//!
//! What was spliced is kept in a bounded cache. An entry is right for the position of the user's newest change in
//! `device_list`, so everything that is shown here must be marked there when it changes.

mod entry;

use crate::device_list;
use crate::signed::Signatures;
use crate::{cross_signing, signatures};
use cross_signing::Kind;
use entry::Entry;
use lamchat_base::{Position, UserNum};
use lamchat_store::{Read, ReadError};
use ruma::{ServerName, UserId};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes of rendered keys that are kept in memory.
const CACHE_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// How many users that is likely to be.
const CACHE_USERS_LIKELY: usize = 2_000;
/// Most users of one query.
pub const USERS_MAX: usize = 10_000;

/// What is asked: user ids, each with device ids or, empty, all devices.
pub type Asked<'q> = BTreeMap<Cow<'q, str>, Vec<Cow<'q, str>>>;

/// Why a query was not answered.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// Not a user id.
    #[error("{0} is not a user id")]
    UserId(String),
    /// More than [`USERS_MAX`] users.
    #[error("a query may ask for at most 10000 users")]
    TooMany,
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Answers queries. One for the whole exchange; empty after a start.
pub struct QueryCache {
    users: quick_cache::sync::Cache<String, Arc<Entry>, EntryBytes>,
}

#[derive(Clone)]
struct EntryBytes;

impl quick_cache::Weighter<String, Arc<Entry>> for EntryBytes {
    fn weight(&self, user_id: &String, entry: &Arc<Entry>) -> u64 {
        let cross = entry.master.as_ref().map_or(0, String::len) + entry.self_signing.as_ref().map_or(0, String::len);
        (user_id.len() + entry.devices.len() + entry.places.len() * 64 + cross + 200) as u64
    }
}

impl Default for QueryCache {
    fn default() -> Self {
        Self::new()
    }
}

impl QueryCache {
    /// An empty cache.
    pub fn new() -> Self {
        Self {
            users: quick_cache::sync::Cache::with_weighter(CACHE_USERS_LIKELY, CACHE_BYTES_MAX, EntryBytes),
        }
    }

    /// The answer to `/keys/query` by `asker`, as JSON: `device_keys`, `master_keys`, `self_signing_keys`,
    /// `user_signing_keys` (only `asker`'s own) and `failures` (servers other than `server_name`: there is no
    /// federation). Unknown users and devices are left out.
    pub fn query(
        &self,
        read: &dyn Read,
        server_name: &ServerName,
        asker: UserNum,
        asked: &Asked<'_>,
    ) -> Result<String, QueryError> {
        if asked.len() > USERS_MAX {
            return Err(QueryError::TooMany);
        }
        let newest = device_list::newest(read)?;
        let verifies_others = signatures::any_by(read, asker)?;
        let mut answer = Answer::default();
        for (user_id, devices) in asked {
            let Some(entry) = self.entry(read, server_name, newest, user_id, &mut answer.failures)? else {
                continue;
            };
            answer.devices.begin(user_id);
            entry.write_devices(devices, &mut answer.devices.json);
            if let Some(master) = &entry.master {
                answer.master.begin(user_id);
                let seen_by_asker = if verifies_others {
                    signatures::by(read, asker, entry.user)?
                } else {
                    None
                };
                match seen_by_asker {
                    None => answer.master.json.push_str(master),
                    Some(extra) => answer.master.json.push_str(&master_with(read, entry.user, &extra)?),
                }
            }
            if let Some(self_signing) = &entry.self_signing {
                answer.self_signing.begin(user_id);
                answer.self_signing.json.push_str(self_signing);
            }
            // "Information on the user-signing key of the user making the request, if they queried their own device
            // information."
            if entry.user == asker
                && let Some(key) = cross_signing::load(read, asker, Kind::UserSigning)?
            {
                answer.user_signing.begin(user_id);
                answer.user_signing.json.push_str(&key.json());
            }
        }
        Ok(answer.finish())
    }

    fn entry(
        &self,
        read: &dyn Read,
        server_name: &ServerName,
        newest: Position,
        user_id: &str,
        failures: &mut BTreeSet<String>,
    ) -> Result<Option<Arc<Entry>>, QueryError> {
        if let Some(entry) = self.users.get(user_id) {
            if entry.checked_at.load(Ordering::Relaxed) == newest.0 {
                return Ok(Some(entry));
            }
            if device_list::newest_of(read, entry.user)? == entry.changed_at {
                entry.checked_at.store(newest.0, Ordering::Relaxed);
                return Ok(Some(entry));
            }
        }
        let parsed =
            <&UserId>::try_from(user_id).map_err(|_| QueryError::UserId(user_id.chars().take(255).collect()))?;
        if parsed.server_name() != server_name {
            failures.insert(parsed.server_name().as_str().to_owned());
            return Ok(None);
        }
        let Some(user) = lamchat_accounts::user::num(read, parsed)? else {
            return Ok(None);
        };
        let entry = Arc::new(Entry::render(read, user, newest)?);
        self.users.insert(user_id.to_owned(), Arc::clone(&entry));
        Ok(Some(entry))
    }
}

/// The master key of `user` with the signatures that only the asker sees.
fn master_with(read: &dyn Read, user: UserNum, extra: &signatures::UserSignature) -> Result<String, ReadError> {
    let Some(mut key) = cross_signing::load(read, user, Kind::Master)? else {
        return Ok("{}".to_owned());
    };
    // A signature of a master key that was replaced means nothing any more.
    if key.public == extra.master {
        key.signatures
            .entry(extra.signer_id.clone())
            .or_default()
            .insert(extra.key_id.clone(), extra.signature.clone());
    }
    Ok(key.json())
}

/// Appends an object from its signed part (`{…}`), its signatures (`{…}`) and, for devices, the name.
pub(crate) fn splice(json: &mut String, canonical: &str, signatures: &str, name: Option<&str>) {
    let open = canonical.strip_suffix('}').unwrap_or(canonical);
    json.push_str(open);
    if open.len() > 1 {
        json.push(',');
    }
    json.push_str(r#""signatures":"#);
    json.push_str(signatures);
    if let Some(name) = name {
        json.push_str(r#","unsigned":{"device_display_name":"#);
        json.push_str(&quoted(name));
        json.push('}');
    }
    json.push('}');
}

/// `text` as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Signatures as JSON.
pub(crate) fn signatures_json(signatures: &Signatures) -> String {
    let users = signatures.iter().map(|(user, keys)| {
        let keys = keys
            .iter()
            .map(|(key, signature)| (key.clone(), serde_json::Value::from(signature.as_str())));
        (user.clone(), serde_json::Value::Object(keys.collect()))
    });
    serde_json::Value::Object(users.collect()).to_string()
}

/// The maps of the answer, in the making.
#[derive(Default)]
struct Answer {
    devices: Map,
    failures: BTreeSet<String>,
    master: Map,
    self_signing: Map,
    user_signing: Map,
}

/// A JSON object in the making, without its braces.
#[derive(Default)]
struct Map {
    json: String,
}

impl Map {
    /// Begins the entry of a user; the value is appended by the caller.
    fn begin(&mut self, user_id: &str) {
        if !self.json.is_empty() {
            self.json.push(',');
        }
        self.json.push_str(&quoted(user_id));
        self.json.push(':');
    }
}

impl Answer {
    fn finish(self) -> String {
        let parts = [&self.devices, &self.master, &self.self_signing, &self.user_signing];
        let mut json = String::with_capacity(parts.iter().map(|part| part.json.len()).sum::<usize>() + 256);
        json.push_str(r#"{"device_keys":{"#);
        json.push_str(&self.devices.json);
        json.push_str(r#"},"failures":{"#);
        json.push_str(&failures_json(&self.failures));
        json.push_str(r#"},"master_keys":{"#);
        json.push_str(&self.master.json);
        json.push_str(r#"},"self_signing_keys":{"#);
        json.push_str(&self.self_signing.json);
        json.push_str(r#"},"user_signing_keys":{"#);
        json.push_str(&self.user_signing.json);
        json.push_str("}}");
        json
    }
}

/// `"server":{…}` for each server that cannot be asked.
pub fn failures_json(servers: &BTreeSet<String>) -> String {
    let each = servers.iter().map(|server| {
        format!(
            r#"{}:{{"errcode":"M_UNREACHABLE","error":"This server does not federate"}}"#,
            quoted(server)
        )
    });
    each.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
