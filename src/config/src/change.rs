//! What differs between the running configuration and another one.

use crate::sections::Config;
use lamchat_base::SecretBytes;

/// One key whose value differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key with its section, such as `limits.enabled`.
    pub key: String,
    /// Whether a reload is enough; otherwise the new value is used after the next start.
    pub live: bool,
}

impl Config {
    /// Every key that has a value, with it: as in [`Config::canonical`], but secrets as they are. Not to be shown.
    pub fn values(&self) -> Vec<(String, SecretBytes)> {
        let mut values: Vec<(String, SecretBytes)> = Vec::new();
        for line in self.canonical().lines() {
            if let Some((key, value)) = line.split_once(" = ") {
                let secret = self.secrets().into_iter().find(|(name, _)| *name == key);
                let value = secret.map_or(value.as_bytes(), |(_, secret)| secret);
                values.push((key.to_owned(), SecretBytes::new(value.to_vec())));
            }
        }
        values
    }

    /// The keys whose values are left out of the canonical form.
    fn secrets(&self) -> Vec<(&'static str, &[u8])> {
        let secret = self.registration.shared_secret.iter();
        secret
            .map(|secret| ("registration.shared_secret", secret.expose()))
            .collect()
    }
}
