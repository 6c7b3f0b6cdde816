//! Has the release that runs marked as good, once the exchange has answered for a while. Tried again until it is done, and
//! written into the audit log, before and after.

use super::state::{Shared, State};
use super::update::Mark;
use super::{exchange, update};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

/// How long the exchange has to answer before.
const GOOD_AFTER: Duration = Duration::from_secs(10 * 60);
/// Between two looks at that.
const LOOK: Duration = Duration::from_secs(5);
/// Before the second try; it doubles.
const PAUSE_FIRST: Duration = Duration::from_secs(30);
/// Between two tries at most.
const PAUSE_MAX: Duration = Duration::from_secs(600);
/// How long the updater may work.
const PATIENCE: Duration = Duration::from_secs(300);

/// Ends when the release is marked good, and that is noted.
pub fn run(shared: &Arc<Shared>) {
    match update::mark() {
        Mark::Good => return,
        Mark::Trial { .. } => {}
        Mark::Unknown(why) => shared.log.note(&format!(
            "whether this release is marked good is not known ({why}): it counts as on trial"
        )),
    }
    await_answers(shared);
    let mut pause = PAUSE_FIRST;
    let (mut is_begun, mut is_marked) = (false, false);
    loop {
        // What could not be read before may be readable now, and says that there is nothing to do.
        if !is_begun && update::mark() == Mark::Good {
            return;
        }
        match once(shared, &mut is_begun, &mut is_marked) {
            Ok(slot) => return shared.log.note(&format!("the release in slot {slot} is marked good")),
            Err(error) => shared.log.note(&format!(
                "the release is not marked good yet: {error}; again in {} s",
                pause.as_secs()
            )),
        }
        std::thread::sleep(pause);
        pause = PAUSE_MAX.min(pause * 2);
    }
}

/// Waits until the exchange has answered all the time for long enough.
fn await_answers(shared: &Shared) {
    loop {
        let (state, since) = {
            let status = shared.status.lock();
            (status.state, status.since)
        };
        if state == State::Serving && since.elapsed() >= GOOD_AFTER {
            return;
        }
        std::thread::sleep(LOOK);
    }
}

/// What is not done yet of: noting that it begins, marking, noting that it is done.
fn once(shared: &Arc<Shared>, is_begun: &mut bool, is_marked: &mut bool) -> Result<String, String> {
    let slot = update::Booted::of(shared)?.slot_name();
    if !*is_begun {
        note(&slot, "begun")?;
        *is_begun = true;
    }
    if !*is_marked {
        mark(shared)?;
        *is_marked = true;
        shared.is_good.store(true, Ordering::Relaxed);
    }
    note(&slot, "done")?;
    Ok(slot)
}

fn note(slot: &str, state: &str) -> Result<(), String> {
    let body = json!({"slot": slot, "state": state});
    let noted = exchange::call("POST", "/_lamchat/admin/v1/box/good", Some(&body));
    noted.map(drop).map_err(|error| error.0)
}

/// Waits for the updater, which the main loop reaps.
fn mark(shared: &Arc<Shared>) -> Result<(), String> {
    let (sender, ended) = sync_channel(1);
    update::mark_good(shared, sender)?;
    match ended.recv_timeout(PATIENCE) {
        Ok(0) => Ok(()),
        Ok(code) => Err(format!("the updater ended with {code}")),
        Err(error) => Err(format!("the updater: {error}")),
    }
}
