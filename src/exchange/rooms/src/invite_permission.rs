//! Whether a user takes invitations at all (Matrix 1.18, "Invite permission").

use lamchat_accounts::account_data::{self, Scope};
use lamchat_base::UserNum;
use lamchat_store::{Read, ReadError};

/// The account data with which a user says so.
const CONFIG: &str = "m.invite_permission_config";

/// Whether `user` refuses all invitations: `default_action` is `block`. Any other content blocks nothing.
pub fn blocks(read: &dyn Read, user: UserNum) -> Result<bool, ReadError> {
    #[derive(serde::Deserialize)]
    struct Config {
        default_action: String,
    }
    let content = account_data::content(read, user, Scope::Global, CONFIG)?;
    let config = content.and_then(|content| serde_json::from_slice::<Config>(&content).ok());
    Ok(config.is_some_and(|config| config.default_action == "block"))
}
