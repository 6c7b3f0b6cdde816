//! Presence in an answer: of the people with whom the user shares a room, and their own.
//!
//! It is told as far as it is cheap. An answer looks at a bounded number of users. Whoever waits is woken by people in
//! small rooms only; others hear of it with whatever comes next, or when their poll is over.

use crate::answer::{Scene, comma};
use crate::device_lists::Meetings;
use crate::syncer::Syncer;
use lamchat_accounts::presence::{Presence, State};
use lamchat_accounts::user;
use lamchat_base::{Clock, RoomNum, UserNum};
use lamchat_connections::{Reach, may_reach};
use lamchat_rooms::event::{write_number, write_string};
use lamchat_rooms::head::Head;
use lamchat_rooms::{Membership, membership};
use lamchat_store::{ReadError, Topic};
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// Most events of one answer.
const EVENTS_MAX: usize = 100;
/// Most users that one answer looks at.
const LOOKED_AT_MAX: usize = 1_000;
/// Members of rooms with more are not woken.
const WAKING_MEMBERS_MAX: u32 = 100;
/// How often the passing of time is noted.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(5);
/// Most rooms that one change wakes.
const WAKING_ROOMS_MAX: usize = 50;

/// Appends `,"presence":{…}`; nothing if there is nothing to tell.
pub(crate) fn write(
    scene: &Scene<'_>,
    out: &mut Vec<u8>,
    joined: &HashSet<RoomNum>,
    meetings: &Meetings,
) -> Result<(), ReadError> {
    let filter = &scene.request.filter.presence;
    let most = filter.limit.unwrap_or(EVENTS_MAX).min(EVENTS_MAX);
    if !filter.types.allows("m.presence") || most == 0 {
        return Ok(());
    }
    let me = scene.who.user;
    let since = scene.request.since.map(|since| since.ephemeral);
    let mut candidates = scene.syncer.presence.changed_since(since, LOOKED_AT_MAX);
    let mut seen: BTreeSet<UserNum> = candidates.iter().copied().collect();
    let mut add = |user: UserNum| {
        if seen.len() < LOOKED_AT_MAX && seen.insert(user) {
            candidates.push(user);
        }
    };
    if since.is_none() {
        add(me);
    }
    // Who is met now was told nothing before.
    meetings.met.iter().copied().for_each(&mut add);
    for room in &meetings.joined {
        let members = membership::members(scene.read, *room, Membership::Join, EVENTS_MAX)?;
        members.into_iter().for_each(&mut add);
    }
    let mut written = 0;
    for user in candidates {
        let Some(presence) = scene.syncer.presence.of(user, scene.now_ms) else {
            continue;
        };
        if written == most || !(user == me || shows(scene, user, joined)?) {
            continue;
        }
        let user_id = user::known_id(scene.read, user)?;
        if !filter.senders.allows(user_id.as_str()) {
            continue;
        }
        if written == 0 {
            out.extend_from_slice(b",\"presence\":{\"events\":[");
        }
        comma(out, written);
        written += 1;
        write_event(out, user_id.as_str(), &presence, scene.now_ms);
    }
    if written > 0 {
        out.extend_from_slice(b"]}");
    }
    Ok(())
}

/// "Presence events are sent to interested parties where users share a room membership."
fn shows(scene: &Scene<'_>, user: UserNum, joined: &HashSet<RoomNum>) -> Result<bool, ReadError> {
    if !may_reach(scene.who.user, user, Reach::Presence) {
        return Ok(false);
    }
    let theirs = membership::joined_rooms(scene.read, user)?;
    Ok(theirs.iter().any(|room| joined.contains(room)))
}

fn write_event(out: &mut Vec<u8>, user_id: &str, presence: &Presence, now_ms: u64) {
    out.extend_from_slice(b"{\"content\":{");
    if presence.state == State::Online {
        out.extend_from_slice(b"\"currently_active\":");
        out.extend_from_slice(if presence.is_active { b"true," } else { b"false," });
    }
    if presence.last_active_ms > 0 {
        out.extend_from_slice(b"\"last_active_ago\":");
        write_number(out, now_ms.saturating_sub(presence.last_active_ms));
        out.push(b',');
    }
    out.extend_from_slice(b"\"presence\":\"");
    out.extend_from_slice(presence.state.as_str().as_bytes());
    out.push(b'"');
    if let Some(status_msg) = &presence.status_msg {
        out.extend_from_slice(b",\"status_msg\":");
        write_string(out, status_msg);
    }
    out.extend_from_slice(b"},\"sender\":");
    write_string(out, user_id);
    out.extend_from_slice(b",\"type\":\"m.presence\"}");
}

impl Syncer {
    /// Wakes who should hear soon that the presence of `user` has changed.
    pub fn wake_for_presence(&self, user: UserNum) -> Result<(), ReadError> {
        let read = self.store().read();
        let mut topics = vec![Topic::user(user)];
        for room in membership::joined_rooms(&read, user)?
            .into_iter()
            .take(WAKING_ROOMS_MAX)
        {
            if Head::of(&read, room)?.is_some_and(|head| head.joined <= WAKING_MEMBERS_MAX) {
                topics.push(Topic::room(room));
            }
        }
        self.store().notify(&topics);
        Ok(())
    }
}

/// Tells whose presence has changed by the passing of time, every few seconds, for as long as the exchange runs.
pub async fn tell_presence_forever(syncer: Arc<Syncer>, clock: Arc<dyn Clock>) {
    let mut tick = tokio::time::interval(EXPIRY_INTERVAL);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        for user in syncer.presence.expire(clock.now_ms()) {
            if let Err(error) = syncer.wake_for_presence(user) {
                tracing::warn!(%error, "nobody was told that the presence of a user has changed");
            }
        }
    }
}
