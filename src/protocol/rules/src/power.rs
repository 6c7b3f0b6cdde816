//! Power levels, for the decisions that are not part of the authorization rules: redacting, aliases, upgrades.

use crate::auth::Refused;
use crate::event::Event;
use crate::version::Version;
use ruma::UserId;
use ruma::events::TimelineEventType;
use ruma::state_res::events::{RoomCreateEvent, RoomPowerLevelsEvent, RoomPowerLevelsIntField};
use std::collections::HashSet;
use std::sync::Arc;

/// How much power somebody has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A number.
    Finite(i64),
    /// More than any number: the creators of rooms of version 12 and later.
    Creator,
}

/// The power levels of a room at one state.
#[derive(Debug)]
pub struct Power {
    version: &'static Version,
    creators: HashSet<ruma::OwnedUserId>,
    levels: Option<RoomPowerLevelsEvent<Arc<Event>>>,
}

impl Power {
    /// From the create event and the power levels event, if there is one.
    pub fn new(version: &'static Version, create: &Event, levels: Option<Arc<Event>>) -> Result<Self, Refused> {
        let creators = RoomCreateEvent::new(create)
            .creators(&version.rules().authorization)
            .map_err(Refused)?;
        Ok(Self {
            version,
            creators,
            levels: levels.map(RoomPowerLevelsEvent::new),
        })
    }

    /// Who created the room: the sender of the create event and, since version 12, the additional creators.
    pub fn creators(&self) -> impl Iterator<Item = &UserId> {
        self.creators.iter().map(|user| &**user)
    }

    /// The level of a user.
    pub fn of(&self, user: &UserId) -> Result<Level, Refused> {
        let is_creator = self.creators.contains(user);
        if is_creator && self.version.has_hashed_room_id() {
            return Ok(Level::Creator);
        }
        match &self.levels {
            Some(levels) => {
                let level = levels
                    .user_power_level(user, &self.version.rules().authorization)
                    .map_err(Refused)?;
                Ok(Level::Finite(level.into()))
            }
            // "If the room contains no m.room.power_levels event, the room's creator has a power level of 100, and all
            // other users have a power level of 0."
            None => Ok(Level::Finite(if is_creator { 100 } else { 0 })),
        }
    }

    /// The level needed to send a state event of a type.
    pub fn to_send_state(&self, event_type: &str) -> Result<Level, Refused> {
        match &self.levels {
            Some(levels) => {
                let event_type = TimelineEventType::from(event_type);
                let level = levels.event_power_level(&event_type, Some(""), &self.version.rules().authorization);
                Ok(Level::Finite(level.map_err(Refused)?.into()))
            }
            None => Ok(Level::Finite(
                RoomPowerLevelsIntField::StateDefault.default_value().into(),
            )),
        }
    }

    /// The level needed to redact other people's events.
    pub fn to_redact(&self) -> Result<Level, Refused> {
        self.field(RoomPowerLevelsIntField::Redact)
    }

    /// The level needed to invite.
    pub fn to_invite(&self) -> Result<Level, Refused> {
        self.field(RoomPowerLevelsIntField::Invite)
    }

    /// The number in a field of the power levels event, or its default: `users_default` and `events_default`.
    pub fn users_and_events_default(&self) -> Result<(i64, i64), Refused> {
        let number = |field| match self.field(field)? {
            Level::Finite(level) => Ok(level),
            Level::Creator => Ok(i64::MAX),
        };
        Ok((
            number(RoomPowerLevelsIntField::UsersDefault)?,
            number(RoomPowerLevelsIntField::EventsDefault)?,
        ))
    }

    fn field(&self, field: RoomPowerLevelsIntField) -> Result<Level, Refused> {
        let level = match &self.levels {
            Some(levels) => levels
                .get_as_int_or_default(field, &self.version.rules().authorization)
                .map_err(Refused)?,
            None => field.default_value(),
        };
        Ok(Level::Finite(level.into()))
    }
}
