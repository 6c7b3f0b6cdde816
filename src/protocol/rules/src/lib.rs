//! Matrix room rules.
