//! Who somebody is: passwords (argon2id), registration tokens, login tokens, user-interactive authentication, user names.
//!
//! Promises:
//! - A password is kept only as an argon2id hash; in memory it is cleared when it has been used.
//! - How long a login takes tells nobody whether an account exists.
//! - Hashing runs on a bounded number of threads beside the ones that carry messages.
//! - A registration token never makes more accounts than it allows: using it and making the account are one commit.
//! - Sessions of user-interactive authentication are bounded in number and time, and are good for one operation of
//!   one caller.

pub mod localpart;
pub mod login_token;
pub mod password;
pub mod registration_token;
pub mod uia;

pub use login_token::LoginTokens;
pub use password::Passwords;
pub use uia::UiaSessions;

/// All tables, for the store.
pub const TABLES: &[lamchat_store::Table] = &[registration_token::REGISTRATION_TOKEN];
