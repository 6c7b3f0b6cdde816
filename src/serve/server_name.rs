//! Whom the data folder belongs to. A server's name is part of every id and signature in it, so it cannot change.

use super::{StartError, refused};
use lamchat_base::SecretBytes;
use lamchat_seal::DataKeys;
use ruma::ServerName;

/// Not secret; kept here because it is needed before the database, and a backup carries it.
const NAME: &str = "server-name";

/// Notes the name on first start; refuses another one afterwards.
pub fn check(keys: &DataKeys, name: &ServerName) -> Result<(), StartError> {
    match keys.unseal_secret(NAME).map_err(refused)? {
        Some(kept) if kept.expose() == name.as_bytes() => Ok(()),
        Some(kept) => {
            let kept = String::from_utf8_lossy(kept.expose()).into_owned();
            Err(StartError::Refused(format!(
                "this data folder belongs to the server {kept}, but server_name is {name}. A server's name cannot change: \
                 set server_name = \"{kept}\", or start {name} with another data_dir"
            )))
        }
        None => keys
            .seal_secret(NAME, &SecretBytes::new(name.as_bytes().to_vec()))
            .map_err(refused),
    }
}
