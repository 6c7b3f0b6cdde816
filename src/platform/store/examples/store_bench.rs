//! Measures the store: `store_bench FOLDER [tasks] [seconds] [millions of rows to preload]`.
//!
//! Each task commits three rows (1,400 + 30 + 16 bytes) again and again; then rows are read back.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a measurement that ends at the first error"
)]

use lamchat_base::Secret;
use lamchat_disk::simulation::Dice;
use lamchat_store::{Key, KeyRange, Options, Order, Read, ReadError, Store, Table, WriteTxn};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

const EVENT: Table = Table::new(80, "bench.event");
const BY_ID: Table = Table::new(81, "bench.event_by_id");
const ROOM: Table = Table::new(82, "bench.room");
const HEAD: Table = Table::new(83, "bench.head");

const ROOMS: u64 = 2000;

fn send(txn: &mut WriteTxn<'_>, random: u64) -> Result<u64, ReadError> {
    let position = txn.next_position();
    let room = (random % ROOMS) as u32;
    let id = Key::new().u64(random.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    txn.get(BY_ID, &id)?;
    txn.get(HEAD, &Key::new().u32(room))?;
    txn.put(EVENT, &position.to_key(), vec![random as u8; 1392]);
    txn.put(BY_ID, &id, position.to_key().to_vec());
    txn.put(ROOM, &Key::new().u32(room).u64(position.0), vec![0; 18]);
    if std::env::var_os("BENCH_HEAD").is_some() {
        txn.put(HEAD, &Key::new().u32(room), vec![1; 60]);
    }
    Ok(position.0)
}

fn percentiles(name: &str, mut times: Vec<Duration>, took: Duration) {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "{name}: {:.0}/s, p50 {:?}, p99 {:?}, p99.9 {:?}, max {:?}",
        times.len() as f64 / took.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}

fn preload(store: &Store, millions: f64) {
    let start = Instant::now();
    let mut dice = Dice::new(store.read().position().0);
    let events = (millions * 1e6) as u64;
    for _ in 0..events / 500 {
        let seeds: Vec<u64> = (0..500).map(|_| dice.roll()).collect();
        store
            .write_blocking(move |txn| {
                for random in seeds {
                    send(txn, random)?;
                }
                Ok::<_, ReadError>(())
            })
            .unwrap();
    }
    println!("preloaded {events} events in {:?}", start.elapsed());
}

async fn writes(store: &Store, tasks: u64, length: Duration) {
    let start = Instant::now();
    let cpu = cpu_seconds();
    let mut running = Vec::new();
    for task in 0..tasks {
        let store = store.clone();
        let mut dice = Dice::new(task + 1 + store.read().position().0 * 64);
        running.push(tokio::spawn(async move {
            let mut times = Vec::new();
            while start.elapsed() < length {
                let (random, begin) = (dice.roll(), Instant::now());
                store.write(move |txn| send(txn, random)).await.unwrap();
                times.push(begin.elapsed());
            }
            times
        }));
    }
    let mut times = Vec::new();
    for task in running {
        times.extend(task.await.unwrap());
    }
    let (count, took) = (times.len(), start.elapsed());
    percentiles(&format!("{tasks} writers"), times, took);
    println!("  {:.1} us of CPU a commit", (cpu_seconds() - cpu) * 1e6 / count as f64);
}

/// User and system time of the process so far.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// Resident memory now and at its peak.
fn memory() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    for line in status
        .lines()
        .filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM"))
    {
        println!("  {line}");
    }
}

fn reads(store: &Store, name: &str, newest: bool) {
    let last = store.read().position().0;
    let first = if newest { last.saturating_sub(500) } else { 1 };
    let mut dice = Dice::new(9);
    let begin = Instant::now();
    for _ in 0..100_000 {
        std::hint::black_box(store.read());
    }
    println!("{name}: a snapshot takes {:?}", begin.elapsed() / 100_000);
    let reader = store.read();
    let keys: Vec<u64> = (0..100_000).map(|_| first + dice.below(last - first)).collect();
    let begin = Instant::now();
    for key in &keys {
        assert!(reader.get(EVENT, &key.to_be_bytes()).unwrap().is_some());
    }
    println!("{name}: a get takes {:?}", begin.elapsed() / 100_000);
    let begin = Instant::now();
    for _ in 0..100_000 {
        assert!(reader.get(BY_ID, &dice.roll().to_be_bytes()).unwrap().is_none());
    }
    println!("{name}: a miss takes {:?}", begin.elapsed() / 100_000);
    let (begin, mut rows) = (Instant::now(), 0u32);
    for key in keys.iter().take(10_000) {
        let range = KeyRange {
            start: Vec::new(),
            end: Some(key.to_be_bytes().to_vec()),
        };
        let mut left = 50;
        reader
            .scan(EVENT, &range, Order::Descending, &mut |_, _| {
                rows += 1;
                left -= 1;
                if left == 0 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
            .unwrap();
    }
    println!(
        "{name}: a scan of 50 takes {:?}, a row {:?}",
        begin.elapsed() / 10_000,
        begin.elapsed() / rows
    );
}

fn folder_bytes(folder: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let size = |entry: std::fs::DirEntry| match entry.file_type().unwrap().is_dir() {
        true => folder_bytes(&entry.path()),
        false => entry.metadata().unwrap().blocks() * 512,
    };
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| size(entry.unwrap()))
        .sum()
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |index: usize, otherwise: f64| arguments.get(index).map_or(otherwise, |text| text.parse().unwrap());
    let folder = std::path::PathBuf::from(&arguments[1]);
    let (tasks, seconds, millions) = (number(2, 64.0) as u64, number(3, 5.0), number(4, 0.0));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let open = || {
        let begin = Instant::now();
        let tables = vec![EVENT, BY_ID, ROOM, HEAD];
        let store = Store::open(Options {
            dir: folder.clone(),
            key: Secret::new([5; 64]),
            tables,
            progress: lamchat_store::Progress::default(),
        })
        .unwrap();
        println!("opened in {:?}", begin.elapsed());
        store
    };
    let store = open();
    if millions > 0.0 {
        preload(&store, millions);
    }
    let before = store.read().position().0;
    for tasks in [1, 16, tasks] {
        runtime.block_on(writes(&store, tasks, Duration::from_secs_f64(seconds)));
        println!(
            "  {} bytes on disk an event",
            folder_bytes(&folder) / store.read().position().0
        );
    }
    println!(
        "{} events, {} new",
        store.read().position().0,
        store.read().position().0 - before
    );
    reads(&store, "newest", true);
    reads(&store, "all", false);
    let begin = Instant::now();
    runtime.block_on(store.close());
    println!("closed in {:?}", begin.elapsed());
    println!(
        "{} bytes on disk an event",
        folder_bytes(&folder) / store.read().position().0
    );
    drop(store);
    reads(&open(), "reopened", false);
    memory();
}
