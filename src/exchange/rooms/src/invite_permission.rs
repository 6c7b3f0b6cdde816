//! Whether a user takes invitations at all (Matrix 1.18, "Invite permission").

use lamchat_accounts::account_data::{self, Scope};
use lamchat_base::UserNum;
use lamchat_store::{Read, ReadError};

/// The account data with which a user says so.
const CONFIG: &str = "m.invite_permission_config";

/// The same before it was specified (MSC4380); clients still write it.
const UNSTABLE_CONFIG: &str = "org.matrix.msc4380.invite_permission_config";

/// Whether `user` refuses all invitations: `default_action` is `block`. Any other content blocks nothing.
pub fn blocks(read: &dyn Read, user: UserNum) -> Result<bool, ReadError> {
    #[derive(Default, serde::Deserialize)]
    struct Config {
        #[serde(default)]
        default_action: String,
        #[serde(default)]
        block_all: bool,
    }
    let config = |event_type: &str| -> Result<Config, ReadError> {
        let content = account_data::content(read, user, Scope::Global, event_type)?;
        let config = content.and_then(|content| serde_json::from_slice(&content).ok());
        Ok(config.unwrap_or_default())
    };
    Ok(config(CONFIG)?.default_action == "block" || config(UNSTABLE_CONFIG)?.block_all)
}
