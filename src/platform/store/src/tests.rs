//! Tests of the store as a whole.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod behaviour;
mod faults;
mod kept;
mod migration;
mod model;
mod power_cut;
mod rekey;
mod runs;
mod stamp;

use crate::pressure::Limits;
use crate::{OpenError, Options, Store, Table};
use lamchat_base::Secret;
use lamchat_disk::simulation::SimulatedDisk;
use std::sync::Arc;

const ROWS: Table = Table::hashed(100, "test.rows");
const HEADS: Table = Table::new(101, "test.heads");
// Gathered as well: its keys have one length, and its values.
const LOG: Table = Table::gathered(300, "test.log");
const KEPT: Table = Table::kept(302, "test.kept", |value| value.len() / 2);

fn options() -> Options {
    Options {
        dir: "/data".into(),
        key: Secret::new([7; 64]),
        tables: vec![LOG, ROWS, HEADS, KEPT],
        progress: crate::Progress::default(),
    }
}

fn open(disk: &SimulatedDisk) -> Result<Store, OpenError> {
    Store::open_limited(Arc::new(disk.clone()), options(), Limits::EAGER)
}

/// A number from the environment, or `otherwise`.
fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}

/// The seed of this run, printed so that a failure can be repeated.
fn seed() -> u64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let seed = setting("LAMCHAT_SEED", u64::from(now.subsec_nanos()) ^ now.as_secs());
    println!("LAMCHAT_SEED={seed}");
    seed
}
