//! Administration against a store in memory.
