//! What every floor shares, and nothing else: time, entropy, secrets, short ids, limits.
//!
//! Pure: no I/O, no clock and no randomness of its own; both come in as trait objects.

pub mod clock;
pub mod entropy;
pub mod ids;
pub mod limits;
pub mod secret;

pub use clock::{Clock, ManualClock};
pub use entropy::Entropy;
pub use ids::{DeviceNum, Position, RoomNum, UserNum};
pub use secret::{Locked, ROOM_BYTES, Secret, SecretBytes, SecretRooms, clear_stack, keep_secrets_in};
