//! Authorization ("Authorization rules", per room version).

use crate::canonical::Object;
use crate::event::Event;
use crate::version::Version;
use ruma::EventId;
use ruma::events::StateEventType;
use ruma::state_res;
use std::sync::Arc;

/// The rules do not allow an event; says which one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// The (type, state key) of the state events that must be among the auth events of `event`, where they exist
/// ("Auth events selection"). Refused if the content is not what the type demands.
pub fn auth_types(version: &Version, event: &Event) -> Result<Vec<(String, String)>, Refused> {
    use state_res::Event as _;
    state_res::auth_types_for_event(
        event.event_type(),
        event.sender(),
        event.state_key(),
        state_res::Event::content(event),
        &version.rules().authorization,
    )
    .map(|types| {
        types
            .into_iter()
            .map(|(event_type, key)| (event_type.to_string(), key))
            .collect()
    })
    .map_err(Refused)
}

/// The (type, state key) of the state that [`check`] will ask for: those of [`auth_types`], and the create event.
pub fn needed_state(version: &Version, event: &Event) -> Result<Vec<(String, String)>, Refused> {
    let mut types = auth_types(version, event)?;
    if !types.iter().any(|(event_type, _)| event_type == "m.room.create") {
        types.push(("m.room.create".to_owned(), String::new()));
    }
    Ok(types)
}

/// Format and sizes of a whole PDU in canonical form.
pub fn check_format(version: &Version, pdu: &Object) -> Result<(), Refused> {
    state_res::check_pdu_format(pdu, &version.rules().event_format).map_err(Refused)
}

/// The rules that depend on the event and its auth events only; all there is for `m.room.create`.
/// Once per event; `fetch` finds events by id.
pub fn check_alone(
    version: &Version,
    event: &Event,
    fetch: impl Fn(&EventId) -> Option<Arc<Event>>,
) -> Result<(), Refused> {
    state_res::check_state_independent_auth_rules(&version.rules().authorization, event, fetch).map_err(Refused)
}

/// The rules that depend on a state; `fetch` finds its events by type and state key.
///
/// "Passes authorization rules based on the event's auth events, [...] based on the state before the event, [...] based on
/// the current state": once for each.
pub fn check(
    version: &Version,
    event: &Event,
    fetch: impl Fn(&str, &str) -> Option<Arc<Event>>,
) -> Result<(), Refused> {
    let fetch = |event_type: &StateEventType, key: &str| fetch(&event_type.to_string(), key);
    state_res::check_state_dependent_auth_rules(&version.rules().authorization, event, fetch).map_err(Refused)
}

/// Whether [`check`] looks at nothing but the sender, the type and the state for such events: one answer holds for all
/// events of one sender and type in one state.
pub fn depends_on_type_only(event_type: &str, state_key: Option<&str>) -> bool {
    state_key.is_none() && !matches!(event_type, "m.room.member" | "m.room.power_levels" | "m.room.create")
}
