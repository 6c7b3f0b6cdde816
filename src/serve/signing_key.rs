//! The server's signing key: made on first start and kept as a sealed secret.

use super::{StartError, audit, refused};
use lamchat_base::{Entropy, SecretBytes};
use lamchat_rules::SigningKey;
use lamchat_seal::DataKeys;
use lamchat_store::Store;

const NAME: &str = "signing-key";
/// Random characters in the key's version: another key of the same server must not have the same.
const VERSION_CHARS: usize = 6;
const SEED_BYTES: usize = 32;

/// The kept key, or a new one. The secret is the 32 bytes of the seed, then the version as text.
pub fn open(keys: &DataKeys, store: &Store, entropy: &dyn Entropy, now_ms: u64) -> Result<SigningKey, StartError> {
    if let Some(kept) = keys.unseal_secret(NAME).map_err(refused)? {
        return parse(&kept);
    }
    let mut secret = vec![0u8; SEED_BYTES];
    entropy.fill(&mut secret);
    secret.extend_from_slice(entropy.alphanumeric(VERSION_CHARS).as_bytes());
    let secret = SecretBytes::new(secret);
    let key = parse(&secret)?;
    audit::note_key(store, now_ms, NAME, &format!("{} {}", key.id(), key.public_base64()))?;
    keys.seal_secret(NAME, &secret).map_err(refused)?;
    Ok(key)
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
