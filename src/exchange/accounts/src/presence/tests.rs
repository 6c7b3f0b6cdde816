//! Tests.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::{ACTIVE_MS, GONE_MS, IDLE_MS, Presences, STATUS_BYTES_MAX, State, USERS_MAX};
use lamchat_base::{Clock, DeviceNum, ManualClock, UserNum};
use std::sync::Arc;

const ALICE: UserNum = UserNum(1);
const PHONE: DeviceNum = DeviceNum(11);
const LAPTOP: DeviceNum = DeviceNum(12);

struct World {
    all: Arc<Presences>,
    manual: Arc<ManualClock>,
    clock: Arc<dyn Clock>,
}

impl World {
    fn new() -> Self {
        let manual = Arc::new(ManualClock::new(1_000_000));
        Self {
            all: Arc::default(),
            clock: Arc::clone(&manual) as Arc<dyn Clock>,
            manual,
        }
    }

    fn state(&self) -> State {
        self.all.of(ALICE, self.manual.now_ms()).unwrap().state
    }

    fn sync(&self, device: DeviceNum, wish: State) -> super::Syncing {
        self.all.syncing(ALICE, device, wish, &self.clock).0
    }
}

#[test]
fn what_somebody_says_is_shown_while_they_are_there() {
    let world = World::new();
    let now_ms = world.manual.now_ms();
    assert_eq!(world.all.of(ALICE, now_ms), None);
    let here = || Some("here".to_owned());
    assert!(world.all.set(ALICE, PHONE, State::Online, here(), now_ms).unwrap());
    assert!(!world.all.set(ALICE, PHONE, State::Online, here(), now_ms).unwrap());
    let shown = world.all.of(ALICE, now_ms).unwrap();
    assert_eq!(
        (shown.state, shown.is_active, shown.status_msg),
        (State::Online, true, here())
    );
    assert!(world.all.set(ALICE, PHONE, State::Unavailable, None, now_ms).unwrap());
    let shown = world.all.of(ALICE, now_ms).unwrap();
    assert_eq!(
        (shown.state, shown.is_active, shown.status_msg),
        (State::Unavailable, false, None)
    );
    let long = Some("x".repeat(STATUS_BYTES_MAX + 1));
    assert!(world.all.set(ALICE, PHONE, State::Online, long, now_ms).is_err());
    world.all.forget(ALICE);
    assert_eq!(world.all.of(ALICE, now_ms), None);
}

#[test]
fn who_polls_is_there_until_they_stop() {
    let world = World::new();
    let poll = world.sync(PHONE, State::Online);
    world.manual.advance_ms(GONE_MS * 2);
    assert_eq!(world.state(), State::Online);
    drop(poll);
    world.manual.advance_ms(GONE_MS - 1);
    assert_eq!(world.state(), State::Online);
    assert!(world.all.expire(world.manual.now_ms()).is_empty() || world.state() == State::Online);
    world.manual.advance_ms(1);
    assert_eq!(world.state(), State::Offline);
    assert_eq!(world.all.expire(world.manual.now_ms()), [ALICE]);
    assert!(world.all.expire(world.manual.now_ms()).is_empty());
}

#[test]
fn who_does_nothing_is_idle_and_wakes_by_doing_something() {
    let world = World::new();
    let _poll = world.sync(PHONE, State::Online);
    world.manual.advance_ms(ACTIVE_MS);
    // "an update is sent to the client with (…) currently_active set to false"
    assert_eq!(world.all.expire(world.manual.now_ms()), [ALICE]);
    assert_eq!(world.state(), State::Online);
    world.manual.advance_ms(IDLE_MS - ACTIVE_MS);
    assert_eq!(world.all.expire(world.manual.now_ms()), [ALICE]);
    assert_eq!(world.state(), State::Unavailable);
    // Polling on is nothing that somebody does.
    let _again = world.sync(PHONE, State::Online);
    assert_eq!(world.state(), State::Unavailable);
    assert!(world.all.active(ALICE, PHONE, world.manual.now_ms()));
    assert_eq!(world.state(), State::Online);
}

#[test]
fn the_most_present_device_counts() {
    let world = World::new();
    let laptop = world.sync(LAPTOP, State::Unavailable);
    assert_eq!(world.state(), State::Unavailable);
    let phone = world.sync(PHONE, State::Online);
    assert_eq!(world.state(), State::Online);
    drop(phone);
    world.manual.advance_ms(GONE_MS);
    assert_eq!(world.state(), State::Unavailable);
    // The client says that its user is back.
    drop(laptop);
    let _laptop = world.sync(LAPTOP, State::Online);
    assert_eq!(world.state(), State::Online);
}

#[test]
fn who_hides_stays_hidden() {
    let world = World::new();
    let (_poll, is_news) = world.all.syncing(ALICE, PHONE, State::Offline, &world.clock);
    assert!(!is_news);
    assert_eq!(world.state(), State::Offline);
    assert!(!world.all.active(ALICE, PHONE, world.manual.now_ms()));
    assert_eq!(world.state(), State::Offline);
}

#[test]
fn changes_are_found_by_their_number() {
    let world = World::new();
    let _poll = world.sync(PHONE, State::Online);
    let first = world.all.counter.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(world.all.changed_since(None, 10), [ALICE]);
    assert!(world.all.changed_since(Some(first), 10).is_empty());
    let bob = UserNum(2);
    let _bob = world.all.syncing(bob, DeviceNum(21), State::Online, &world.clock);
    assert_eq!(world.all.changed_since(Some(first), 10), [bob]);
    assert_eq!(world.all.changed_since(None, 1), [bob]);
}

#[test]
fn memory_is_bounded() {
    let all = Arc::new(Presences::default());
    for number in 0..USERS_MAX as u32 + 10 {
        all.set(
            UserNum(number),
            DeviceNum(number),
            State::Online,
            None,
            u64::from(number),
        )
        .unwrap();
    }
    assert!(all.users.lock().len() <= USERS_MAX);
    assert!(all.of(UserNum(0), 0).is_none());
    assert!(all.of(UserNum(USERS_MAX as u32 + 9), 0).is_some());
    for number in 0..1_000 {
        all.set(ALICE, DeviceNum(number), State::Online, None, u64::from(number))
            .unwrap();
    }
    assert!(all.users.lock().get(&ALICE).unwrap().devices.len() <= super::DEVICES_MAX);
}
