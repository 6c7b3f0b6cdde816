//! The client-server API: parse with ruma's request type, call once, answer.
//!
//! Nothing here decides anything about rooms, keys or accounts, and nothing here touches a table: a handler
//! translates between Matrix's JSON and the functions of the floors below.
//! Start reading at [`routes`]: it lists every endpoint with the authentication that it needs.

pub mod app;
pub mod caller;
pub mod discovery;
pub mod error;
pub mod limit;
pub mod routes;

#[cfg(test)]
pub(crate) mod testing;

pub use app::{App, RegistrationMode, Settings};
pub use caller::Session;
pub use error::ApiError;
pub use routes::{Routes, routes};
