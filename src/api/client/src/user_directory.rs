//! Finding users: those who share a room with the caller, and the members of public rooms.

use crate::limit::Limited;
use crate::{ApiError, App, Routes, Session};
use lamchat_accounts::{profile, user};
use lamchat_base::{RoomNum, UserNum};
use lamchat_connections::{Reach, may_reach};
use lamchat_rooms::event::EventRow;
use lamchat_rooms::membership::{self, Membership};
use lamchat_rooms::visibility::History;
use lamchat_rooms::{directory, log, room, state};
use lamchat_store::{Read, ReadError};
use ruma::UserId;
use ruma::api::client::user_directory::search_users::v3::{Request, Response, User};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Most users that one search looks at.
const USERS_MAX: usize = 10_000;
/// Most rooms that one search looks at to find public ones.
const ROOMS_MAX: usize = 2_000;
/// Most results, whatever the client asks for.
const RESULTS_MAX: usize = 50;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.session::<Request>(search);
}

async fn search(app: Arc<App>, session: Session, request: Request) -> Result<Response, ApiError> {
    app.limit(Limited::Other, session.user)?;
    let limit = usize::try_from(u64::from(request.limit))
        .unwrap_or(RESULTS_MAX)
        .min(RESULTS_MAX);
    let read = app.store.read();
    // A search in many rooms takes milliseconds: not on a thread that carries messages.
    let searched = tokio::task::spawn_blocking(move || find(&read, session.user, &request.search_term, limit)).await;
    searched.map_err(ApiError::internal)?
}

fn find(read: &dyn Read, searcher: UserNum, term: &str, limit: usize) -> Result<Response, ApiError> {
    let term = term.trim().to_lowercase();
    let mut found = Vec::new();
    if term.is_empty() {
        return Ok(Response::new(Vec::new(), false));
    }
    for candidate in candidates(read, searcher)? {
        if !may_reach(searcher, candidate, Reach::Profile) {
            continue;
        }
        let Some(user_id) = user::id(read, candidate)? else {
            continue;
        };
        let profile = profile::display(read, candidate)?;
        let Some(fit) = Fit::of(&user_id, profile.displayname.as_deref(), &term) else {
            continue;
        };
        let has_no_profile = profile.displayname.is_none() && profile.avatar_url.is_none();
        let mut shown = User::new(user_id);
        shown.display_name = profile.displayname;
        shown.avatar_url = profile.avatar_url.map(Into::into);
        found.push(((fit, has_no_profile), shown));
    }
    // "Ordered by rank and then whether or not profile info is available." Who shares a room stays before others.
    found.sort_by_key(|(rank, _)| *rank);
    // "limited: Indicates if the result list has been truncated by the limit."
    let is_limited = found.len() > limit;
    found.truncate(limit);
    Ok(Response::new(
        found.into_iter().map(|(_, shown)| shown).collect(),
        is_limited,
    ))
}

/// How well somebody fits a term; the best comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// It is their id, their id without the server, or their name.
    Whole,
    /// Their id or a word of their name begins with it.
    Beginning,
    /// It is somewhere in there.
    Part,
}

impl Fit {
    /// "The search is performed case-insensitively on user IDs and display names". `term` is in small letters.
    fn of(user_id: &UserId, name: Option<&str>, term: &str) -> Option<Self> {
        let id = user_id.as_str().to_lowercase();
        let localpart = user_id.localpart().to_lowercase();
        let name = name.unwrap_or_default().to_lowercase();
        if id == term || localpart == term || name == term {
            Some(Self::Whole)
        } else if id.starts_with(term)
            || localpart.starts_with(term)
            || name.starts_with(term)
            || name.split_whitespace().any(|word| word.starts_with(term))
        {
            Some(Self::Beginning)
        } else if id.contains(term) || name.contains(term) {
            Some(Self::Part)
        } else {
            None
        }
    }
}

/// Whom the searcher may find: those who share a room first.
fn candidates(read: &dyn Read, searcher: UserNum) -> Result<Vec<UserNum>, ReadError> {
    let mut seen = BTreeSet::from([searcher]);
    let mut found = Vec::new();
    let shared = membership::joined_rooms(read, searcher)?;
    for room in shared {
        add(read, room, &mut seen, &mut found)?;
    }
    for room in room::all(read)?.into_iter().take(ROOMS_MAX) {
        if found.len() < USERS_MAX && is_public(read, room)? {
            add(read, room, &mut seen, &mut found)?;
        }
    }
    Ok(found)
}

fn add(
    read: &dyn Read,
    room: RoomNum,
    seen: &mut BTreeSet<UserNum>,
    found: &mut Vec<UserNum>,
) -> Result<(), ReadError> {
    if found.len() < USERS_MAX {
        let members = membership::members(read, room, Membership::Join, USERS_MAX)?;
        found.extend(members.into_iter().filter(|member| seen.insert(*member)));
        found.truncate(USERS_MAX);
    }
    Ok(())
}

/// Whether everybody may join a room or read in it, or finds it in the directory.
fn is_public(read: &dyn Read, room: RoomNum) -> Result<bool, ReadError> {
    #[derive(Deserialize)]
    struct JoinRules<'a> {
        #[serde(borrow)]
        join_rule: std::borrow::Cow<'a, str>,
    }
    if directory::is_published(read, room)? || History::now(read, room)? == History::WorldReadable {
        return Ok(true);
    }
    let Some(position) = state::current(read, room, "m.room.join_rules", "")? else {
        return Ok(false);
    };
    let row = log::known_event(read, position)?;
    // Another server may have sent rules in any form; what is none is not public.
    Ok(serde_json::from_str::<JoinRules<'_>>(EventRow::decode(&row)?.content)
        .is_ok_and(|rules| rules.join_rule == "public"))
}

#[cfg(test)]
mod tests;
