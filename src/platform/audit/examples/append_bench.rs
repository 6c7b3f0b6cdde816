//! What an entry costs inside a transaction: the closure's own time, and the time of a whole write with and without it.
//!
//! `cargo run --release -p lamchat-audit --example append_bench`
#![expect(clippy::unwrap_used, reason = "a measurement")]

use lamchat_audit::{Actor, Entry, TABLES, append};
use lamchat_base::Secret;
use lamchat_store::{Options, Store, Table, WriteTxn};
use std::time::{Duration, Instant};

const ACT: Table = Table::new(1000, "bench.act");
const ROUNDS: u64 = 2_000;

fn entry(number: u64) -> Entry {
    Entry::new(number, Actor::Socket { uid: 1000 }, "user.add")
        .subject("@somebody:example.org")
        .fact("admin", false)
        .fact("password", true)
}

/// Median time of a write, and mean time of what `change` says it spent.
fn run(
    store: &Store,
    change: impl Fn(&mut WriteTxn<'_>, u64) -> Duration + Copy + Send + 'static,
) -> (Duration, Duration) {
    let (mut whole, mut inside) = (Vec::new(), Duration::ZERO);
    for number in 0..ROUNDS {
        let began = Instant::now();
        inside += store
            .write_blocking(move |txn| Ok::<_, ()>(change(txn, number)))
            .unwrap();
        whole.push(began.elapsed());
    }
    whole.sort();
    (
        whole.get(whole.len() / 2).copied().unwrap_or_default(),
        inside / ROUNDS as u32,
    )
}

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(Options {
        dir: folder.path().to_owned(),
        key: Secret::new([7; 64]),
        tables: [TABLES, &[ACT]].concat(),
        progress: lamchat_store::Progress::default(),
    });
    let store = store.unwrap();
    // A log that is a hundred thousand entries long already.
    for batch in 0..100 {
        let filled = store.write_blocking(move |txn| {
            (0..1_000).try_for_each(|number| append(txn, &entry(batch * 1_000 + number)).map(drop))
        });
        filled.unwrap();
    }
    let act = |txn: &mut WriteTxn<'_>, number: u64| txn.put(ACT, &number.to_be_bytes(), vec![0; 100]);
    let (without, _) = run(&store, move |txn, number| {
        act(txn, number);
        Duration::ZERO
    });
    let (with, inside) = run(&store, move |txn, number| {
        act(txn, number);
        let began = Instant::now();
        append(txn, &entry(number)).unwrap();
        began.elapsed()
    });
    println!("write without an entry {without:?}, with one {with:?} (medians); append alone {inside:?} (mean)");
}
