//! Who may reach whom. Invites, to-device messages, key claims, profiles, presence and calls ask here
//! before anything gets to a person; they never decide it themselves. And whether other servers may reach anybody at all.

mod federation;
mod reach;

pub use federation::{Federation, FederationGate, UnverifiedError, awaits_recovery_key};
pub use reach::{Reach, may_reach};
