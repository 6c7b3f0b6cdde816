//! Drives a real `lamchat` process from outside: over TLS, on its command line, with signals.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod anchor;
mod attest;
mod audit;
mod authentication;
mod authority;
mod box_clock;
mod commands;
mod configuration;
mod confined;
mod distance;
mod federation;
mod harness;
mod holder;
mod hostile;
mod image_policy;
mod lifecycle;
mod log;
mod looked_after;
#[path = "../emulated/maker.rs"]
mod maker;
mod moderation;
mod next_start;
mod notices;
mod publisher;
mod pull;
mod quote;
mod renewal;
mod seal;
mod start;
mod static_binary;
mod stick;
mod timekeeper;
mod tpm;
mod tpm_faults;
mod update;
