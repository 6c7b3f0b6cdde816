//! How the server does with millions of events: an empty database and a large one, measured in turn in one run.
//!
//! `cargo bench --bench millions -- --dir /var/tmp/lamchat-millions` fills a data folder there once (2.3 GB and
//! one to three minutes per million events), keeps it, and measures: starts (also after `kill -9`), sending, memory. It is
//! no test: nothing here depends on how fast a machine is. `--help` tells the options.

#![expect(clippy::indexing_slicing, reason = "a measurement: a panic is the report")]

mod client;
mod load;
mod options;
mod report;
mod server;

use load::{Load, Until};
use options::Options;
use report::Report;
use server::{Server, Started};
use std::path::Path;
use std::time::Duration;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Memory is looked at this long after a start or the end of a load.
const REST: Duration = Duration::from_secs(6);

fn main() {
    // `cargo test --all-targets` runs this program too, without `--bench`.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    if let Err(error) = run() {
        eprintln!("failed: {error}");
        std::process::exit(1);
    }
}

fn run() -> Outcome<()> {
    let Some(options) = Options::parse(std::env::args().skip(1))? else {
        return Ok(());
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let full = options.dir.join("full");
        if !full.join("filled").exists() {
            fill(&options, &full).await?;
        }
        let empty = options.dir.join("empty");
        remove(&empty)?;
        let mut reports = vec![];
        for (name, dir) in [("empty", &empty), ("full", &full)] {
            if options.only.as_ref().is_none_or(|only| only == name) {
                reports.push((name, measure(&options, dir).await?));
            }
        }
        report::print(&reports);
        Ok(())
    })
}

/// Sends as many events as were asked for, into rooms that were made before.
async fn fill(options: &Options, dir: &Path) -> Outcome<()> {
    remove(dir)?;
    std::fs::create_dir_all(dir)?;
    println!("filling {} with {} events", dir.display(), options.events);
    let server = Server::start(&options.binary, dir).await?.server;
    let load = Load::begin(&server, options).await?;
    let mut left = options.events;
    while left > 0 {
        let part = left.min(100_000);
        let stage = load.send(&server, options.clients, Until::Count(part)).await?;
        left -= part;
        println!("{left} to go: {}", stage.line());
    }
    server.stop().await?;
    Ok(std::fs::write(dir.join("filled"), options.events.to_string())?)
}

async fn measure(options: &Options, dir: &Path) -> Outcome<Report> {
    std::fs::create_dir_all(dir)?;
    println!("measuring {}", dir.display());
    let mut report = Report::default();
    // The first start of an empty folder makes keys and certificates: it is no start like others.
    Server::start(&options.binary, dir).await?.server.stop().await?;
    for _ in 0..options.starts {
        let started = Server::start(&options.binary, dir).await?;
        report.starts.push(started.took);
        started.server.stop().await?;
    }
    let server = Server::start(&options.binary, dir).await?.server;
    tokio::time::sleep(REST).await;
    report.idle_kb = server.memory_kb()?;
    let load = Load::begin(&server, options).await?;
    for clients in [1, 16, options.clients] {
        let stage = load.send(&server, clients, Until::Elapsed(options.length)).await?;
        println!("{clients} clients: {}", stage.line());
        report.stages.push((clients, stage));
    }
    report.loaded_kb = server.memory_kb()?;
    tokio::time::sleep(REST).await;
    report.rested_kb = server.memory_kb()?;
    server.stop().await?;
    for _ in 0..options.starts {
        report.starts_after_kill.push(kill_and_start(options, dir).await?);
    }
    Ok(report)
}

/// Kills a server that is sending at full speed and times the next one to its first answer.
async fn kill_and_start(options: &Options, dir: &Path) -> Outcome<Duration> {
    let mut server = Server::start(&options.binary, dir).await?.server;
    let load = Load::begin(&server, options).await?;
    let last = load.send_until_killed(&mut server).await?;
    let Started { server, took } = Server::start(&options.binary, dir).await?;
    Load::check(&server, &last).await?;
    server.stop().await?;
    Ok(took)
}

fn remove(dir: &Path) -> Outcome<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
