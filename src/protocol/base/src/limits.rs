//! Named limits that more than one crate must agree on. Limits of one crate live in that crate.

/// Largest event in canonical JSON (Matrix 1.16, "Size limits").
pub const EVENT_BYTES_MAX: usize = 65_536;
/// Largest user id, room id, alias, event type or state key (Matrix 1.16, "Size limits").
pub const ID_BYTES_MAX: usize = 255;
/// Largest JSON request body that is not media.
pub const JSON_BODY_BYTES_MAX: usize = 1 << 20;
/// Deepest nesting of JSON that is accepted from clients and peers.
pub const JSON_DEPTH_MAX: usize = 100;
/// Largest transaction id of a client.
pub const TRANSACTION_ID_BYTES_MAX: usize = 255;
