//! What differs between the running configuration and a newly read one.

/// One key whose value differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key with its section, such as `limits.enabled`.
    pub key: String,
    /// Whether a reload is enough; otherwise the new value is used after the next start.
    pub live: bool,
}
