//! The events that a user was notified about, newest first, over all rooms (`GET /notifications`).
//!
//! Worked out like the counts, and no more is kept for it. A page looks at a bounded number of events and tells where it
//! stopped, so that a page may be short, or empty, and not be the last one.

use super::member::{Member, is_ignored};
use super::{ReadUpTo, Rules, UnreadCounts};
use crate::evaluate::Verdict;
use lamchat_base::{Position, RoomNum, UserNum};
use lamchat_rooms::event::{EventRow, Flags};
use lamchat_rooms::log;
use lamchat_rooms::membership::{self, Membership};
use lamchat_rooms::newest_first::{NewestFirst, Stretch};
use lamchat_rooms::table::live_order;
use lamchat_store::{Bytes, Read, ReadError};
use ruma::UserId;
use ruma::push::Action;

/// Most notifications of one page.
pub const PAGE_MAX: usize = 100;
/// Most events that one page looks at.
const LOOKED_AT_MAX: usize = 5_000;
/// Changes of a member's own name and picture that are followed back to its joining.
const RENAMED_MAX: usize = 1_000;

/// An event that the user was notified about.
#[derive(Debug, Clone)]
pub struct Notification {
    /// Its room.
    pub room: RoomNum,
    /// Its place in the room's timeline.
    pub order: u64,
    /// Its position.
    pub position: Position,
    /// Its row.
    pub bytes: Bytes,
    /// What the user's rules say.
    pub actions: Vec<Action>,
    /// Whether a receipt of the user says that they have read it.
    pub is_read: bool,
}

/// A page.
#[derive(Debug, Clone, Default)]
pub struct NotificationPage {
    /// The notifications, newest first.
    pub notifications: Vec<Notification>,
    /// The order up to which the next page looks; `None` at the end.
    pub next: Option<u64>,
}

impl UnreadCounts {
    /// The notifications of `user` at or before the order `from`; only highlights if `only_highlights`.
    pub fn notifications(
        &self,
        read: &dyn Read,
        user: UserNum,
        user_id: &UserId,
        from: Option<u64>,
        limit: usize,
        only_highlights: bool,
    ) -> Result<NotificationPage, ReadError> {
        let limit = limit.clamp(1, PAGE_MAX);
        let newest = from.unwrap_or(u64::MAX).min(live_order(read.position()));
        let rules = self.rules_of(read, user, user_id)?;
        let (mut stretches, mut receipts) = (Vec::new(), Vec::new());
        for (room, now) in membership::rooms_of(read, user)? {
            let (after, upto) = match now.membership {
                // Their own joining is none.
                Membership::Join => (live_order(came(read, now.position)?), newest),
                // Of a room that they are invited to, somebody hears of the invitation alone.
                Membership::Invite => (live_order(now.position) - 1, newest.min(live_order(now.position))),
                _ => continue,
            };
            receipts.push(ReadUpTo::of(read, room, user)?);
            stretches.push(Stretch { room, after, upto });
        }
        let in_room = |(stretch, upto): (&Stretch, _)| Member {
            all: self,
            read,
            user,
            user_id,
            room: stretch.room,
            upto,
            context: None,
            is_named: false,
        };
        let mut members: Vec<Member<'_>> = stretches.iter().zip(&receipts).map(in_room).collect();
        let mut walk = NewestFirst::new(read, stretches.iter().copied())?;
        let mut page = NotificationPage::default();
        let mut looked_at = 0;
        while let Some(next) = walk.next_order() {
            if page.notifications.len() == limit || looked_at == LOOKED_AT_MAX {
                page.next = Some(next);
                break;
            }
            looked_at += 1;
            let Some(place) = walk.step()? else { break };
            let Some(member) = members.get_mut(place.index) else {
                break;
            };
            let found = look_at(&rules, member, place.order, place.position)?;
            let is_wanted = |found: &Notification| !only_highlights || Verdict::of(&found.actions).highlight;
            page.notifications.extend(found.filter(is_wanted));
        }
        Ok(page)
    }
}

/// The notification that an event gave, if it gave one.
fn look_at(
    rules: &Rules,
    member: &mut Member<'_>,
    order: u64,
    position: Position,
) -> Result<Option<Notification>, ReadError> {
    let bytes = log::known_event(member.read, position)?;
    let row = EventRow::decode(&bytes)?;
    let is_silent = !row.is_visible()
        || row.flags.contains(Flags::REDACTED)
        || row.sender == member.user_id.as_str()
        || is_ignored(rules, &row);
    if is_silent {
        return Ok(None);
    }
    let actions = member.actions(rules, &row, position)?.to_vec();
    if !Verdict::of(&actions).notify {
        return Ok(None);
    }
    let thread = member.thread_of(&row)?;
    let is_read = order <= member.upto.in_thread(thread.as_deref());
    Ok(Some(Notification {
        room: member.room,
        order,
        position,
        bytes,
        actions,
        is_read,
    }))
}

/// The position of the event with which a member came to a room, from its newest membership event back.
fn came(read: &dyn Read, mut position: Position) -> Result<Position, ReadError> {
    for _ in 0..RENAMED_MAX {
        let bytes = log::known_event(read, position)?;
        let Some(older) = EventRow::decode(&bytes)?.replaces.filter(|older| *older < position) else {
            break;
        };
        let bytes = log::known_event(read, older)?;
        if log::membership_in(&EventRow::decode(&bytes)?) != Membership::Join {
            break;
        }
        position = older;
    }
    Ok(position)
}
