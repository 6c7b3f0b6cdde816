//! `POST /search`: the texts of events in all rooms that the caller has been in.

mod answer;
#[cfg(test)]
mod tests;

use crate::limit::Limited;
use crate::wire::{body, check_json};
use crate::{ApiError, App, Routes, Session};
use answer::{Answer, Shape};
use http::{Method, StatusCode};
use lamchat_http::{Request, Response, query_value};
use lamchat_rooms::filter::EventFilter;
use lamchat_rooms::membership::{self, Membership};
use lamchat_rooms::newest_first::Stretch;
use lamchat_rooms::search::{self, Found, Group, Keys, Search, Searched, TERM_BYTES_MAX, Token, Words};
use lamchat_rooms::table::live_order;
use lamchat_rooms::view::{Ignored, Reader, View};
use lamchat_rooms::visibility::Standing;
use lamchat_rooms::{Room, room, state};
use lamchat_store::{Read, ReadTxn};
use ruma::api::client::filter::RoomEventFilter;
use serde::Deserialize;
use std::sync::Arc;

/// Results of a page if the client does not say, and the most.
const LIMIT_DEFAULT: usize = 10;
const LIMIT_MAX: usize = 50;
/// Events on each side of a result if the client does not say ("By default, this is `5`"), and the most.
const CONTEXT_DEFAULT: usize = 5;
const CONTEXT_MAX: usize = 20;

/// Adds the endpoints of this file.
pub fn routes(r: &mut Routes) {
    r.raw(Method::POST, "/_matrix/client/v3/search", find);
}

/// The body. ruma's type does not tell an absent `event_context` from an empty one.
#[derive(Deserialize)]
struct Body {
    search_categories: Categories,
}

#[derive(Deserialize)]
struct Categories {
    room_events: Option<Criteria>,
}

#[derive(Deserialize)]
struct Criteria {
    search_term: String,
    keys: Option<Vec<String>>,
    #[serde(default)]
    filter: RoomEventFilter,
    order_by: Option<String>,
    event_context: Option<EventContext>,
    #[serde(default)]
    include_state: bool,
    #[serde(default)]
    groupings: Groupings,
}

#[derive(Deserialize)]
struct EventContext {
    before_limit: Option<u64>,
    after_limit: Option<u64>,
    #[serde(default)]
    include_profile: bool,
}

#[derive(Default, Deserialize)]
struct Groupings {
    #[serde(default)]
    group_by: Vec<Grouping>,
}

#[derive(Deserialize)]
struct Grouping {
    key: String,
}

/// What is asked, checked.
struct Asked {
    words: Words,
    keys: Keys,
    filter: EventFilter,
    /// Whether the best comes first, rather than the newest.
    is_ranked: bool,
    limit: usize,
    from: Option<Token>,
    shape: Shape,
}

async fn find(app: Arc<App>, session: Session, mut request: Request) -> Result<Response, ApiError> {
    app.limit(Limited::Other, session.user)?;
    let bytes = body(&mut request).await?;
    check_json(&bytes)?;
    let wish: Body = serde_json::from_slice(&bytes)?;
    let from = query_value(request.query(), "next_batch").filter(|token| !token.is_empty());
    let from = from.map(|token| Token::parse(&token, app.store.epoch())).transpose()?;
    let Some(criteria) = wish.search_categories.room_events else {
        return Ok(Response::json(StatusCode::OK, br#"{"search_categories":{}}"#.to_vec()));
    };
    let asked = check(criteria, from)?;
    // The semaphore is never closed, so this waits until it is our turn.
    let permit = app.searches.clone().acquire_owned().await.map_err(ApiError::internal)?;
    let out = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        write(&app, &session, &asked)
    });
    Ok(Response::json(StatusCode::OK, out.await.map_err(ApiError::internal)??))
}

fn check(criteria: Criteria, from: Option<Token>) -> Result<Asked, ApiError> {
    if criteria.search_term.len() > TERM_BYTES_MAX {
        return Err(ApiError::invalid_param(format!(
            "A search term has at most {TERM_BYTES_MAX} bytes"
        )));
    }
    let mut keys = Keys {
        body: criteria.keys.is_none(),
        name: criteria.keys.is_none(),
        topic: criteria.keys.is_none(),
    };
    for key in criteria.keys.iter().flatten() {
        match key.as_str() {
            "content.body" => keys.body = true,
            "content.name" => keys.name = true,
            "content.topic" => keys.topic = true,
            _ => {
                return Err(ApiError::invalid_param(
                    "keys are content.body, content.name and content.topic",
                ));
            }
        }
    }
    // "The default ordering is `rank`."
    let is_ranked = match criteria.order_by.as_deref() {
        None | Some("rank") => true,
        Some("recent") => false,
        Some(_) => return Err(ApiError::invalid_param("order_by is rank or recent")),
    };
    let mut shape = Shape {
        context: criteria.event_context.map(|context| {
            let limit = |wish: Option<u64>| {
                wish.map_or(CONTEXT_DEFAULT, |limit| {
                    usize::try_from(limit).unwrap_or(CONTEXT_MAX).min(CONTEXT_MAX)
                })
            };
            answer::Around {
                before: limit(context.before_limit),
                after: limit(context.after_limit),
                with_profiles: context.include_profile,
            }
        }),
        with_state: criteria.include_state,
        by_room: false,
        by_sender: false,
    };
    for grouping in &criteria.groupings.group_by {
        match grouping.key.as_str() {
            "room_id" => shape.by_room = true,
            "sender" => shape.by_sender = true,
            _ => return Err(ApiError::invalid_param("Results are grouped by room_id or sender")),
        }
    }
    let filter = EventFilter::of_room(&criteria.filter);
    Ok(Asked {
        words: Words::new(&criteria.search_term),
        keys,
        limit: filter.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX),
        filter,
        is_ranked,
        from,
        shape,
    })
}

/// A room that the caller may search.
struct Place {
    room: Arc<Room>,
    standing: Standing,
    stretch: Stretch,
}

/// "all rooms that the user has been in, including those that they have left"
fn places(read: &ReadTxn, session: &Session, asked: &Asked) -> Result<Vec<Place>, ApiError> {
    let newest = asked
        .from
        .map_or(u64::MAX, |from| from.upto)
        .min(live_order(read.position()));
    let only = match asked.from.and_then(|from| from.group) {
        Some(Group::Room(room)) => Some(room),
        _ => None,
    };
    let mut places = Vec::new();
    for (num, member) in membership::rooms_of(read, session.user)? {
        if member.forgotten
            || !matches!(
                member.membership,
                Membership::Join | Membership::Leave | Membership::Ban
            )
            || only.is_some_and(|only| only != num.0)
            || state::is_encrypted(read, num)?
        {
            continue;
        }
        let room = room::by_num(read, num)?;
        if !(asked.filter.rooms.is_all() || asked.filter.allows_room(&room.id)) {
            continue;
        }
        let standing = Standing::of(read, session.user, num)?;
        if standing.last_join.is_none() {
            continue;
        }
        let horizon = standing.horizon(read, num)?.map_or(u64::MAX, live_order);
        let stretch = Stretch {
            room: num,
            after: 0,
            upto: newest.min(horizon),
        };
        places.push(Place {
            room,
            standing,
            stretch,
        });
    }
    Ok(places)
}

fn write(app: &App, session: &Session, asked: &Asked) -> Result<Vec<u8>, ApiError> {
    let read = app.store.read();
    let ignored = Ignored::of(&read, session.user)?;
    let reader = Reader {
        user: session.user,
        user_id: &session.user_id,
        device: session.device,
        now_ms: app.now_ms(),
        ignored: &ignored,
    };
    let places = if asked.words.as_slice().is_empty() {
        Vec::new()
    } else {
        places(&read, session, asked)?
    };
    let mut rooms: Vec<Searched<'_>> = places
        .iter()
        .map(|place| Searched {
            stretch: place.stretch,
            view: View::new(
                &read,
                place.room.num,
                Some(place.room.id.as_str()),
                reader,
                place.standing,
            ),
        })
        .collect();
    let sender = match asked.from.and_then(|from| from.group) {
        Some(Group::Sender(user)) => lamchat_accounts::user::id(&read, lamchat_base::UserNum(user))?,
        _ => None,
    };
    let skip = asked.from.map_or(0, |from| from.skip);
    let wanted = Search {
        words: &asked.words,
        keys: asked.keys,
        filter: &asked.filter,
        sender: sender.as_ref().map(|sender| sender.as_str()),
        enough: (!asked.is_ranked).then(|| skip.saturating_add(asked.limit)),
    };
    let mut found = search::search(&read, &mut rooms, &wanted)?;
    if asked.is_ranked {
        rank(&mut found);
    }
    Answer {
        app,
        read: &read,
        asked,
        places: &places,
        rooms,
        upto: asked.from.map_or(live_order(read.position()), |from| from.upto),
        skip,
        found,
    }
    .write()
}

/// The best first; of those that fit as well, the newest.
fn rank(found: &mut Found) {
    found.hits.sort_by(|one, other| {
        other
            .rank
            .total_cmp(&one.rank)
            .then(other.entry.order.cmp(&one.entry.order))
    });
}
