//! The client-server API: parse with ruma's request type, call once, answer.
//!
//! Nothing here decides anything about rooms, keys or accounts, and nothing here touches a table: a handler
//! translates between Matrix's JSON and the functions of the floors below.
//! Start reading at [`routes`]: it lists every endpoint with the authentication that it needs.

pub mod account;
pub mod account_data;
pub mod admin;
pub mod alias;
pub mod app;
pub mod at_time;
pub mod backup;
pub mod caller;
pub mod capabilities;
mod carry_over;
pub mod context;
pub mod cross_signing;
pub mod delayed;
pub mod device;
pub mod directory;
pub mod discovery;
pub mod error;
pub mod event;
pub mod filter;
mod guest;
pub mod guest_expiry;
mod handler;
pub mod hierarchy;
pub mod initial_sync;
pub mod keys;
pub mod knock;
pub mod limit;
pub mod login;
mod look;
pub mod media;
mod media_error;
mod media_headers;
pub mod members;
pub mod membership;
pub mod message;
pub mod mutual_rooms;
pub mod notifications;
pub mod openid;
pub mod peeking;
pub mod presence;
pub mod profile;
pub mod push;
pub mod read_marker;
pub mod receipt;
pub mod redact;
pub mod register;
pub mod relations;
pub mod reporting;
pub mod room;
pub mod route;
pub mod routes;
pub mod search;
pub mod send;
pub mod server_keys;
pub mod session;
pub mod sliding;
pub mod state;
pub mod summary;
pub mod sync;
pub mod threads;
pub mod to_device;
pub mod typing;
pub mod uia;
mod uia_page;
pub mod user_directory;
pub mod wire;

#[cfg(test)]
pub(crate) mod testing;

pub use app::{App, RegistrationMode, Settings, Support};
pub use caller::Session;
pub use error::ApiError;
pub use route::Routes;
pub use routes::routes;
