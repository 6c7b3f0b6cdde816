//! Push rules.
