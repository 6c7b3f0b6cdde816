//! The configuration file: typed sections, load, check, reload, document.
//!
//! Every key is declared once, with its default and one sentence (`section!`), and everything else follows from that
//! declaration: parsing, the error for an unknown key, what a reload changes, and `lamchat config example`.
//! So the documentation cannot drift from the program.
//!
//! This crate reads one file and nothing else: no environment variables, no certificates, no sockets.

#[macro_use]
mod section;
mod change;
mod check;
mod choice;
mod contact;
mod error;
mod load;
mod rate;
mod reader;
mod sections;
mod tpm;
mod value;

pub use change::Change;
pub use choice::{LogFormat, PasswordCost, RegistrationMode, Resource};
pub use contact::{EmailAddress, PageUrl};
pub use error::{ConfigError, Problem};
pub use load::{example, load, parse};
pub use rate::{Rate, RateUnit};
pub use sections::{
    Admin, Attestation, Config, Federation, Http, Limits, Listener, Log, Media, Notices, Outbound, Presence,
    Registration, Rooms, Seal, Support, Updates,
};
pub use tpm::TpmAddress;
pub use value::{BaseUrl, SecretText};
