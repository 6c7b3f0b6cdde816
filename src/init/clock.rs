//! The clock: never before the release was built, nor before the box ran last, nor before the exchange's last commit; then
//! from the configured servers, which a process of its own asks.

mod keeper;

use super::DATA;
use super::state::{Shared, State};
use keeper::Keeper;
pub use keeper::USER;
use lamchat_appliance::site::Time;
use lamchat_machine::time;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How often the servers are asked, and the time of the last run is kept.
const INTERVAL: Duration = Duration::from_secs(300);
/// Before the first answer: how often the servers are asked.
const FIRST_INTERVAL: Duration = Duration::from_secs(10);
/// How often the configuration is looked at meanwhile.
const LOOK: Duration = Duration::from_secs(2);
/// Smaller differences are left alone: nothing here needs more, and each step is one.
const STEP_MIN_MS: u64 = 200;
/// How far the exchange's last commit may lie ahead: what is kept here is at most some minutes older than it. The exchange
/// talks to strangers, and whoever gets hold of it moves the clock no further.
const AHEAD_MAX_MS: u64 = 24 * 3600 * 1000;

/// What nobody means: the floor would follow, and nothing sets it back.
const YEAR_2200_MS: u64 = 7_258_118_400_000;

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

/// The exchange starts, and its last commit was made at that time: the clock is never before it, unless time servers have
/// said so since the start.
pub fn at_least(shared: &Shared, ms: u64) -> Result<(), String> {
    let now = time::now_ms();
    if !is_behind(now, ms, shared.knows_time.load(Ordering::Relaxed)).inspect_err(|error| shared.log.note(error))? {
        return Ok(());
    }
    time::set(ms).map_err(|error| error.to_string())?;
    shared.log.note(&format!(
        "the clock was {} ms before the last commit: set to that",
        ms - now
    ));
    keep(shared);
    Ok(())
}

/// Whether the clock has to be set for a commit that was made at `commit`.
fn is_behind(now: u64, commit: u64, is_known: bool) -> Result<bool, String> {
    if now >= commit {
        return Ok(false);
    }
    if is_known {
        return Err("the last commit has a time that is still to come by the time servers: the clock stays".to_owned());
    }
    if commit - now > AHEAD_MAX_MS {
        return Err("the last commit has a time that lies days ahead: the clock stays, look at it".to_owned());
    }
    Ok(true)
}

/// Sets the clock by hand, at the console or from a distance, but never below the release's time.
pub fn set_by_hand(shared: &Shared, ms: u64) -> Result<(), String> {
    check(ms, shared.release.built_at)?;
    shared.log.note(&format!("an operator sets the clock to {ms} ms"));
    time::set(ms).map_err(|error| error.to_string())?;
    keep(shared);
    Ok(())
}

/// Whether somebody may set the clock to `ms`, with a release that was built at `built_at`, in seconds since 1970.
fn check(ms: u64, built_at: u64) -> Result<(), String> {
    if ms < built_at.saturating_mul(1000) {
        return Err("that is before this release was built".to_owned());
    }
    if ms >= YEAR_2200_MS {
        return Err("that is after the year 2199".to_owned());
    }
    Ok(())
}

/// Never ends.
pub fn run(shared: &Arc<Shared>) {
    let mut known = false;
    let mut keeper = None;
    loop {
        let wanted = shared.site.lock().as_ref().map(|site| site.time.clone());
        let wanted = wanted.unwrap_or_default();
        if wanted.servers.is_empty() {
            shared.status.lock().time = None;
        } else {
            let from = follow(shared, &mut keeper, &wanted);
            known |= from.is_some();
            say(shared, from);
        }
        keep(shared);
        let asking = !wanted.servers.is_empty() && !known;
        let interval = if asking { FIRST_INTERVAL } else { INTERVAL };
        wait(shared, &wanted, interval);
    }
}

/// Until it is time again, there are other servers to ask, or there is for the first time something to keep the time of.
fn wait(shared: &Shared, asked: &Time, interval: Duration) {
    let since = Instant::now();
    let was_serving = shared.state() == State::Serving;
    while since.elapsed() < interval {
        std::thread::sleep(LOOK);
        if !was_serving && shared.state() == State::Serving {
            return;
        }
        if shared.site.lock().as_ref().is_some_and(|site| site.time != *asked) {
            return;
        }
    }
}

/// Says from whom the time is: on the screen, and in the log when it is from others than before.
fn say(shared: &Shared, from: Option<String>) {
    let line = from.map_or_else(
        || "no time server tells the time".to_owned(),
        |servers| format!("from {servers}"),
    );
    let before = shared.status.lock().time.replace(line.clone());
    if before.as_ref() != Some(&line) {
        shared.log.note(&format!("the time: {line}"));
    }
}

/// Asks all servers once; those that knew.
fn follow(shared: &Shared, keeper: &mut Option<Keeper>, wanted: &Time) -> Option<String> {
    let told = match Keeper::ask(keeper, shared, wanted) {
        Ok(told) => told,
        Err(error) => {
            shared.log.note(&format!("the time: {error}"));
            return None;
        }
    };
    for one in &told {
        if let Some(problem) = &one.problem {
            shared.log.note(&format!("time server {}: {problem}", one.server));
        }
    }
    let from = told.iter().filter(|one| one.ahead_ms.is_some());
    let from: Vec<String> = from.map(|one| one.server.to_string()).collect();
    let now = time::now_ms();
    let told = told.iter().filter_map(|one| now.checked_add_signed(one.ahead_ms?));
    let ms = time::middle(told.collect())?;
    if ms < shared.release.built_at.saturating_mul(1000) {
        shared
            .log
            .note("the time servers are wrong: their time is before this release was built");
        return None;
    }
    let difference = ms.abs_diff(now);
    if difference >= STEP_MIN_MS {
        match time::set(ms) {
            Ok(()) => {
                shared.log.note(&format!("the clock was off by {difference} ms"));
                keep(shared);
            }
            Err(error) => shared.log.note(&format!("the clock cannot be set: {error}")),
        }
    }
    shared.knows_time.store(true, Ordering::Relaxed);
    Some(from.join(" "))
}

/// Remembers the time for the next start, durably, once there are data to keep it with. A torn file is no time, and the
/// floor is the release's then.
fn keep(shared: &Shared) {
    let has_data = matches!(
        shared.state(),
        State::Starting | State::Repairing | State::Serving | State::Degraded
    );
    if !has_data || shared.site.lock().is_none() {
        return;
    }
    if let Err(error) = write(&file(), time::now_ms()) {
        shared.log.note(&format!("{}: {error}", file().display()));
    }
}

fn write(path: &Path, ms: u64) -> std::io::Result<()> {
    let new = path.with_extension("new");
    let mut file = std::fs::File::create(&new)?;
    file.write_all(ms.to_string().as_bytes())?;
    file.sync_data()?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_sets_the_clock_below_the_release_or_beyond_reason() {
        let built_at = 1_795_000_000;
        for (ms, expected) in [
            (0, false),
            (built_at * 1000 - 1, false),
            (built_at * 1000, true),
            (YEAR_2200_MS - 1, true),
            (YEAR_2200_MS, false),
            (u64::MAX, false),
        ] {
            assert_eq!(check(ms, built_at).is_ok(), expected, "{ms}");
        }
    }

    #[test]
    fn a_commit_moves_the_clock_forward_only_and_not_for_ever() {
        let now = 1_800_000_000_000;
        for (commit, is_known, expected) in [
            (now, false, Some(false)),
            (now - 1, true, Some(false)),
            (0, false, Some(false)),
            (now + 1, false, Some(true)),
            (now + AHEAD_MAX_MS, false, Some(true)),
            (now + AHEAD_MAX_MS + 1, false, None),
            (u64::MAX, false, None),
            (now + 1, true, None),
        ] {
            assert_eq!(is_behind(now, commit, is_known).ok(), expected, "{commit} {is_known}");
        }
    }
}
