//! Client API.
