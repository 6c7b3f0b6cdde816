//! What the machine provides: time, entropy, locked memory, the service manager.
