//! The answer of a search, written piece by piece.

use super::{Asked, Place};
use crate::{ApiError, App};
use lamchat_accounts::user;
use lamchat_base::RoomNum;
use lamchat_rooms::event::{EventRow, write_number, write_string};
use lamchat_rooms::filter::EventFilter;
use lamchat_rooms::search::{Found, Group, Hit, Searched, Token};
use lamchat_rooms::timeline::{self, PageRequest, Point};
use lamchat_rooms::view::View;
use lamchat_rooms::{context, log, state};
use lamchat_store::{Order, ReadTxn};
use ruma::UserId;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Most state events of one answer; of a room with which they would be more, only members who sent results are told.
const STATE_EVENTS_MAX: usize = 5_000;

/// What is told beside the results.
#[derive(Debug)]
pub(super) struct Shape {
    /// What surrounds each result.
    pub(super) context: Option<Around>,
    /// The state of each room.
    pub(super) with_state: bool,
    /// Groups by room.
    pub(super) by_room: bool,
    /// Groups by sender.
    pub(super) by_sender: bool,
}

/// What surrounds a result.
#[derive(Debug, Clone, Copy)]
pub(super) struct Around {
    /// Events before.
    pub(super) before: usize,
    /// Events after.
    pub(super) after: usize,
    /// The names and pictures of those who sent them, as they were then.
    pub(super) with_profiles: bool,
}

/// An answer on its way.
pub(super) struct Answer<'a> {
    pub(super) app: &'a App,
    pub(super) read: &'a ReadTxn,
    pub(super) asked: &'a Asked,
    pub(super) places: &'a [Place],
    /// One for each place.
    pub(super) rooms: Vec<Searched<'a>>,
    /// Where the search began.
    pub(super) upto: u64,
    /// Results of it that earlier pages have shown.
    pub(super) skip: usize,
    pub(super) found: Found,
}

impl Answer<'_> {
    pub(super) fn write(mut self) -> Result<Vec<u8>, ApiError> {
        let hits = std::mem::take(&mut self.found.hits);
        let end = self.skip.saturating_add(self.asked.limit).min(hits.len());
        let page = hits.get(self.skip..end).unwrap_or_default();
        let mut out = Vec::with_capacity(8 << 10);
        out.extend_from_slice(b"{\"search_categories\":{\"room_events\":{\"count\":");
        // "The value of count gives an approximation": what was found so far.
        write_number(&mut out, hits.len() as u64);
        out.extend_from_slice(b",\"highlights\":");
        serde_json::to_writer(&mut out, self.asked.words.as_slice()).map_err(ApiError::internal)?;
        out.extend_from_slice(b",\"results\":[");
        for (index, hit) in page.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            self.write_result(&mut out, hit)?;
        }
        out.push(b']');
        if self.asked.shape.with_state {
            out.extend_from_slice(b",\"state\":{");
            self.write_state(&mut out, page)?;
            out.push(b'}');
        }
        let mut groups: Vec<(&str, BTreeMap<String, Value>)> = Vec::new();
        if self.asked.shape.by_room {
            groups.push((
                "room_id",
                self.groups(&hits, end, |answer, hit| answer.room_group(hit))?,
            ));
        }
        if self.asked.shape.by_sender {
            groups.push((
                "sender",
                self.groups(&hits, end, |answer, hit| answer.sender_group(hit))?,
            ));
        }
        if !groups.is_empty() {
            out.extend_from_slice(b",\"groups\":");
            let groups: BTreeMap<_, _> = groups.into_iter().collect();
            serde_json::to_writer(&mut out, &groups).map_err(ApiError::internal)?;
        }
        let group = self.asked.from.and_then(|from| from.group);
        if let Some(token) = self.token(end, hits.len(), group) {
            out.extend_from_slice(b",\"next_batch\":");
            write_string(&mut out, &token);
        }
        out.extend_from_slice(b"}}}");
        Ok(out)
    }

    /// The token of what comes after `shown` of `all` results; `None` at the end.
    fn token(&self, shown: usize, all: usize, group: Option<Group>) -> Option<String> {
        let (upto, skip) = if shown < all {
            (self.upto, shown)
        } else {
            (self.found.next?, 0)
        };
        Some(Token { upto, skip, group }.text(self.app.store.epoch()))
    }

    fn index_of(&self, room: RoomNum) -> Result<usize, ApiError> {
        let index = self.places.iter().position(|place| place.room.num == room);
        index.ok_or_else(|| ApiError::internal("a result of a room that was not searched"))
    }

    fn write_result(&mut self, out: &mut Vec<u8>, hit: &Hit) -> Result<(), ApiError> {
        let index = self.index_of(hit.room)?;
        let (read, epoch) = (self.read, self.app.store.epoch());
        let (Some(place), Some(room)) = (self.places.get(index), self.rooms.get_mut(index)) else {
            return Err(ApiError::internal("a room without a view"));
        };
        let view = &mut room.view;
        out.extend_from_slice(b"{\"rank\":");
        serde_json::to_writer(&mut *out, &hit.rank).map_err(ApiError::internal)?;
        out.extend_from_slice(b",\"result\":");
        crate::look::write_one(out, view, &hit.entry)?;
        if let Some(around) = self.asked.shape.context {
            let everything = EventFilter::default();
            let page = |view: &mut View<'_>, from: Point, direction, limit| {
                let request = PageRequest {
                    from: Some(from),
                    to: None,
                    direction,
                    limit,
                    filter: &everything,
                };
                timeline::page(read, hit.room, &place.standing, view, &request)
            };
            let order = hit.entry.order;
            let before = page(view, Point::before(order), Order::Descending, around.before)?;
            let after = page(view, Point(order), Order::Ascending, around.after)?;
            out.extend_from_slice(b",\"context\":{\"events_before\":");
            timeline::write_events(out, view, &before.entries)?;
            out.extend_from_slice(b",\"events_after\":");
            timeline::write_events(out, view, &after.entries)?;
            let first = before.entries.last().unwrap_or(&hit.entry);
            out.extend_from_slice(b",\"start\":");
            write_string(out, &Point::before(first.order).token(epoch));
            let last = after.entries.last().unwrap_or(&hit.entry);
            out.extend_from_slice(b",\"end\":");
            write_string(out, &Point(last.order).token(epoch));
            if around.with_profiles {
                let mut profiles = Map::new();
                for entry in before.entries.iter().chain([&hit.entry]).chain(&after.entries) {
                    note_profile(read, &entry.row()?, &mut profiles)?;
                }
                out.extend_from_slice(b",\"profile_info\":");
                serde_json::to_writer(&mut *out, &profiles).map_err(ApiError::internal)?;
            }
            out.push(b'}');
        }
        out.push(b'}');
        Ok(())
    }

    fn write_state(&mut self, out: &mut Vec<u8>, page: &[Hit]) -> Result<(), ApiError> {
        let rooms: BTreeSet<RoomNum> = page.iter().map(|hit| hit.room).collect();
        let mut left = STATE_EVENTS_MAX;
        for (number, num) in rooms.into_iter().enumerate() {
            let index = self.index_of(num)?;
            let (Some(place), Some(room)) = (self.places.get(index), self.rooms.get_mut(index)) else {
                continue;
            };
            let mut events = context::state_for(self.read, num, &place.standing)?;
            if events.len() > left {
                let mut senders = BTreeSet::new();
                for hit in page.iter().filter(|hit| hit.room == num) {
                    senders.insert(hit.entry.row()?.sender.to_owned());
                }
                events.retain(|(kind, key), _| kind != "m.room.member" || senders.contains(key));
            }
            if number > 0 {
                out.push(b',');
            }
            write_string(out, place.room.id.as_str());
            out.extend_from_slice(b":[");
            for (number, position) in events.values().take(left).enumerate() {
                if number > 0 {
                    out.push(b',');
                }
                let bytes = log::known_event(self.read, *position)?;
                room.view.write(out, *position, &EventRow::decode(&bytes)?)?;
            }
            left = left.saturating_sub(events.len());
            out.push(b']');
        }
        Ok(())
    }

    /// The groups of the page's results: which they are, an order, and where more of each are.
    fn groups(
        &self,
        hits: &[Hit],
        end: usize,
        group_of: impl Fn(&Self, &Hit) -> Result<Option<(String, Group)>, ApiError>,
    ) -> Result<BTreeMap<String, Value>, ApiError> {
        struct Members {
            group: Group,
            shown: Vec<String>,
            until_here: usize,
            all: usize,
            order: usize,
        }
        let mut groups: BTreeMap<String, Members> = BTreeMap::new();
        for (place, hit) in hits.iter().enumerate() {
            let Some((name, group)) = group_of(self, hit)? else {
                continue;
            };
            let order = groups.len();
            let members = groups.entry(name).or_insert(Members {
                group,
                shown: Vec::new(),
                until_here: 0,
                all: 0,
                order,
            });
            members.all += 1;
            if place < end {
                members.until_here += 1;
                if place >= self.skip {
                    members.shown.push(hit.entry.row()?.event_id.to_owned());
                }
            }
        }
        groups.retain(|_, members| !members.shown.is_empty());
        let told = groups.into_iter().map(|(name, members)| {
            let mut told = serde_json::json!({ "results": members.shown, "order": members.order });
            let token = self.token(members.until_here, members.all, Some(members.group));
            if let (Some(token), Some(told)) = (token, told.as_object_mut()) {
                told.insert("next_batch".to_owned(), token.into());
            }
            (name, told)
        });
        Ok(told.collect())
    }

    fn room_group(&self, hit: &Hit) -> Result<Option<(String, Group)>, ApiError> {
        let place = self.places.get(self.index_of(hit.room)?);
        Ok(place.map(|place| (place.room.id.to_string(), Group::Room(hit.room.0))))
    }

    fn sender_group(&self, hit: &Hit) -> Result<Option<(String, Group)>, ApiError> {
        let row = hit.entry.row()?;
        let Ok(sender) = UserId::parse(row.sender) else {
            return Ok(None);
        };
        let num = user::num(self.read, &sender)?;
        Ok(num.map(|num| (row.sender.to_owned(), Group::Sender(num.0))))
    }
}

/// "the historic profile information of the users that sent the events": what their membership said at the event.
fn note_profile(read: &ReadTxn, row: &EventRow<'_>, profiles: &mut Map<String, Value>) -> Result<(), ApiError> {
    if profiles.contains_key(row.sender) {
        return Ok(());
    }
    let Some(position) = state::at(read, row.state_group, "m.room.member", row.sender)? else {
        return Ok(());
    };
    let bytes = log::known_event(read, position)?;
    let content: Value = serde_json::from_str(EventRow::decode(&bytes)?.content).unwrap_or_default();
    let mut profile = Map::new();
    for name in ["displayname", "avatar_url"] {
        if let Some(value) = content.get(name).filter(|value| value.is_string()) {
            profile.insert(name.to_owned(), value.clone());
        }
    }
    profiles.insert(row.sender.to_owned(), profile.into());
    Ok(())
}
