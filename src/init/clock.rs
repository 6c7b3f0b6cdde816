//! The clock: never before the release was built nor before the box ran last, then from the configured servers, which a
//! process of its own asks.

mod keeper;

use super::DATA;
use super::state::{Shared, State};
use keeper::Keeper;
use lamchat_appliance::site::Time;
use lamchat_machine::time;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often the servers are asked, and the time of the last run is kept.
const INTERVAL: Duration = Duration::from_secs(300);
/// Before the first answer: how often the servers are asked.
const FIRST_INTERVAL: Duration = Duration::from_secs(10);
/// How often the configuration is looked at meanwhile.
const LOOK: Duration = Duration::from_secs(2);
/// Smaller differences are left alone: nothing here needs more, and each step is one.
const STEP_MIN_MS: u64 = 200;

fn file() -> PathBuf {
    Path::new(DATA).join("clock")
}

/// Moves the clock forward to the latest time that is known to have been; never back.
pub fn raise(shared: &Shared) {
    let kept = std::fs::read_to_string(file())
        .ok()
        .and_then(|text| text.trim().parse().ok());
    let floor = kept.unwrap_or(0).max(shared.release.built_at.saturating_mul(1000));
    let now = time::now_ms();
    if now >= floor {
        return;
    }
    match time::set(floor) {
        Ok(()) => shared
            .log
            .note("the clock was before the last time that is known to have been: set to that"),
        Err(error) => shared.log.note(&format!("the clock cannot be set: {error}")),
    }
}

/// Sets the clock by hand, but never below the release's time.
pub fn set_by_hand(shared: &Shared, ms: u64) -> Result<(), String> {
    if ms < shared.release.built_at.saturating_mul(1000) {
        return Err("that is before this release was built".to_owned());
    }
    shared.log.note(&format!("an operator sets the clock to {ms} ms"));
    time::set(ms).map_err(|error| error.to_string())
}

/// Never ends.
pub fn run(shared: &Arc<Shared>) {
    let mut known = false;
    let mut keeper = None;
    loop {
        let wanted = shared.site.lock().as_ref().map(|site| site.time.clone());
        let wanted = wanted.unwrap_or_default();
        if !wanted.servers.is_empty() {
            known |= follow(shared, &mut keeper, &wanted);
        }
        if shared.state() == State::Serving {
            keep(shared);
        }
        let asking = !wanted.servers.is_empty() && !known;
        let interval = if asking { FIRST_INTERVAL } else { INTERVAL };
        wait(shared, &wanted, interval);
    }
}

/// Until it is time again, or there are other servers to ask.
fn wait(shared: &Shared, asked: &Time, interval: Duration) {
    let since = Instant::now();
    while since.elapsed() < interval {
        std::thread::sleep(LOOK);
        if shared.site.lock().as_ref().is_some_and(|site| site.time != *asked) {
            return;
        }
    }
}

/// Asks all servers once; whether any knew.
fn follow(shared: &Shared, keeper: &mut Option<Keeper>, wanted: &Time) -> bool {
    let told = match Keeper::ask(keeper, shared, wanted) {
        Ok(told) => told,
        Err(error) => {
            shared.log.note(&format!("the time: {error}"));
            return false;
        }
    };
    for one in &told {
        if let Some(problem) = &one.problem {
            shared.log.note(&format!("time server {}: {problem}", one.server));
        }
    }
    let now = time::now_ms();
    let told = told.iter().filter_map(|one| now.checked_add_signed(one.ahead_ms?));
    let Some(ms) = time::middle(told.collect()) else {
        return false;
    };
    if ms < shared.release.built_at.saturating_mul(1000) {
        shared
            .log
            .note("the time servers are wrong: their time is before this release was built");
        return false;
    }
    let difference = ms.abs_diff(now);
    if difference >= STEP_MIN_MS {
        match time::set(ms) {
            Ok(()) => shared.log.note(&format!("the clock was off by {difference} ms")),
            Err(error) => shared.log.note(&format!("the clock cannot be set: {error}")),
        }
    }
    true
}

/// Remembers the time for the next start. A torn file is no time, and the floor is the release's then.
fn keep(shared: &Shared) {
    let new = file().with_extension("new");
    let kept = std::fs::write(&new, time::now_ms().to_string()).and_then(|()| std::fs::rename(&new, file()));
    if let Err(error) = kept {
        shared.log.note(&format!("{}: {error}", file().display()));
    }
}
