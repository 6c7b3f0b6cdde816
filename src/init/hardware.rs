//! Asks the hardware how it is, from time to time, in a thread of its own: for the console, and for the exchange as far as
//! only root may ask.

use super::exchange;
use super::former::Former;
use super::state::{Shared, State};
use super::trouble::Trouble;
use crate::devices::Devices;
use lamchat_hardware::{Part, Reading, Root, Surveyor};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two surveys: what fails is to be told within a minute. A mirror that changes is told at once, because a disk
/// that owes an answer has taken half of that minute already.
const INTERVAL: Duration = Duration::from_secs(30);

/// Never ends.
pub fn watch(shared: &Arc<Shared>) {
    let (surveyor, mut devices) = (Surveyor::new(Root::kernel()), Devices::default());
    loop {
        let mut asked = devices.survey();
        let mirror = shared.mirror.lock().clone();
        let told = mirror.as_ref().map(|reading| reading.state);
        asked.extend(mirror);
        let health = surveyor.survey().with(asked.clone());
        let problems = health.problems().into_iter().filter_map(Trouble::of_reading).collect();
        let before = shared.status.lock().hardware.replace(problems);
        // What is told once: the management controllers that are there, and each problem.
        let is_news = |line: &String| !before.iter().flatten().any(|known| known.sentence == *line);
        let controllers = health
            .readings
            .iter()
            .filter(|reading| before.is_none() && reading.part == Part::Controller);
        let problems = health.problems().into_iter().map(ToString::to_string).filter(is_news);
        for line in controllers.map(ToString::to_string).chain(problems) {
            shared.log.note(&format!("hardware: {line}"));
        }
        if matches!(shared.state(), State::Serving | State::Degraded) {
            let former = shared.former.lock().as_ref().map(Former::sentence);
            let body = serde_json::json!({"readings": asked, "configuration": former});
            if let Err(error) = exchange::call("POST", "/_lamchat/admin/v1/box/readings", Some(&body)) {
                shared.log.keep(
                    "init",
                    &format!("the exchange did not take the hardware's readings: {}", error.0),
                );
            }
        }
        let until = Instant::now() + INTERVAL;
        let mut mirror = shared.mirror.lock();
        let is_told = |mirror: &mut Option<Reading>| mirror.as_ref().map(|reading| reading.state) == told;
        shared.mirror_changed.wait_while_until(&mut mirror, is_told, until);
    }
}
