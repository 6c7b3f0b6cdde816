//! The server's signing key: made on first start, kept as a sealed secret, and replaced while the server runs. Public
//! keys of before are kept with the time at which they signed for the last time, for `old_verify_keys`.

use super::{StartError, audit, refused};
use lamchat_base::{Clock, Entropy, SecretBytes};
use lamchat_rooms::Rooms;
use lamchat_rules::{OldKey, SigningKey, canonical, server_keys};
use lamchat_seal::DataKeys;
use lamchat_store::Store;
use parking_lot::Mutex;
use std::sync::Arc;

const NAME: &str = "signing-key";
/// The sealed secret with the keys of before: identifier, public key and time, a line each.
const OLD_NAME: &str = "old-signing-keys";
/// Random characters in the key's version: another key of the same server must not have the same.
const VERSION_CHARS: usize = 6;
const SEED_BYTES: usize = 32;
/// How long others may rely on what they were told: "Servers MUST use the lesser of this field and 7 days into the future".
const VALID_MS: u64 = 24 * 3600 * 1000;
/// How long an answer is given again, instead of being signed anew.
const TOLD_AGAIN_MS: u64 = 3600 * 1000;
/// Most keys of before. Peers are told all of them each time they ask.
const OLD_MAX: usize = 256;

/// The kept key, or a new one. The secret is the 32 bytes of the seed, then the version as text.
pub fn open(keys: &DataKeys, store: &Store, entropy: &dyn Entropy, now_ms: u64) -> Result<SigningKey, StartError> {
    if let Some(kept) = keys.unseal_secret(NAME).map_err(refused)? {
        return parse(&kept);
    }
    let secret = fresh(entropy);
    let key = parse(&secret)?;
    audit::note_key(store, now_ms, NAME, &format!("{} {}", key.id(), key.public_base64()))?;
    keys.seal_secret(NAME, &secret).map_err(refused)?;
    Ok(key)
}

/// What changes the key while the server runs.
pub struct Rotation {
    pub keys: Arc<DataKeys>,
    pub entropy: Arc<dyn Entropy>,
    pub clock: Arc<dyn Clock>,
    pub rooms: Rooms,
    /// Whose keys they are.
    pub server_name: String,
    /// One change at a time.
    pub changing: Mutex<()>,
    /// What others were told last.
    pub told: Mutex<Option<Told>>,
}

/// An answer to other servers.
pub struct Told {
    key: String,
    at_ms: u64,
    body: String,
}

impl lamchat_api_client::server_keys::ServerKeys for Rotation {
    fn published(&self) -> Result<String, String> {
        let (key, now_ms) = (self.rooms.signing_key(), self.clock.now_ms());
        let mut told = self.told.lock();
        if let Some(told) = &*told
            && told.key == key.id()
            && (told.at_ms..told.at_ms.saturating_add(TOLD_AGAIN_MS)).contains(&now_ms)
        {
            return Ok(told.body.clone());
        }
        let old = lamchat_api_admin::SigningKeys::old(self)?;
        let body = canonical::to_string(&server_keys::published(
            &self.server_name,
            &key,
            &old,
            now_ms.saturating_add(VALID_MS),
        ));
        *told = Some(Told {
            key: key.id().to_owned(),
            at_ms: now_ms,
            body: body.clone(),
        });
        Ok(body)
    }
}

impl lamchat_api_admin::SigningKeys for Rotation {
    fn current(&self) -> (String, String) {
        let key = self.rooms.signing_key();
        (key.id().to_owned(), key.public_base64())
    }

    fn old(&self) -> Result<Vec<OldKey>, String> {
        let current = self.rooms.signing_key();
        let mut old = read_old(&self.keys)?;
        // The power went between the two writes of a change that was not finished.
        old.retain(|old| old.id != current.id());
        Ok(old)
    }

    fn rotate(&self) -> Result<(), String> {
        let changing = self.changing.lock();
        let (before, mut old) = (self.rooms.signing_key(), self.old()?);
        if old.len() >= OLD_MAX {
            return Err(format!("there are {OLD_MAX} signing keys of before already"));
        }
        let secret = fresh(&*self.entropy);
        let key = parse(&secret).map_err(|error| error.to_string())?;
        if key.id() == before.id() || old.iter().any(|old| old.id == key.id()) {
            return Err("chance made an identifier that an earlier key has: try again".to_owned());
        }
        old.push(OldKey {
            id: before.id().to_owned(),
            public_base64: before.public_base64(),
            expired_ms: self.clock.now_ms(),
        });
        // In this order: a public key that is forgotten would make what it signed worthless to others.
        let lines: String = old
            .iter()
            .map(|old| format!("{} {} {}\n", old.id, old.public_base64, old.expired_ms))
            .collect();
        let kept = self.keys.seal_secret(OLD_NAME, &SecretBytes::new(lines.into_bytes()));
        kept.map_err(|error| error.to_string())?;
        self.keys
            .seal_secret(NAME, &secret)
            .map_err(|error| error.to_string())?;
        self.rooms.sign_with(key);
        drop(changing);
        Ok(())
    }
}

fn read_old(keys: &DataKeys) -> Result<Vec<OldKey>, String> {
    let Some(kept) = keys.unseal_secret(OLD_NAME).map_err(|error| error.to_string())? else {
        return Ok(Vec::new());
    };
    let malformed = || "the kept list of earlier signing keys is malformed: restore a backup".to_owned();
    let text = std::str::from_utf8(kept.expose()).map_err(|_| malformed())?;
    let parse = |line: &str| {
        let mut words = line.split(' ');
        let (id, public) = (words.next()?.to_owned(), words.next()?.to_owned());
        let expired_ms = words.next()?.parse().ok()?;
        words.next().is_none().then_some(OldKey {
            id,
            public_base64: public,
            expired_ms,
        })
    };
    text.lines().map(|line| parse(line).ok_or_else(malformed)).collect()
}

fn fresh(entropy: &dyn Entropy) -> SecretBytes {
    // At once as long as it gets: a vector that grows leaves what it had behind.
    let mut secret = Vec::with_capacity(SEED_BYTES + VERSION_CHARS);
    secret.resize(SEED_BYTES, 0);
    entropy.fill(&mut secret);
    secret.extend_from_slice(entropy.alphanumeric(VERSION_CHARS).as_bytes());
    SecretBytes::new(secret)
}

fn parse(secret: &SecretBytes) -> Result<SigningKey, StartError> {
    let malformed = || StartError::Refused("the sealed signing key is malformed: restore a backup".to_owned());
    let (seed, version) = secret
        .expose()
        .split_first_chunk::<SEED_BYTES>()
        .ok_or_else(malformed)?;
    let version = std::str::from_utf8(version).map_err(|_| malformed())?;
    SigningKey::from_seed(seed, version).map_err(|_| malformed())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
    use super::{OLD_NAME, Rotation, open};
    use lamchat_api_admin::SigningKeys;
    use lamchat_base::{Entropy, ManualClock};
    use lamchat_disk::RealDisk;
    use lamchat_host::OsEntropy;
    use lamchat_rooms::Rooms;
    use lamchat_seal::{DataKeys, Keyring, PassphraseCost, Unlock};
    use lamchat_store::Store;
    use std::path::Path;
    use std::sync::Arc;

    fn keys(dir: &Path) -> Arc<DataKeys> {
        let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
        let ring = dir.join("ring");
        let keyring = if Keyring::exists(&ring) {
            Keyring::open(&ring, &Unlock::File, entropy.clone()).unwrap()
        } else {
            Keyring::create(&ring, &Unlock::File, PassphraseCost::MINIMUM, entropy.clone()).unwrap()
        };
        Arc::new(DataKeys::new(
            RealDisk::shared(),
            dir,
            entropy,
            keyring.release().unwrap(),
        ))
    }

    fn rotation(dir: &Path, now_ms: u64) -> Rotation {
        let tables = crate::serve::tables();
        let store = Store::in_memory(&tables).unwrap();
        let (keys, entropy): (_, Arc<dyn Entropy>) = (keys(dir), Arc::new(OsEntropy));
        let clock = Arc::new(ManualClock::new(now_ms));
        let key = open(&keys, &store, &*entropy, now_ms).unwrap();
        let name = "example.org".try_into().unwrap();
        Rotation {
            rooms: Rooms::new(store, clock.clone(), entropy.clone(), name, key),
            keys,
            entropy,
            clock,
            server_name: "example.org".to_owned(),
            changing: parking_lot::Mutex::default(),
            told: parking_lot::Mutex::default(),
        }
    }

    #[test]
    fn keys_of_before_are_kept_with_their_last_day() {
        let folder = tempfile::tempdir().unwrap();
        let first = rotation(folder.path(), 1000);
        let mut ids = vec![first.current()];
        for _ in 0..3 {
            first.rotate().unwrap();
            assert!(!ids.contains(&first.current()));
            ids.push(first.current());
        }
        let old = first.old().unwrap();
        let again = rotation(folder.path(), 2000);
        assert_eq!(again.current(), ids[3]);
        assert_eq!(again.old().unwrap(), old);
        for (old, id) in old.iter().zip(&ids) {
            assert_eq!((&old.id, &old.public_base64, old.expired_ms), (&id.0, &id.1, 1000));
        }
    }

    #[test]
    fn a_change_that_the_power_cut_off_did_not_happen() {
        let folder = tempfile::tempdir().unwrap();
        let first = rotation(folder.path(), 1000);
        let before = first.current();
        // The list is there, the key is not.
        let line = format!("{} {} 1000\n", before.0, before.1);
        first
            .keys
            .seal_secret(OLD_NAME, &lamchat_base::SecretBytes::new(line.into_bytes()))
            .unwrap();
        let again = rotation(folder.path(), 2000);
        assert_eq!(again.current(), before);
        assert!(again.old().unwrap().is_empty());
        again.rotate().unwrap();
        assert_eq!(again.old().unwrap()[0].expired_ms, 2000);
    }
}
