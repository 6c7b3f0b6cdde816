//! The keyring.
