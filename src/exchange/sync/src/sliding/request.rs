//! What a client asks of simplified sliding sync, as MSC4186 writes it.

use serde::Deserialize;
use std::collections::BTreeMap;

/// Most lists and most subscriptions of one request.
pub const LISTS_MAX: usize = 100;
/// Most rooms that one request subscribes to.
pub const SUBSCRIPTIONS_MAX: usize = 1_000;
/// Most parts of one window.
pub const RANGES_MAX: usize = 20;
/// Most pairs of type and state key for one room.
pub const REQUIRED_STATE_MAX: usize = 200;
/// Most events of one room's timeline.
pub const TIMELINE_MAX: usize = 100;

/// The body of a request.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Body {
    /// Names one of several connections of a device.
    #[serde(default)]
    pub conn_id: String,
    /// Comes back in the answer.
    #[serde(default)]
    pub txn_id: Option<String>,
    /// Windows into the sorted rooms.
    #[serde(default)]
    pub lists: BTreeMap<String, List>,
    /// Rooms that are told whether they are in a window or not.
    #[serde(default)]
    pub room_subscriptions: BTreeMap<String, RoomConfig>,
    /// What is told beside rooms.
    #[serde(default)]
    pub extensions: Extensions,
}

impl Body {
    /// Whether it keeps to the limits.
    pub(crate) fn is_bounded(&self) -> bool {
        let configs = self
            .lists
            .values()
            .map(|list| &list.config)
            .chain(self.room_subscriptions.values());
        self.lists.len() <= LISTS_MAX
            && self.room_subscriptions.len() <= SUBSCRIPTIONS_MAX
            && self.lists.values().all(|list| list.ranges.len() <= RANGES_MAX)
            && self.extensions.is_bounded()
            && configs
                .map(|config| config.required_state.len())
                .all(|length| length <= REQUIRED_STATE_MAX)
    }
}

/// A window.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct List {
    /// The first and the last place of each part, both included.
    #[serde(default)]
    pub ranges: Vec<(usize, usize)>,
    /// A single part, as later drafts write it.
    #[serde(default)]
    pub range: Option<(usize, usize)>,
    /// Which rooms.
    #[serde(default)]
    pub filters: Option<Filters>,
    /// What of each room.
    #[serde(flatten)]
    pub config: RoomConfig,
}

/// What is told of a room.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize)]
pub struct RoomConfig {
    /// Types and state keys, with `*`, `$ME`, `$LAZY`.
    #[serde(default)]
    pub required_state: Vec<(String, String)>,
    /// Most events.
    #[serde(default)]
    pub timeline_limit: usize,
}

impl RoomConfig {
    /// What is asked for by two at once.
    pub(crate) fn join(&mut self, other: &Self) {
        self.timeline_limit = self.timeline_limit.max(other.timeline_limit);
        for pair in &other.required_state {
            if !self.required_state.contains(pair) {
                self.required_state.push(pair.clone());
            }
        }
    }
}

/// Which rooms are in a list. Absent: does not matter.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Filters {
    /// Direct chats, by the user's `m.direct`.
    #[serde(default)]
    pub is_dm: Option<bool>,
    /// Rooms with `m.room.encryption`.
    #[serde(default)]
    pub is_encrypted: Option<bool>,
    /// Rooms that the user is invited to.
    #[serde(default)]
    pub is_invite: Option<bool>,
    /// Rooms of one of these types; `null` stands for rooms without one.
    #[serde(default)]
    pub room_types: Option<Vec<Option<String>>>,
    /// Not rooms of these types.
    #[serde(default)]
    pub not_room_types: Vec<Option<String>>,
    /// Rooms whose name holds this, whatever the case.
    #[serde(default)]
    pub room_name_like: Option<String>,
}

/// What is told beside rooms.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Extensions {
    /// Messages to the device.
    #[serde(default)]
    pub to_device: ToDevice,
    /// Device lists and counts of keys.
    #[serde(default)]
    pub e2ee: Extension,
    /// Account data.
    #[serde(default)]
    pub account_data: RoomExtension,
    /// Receipts.
    #[serde(default)]
    pub receipts: RoomExtension,
    /// Typing.
    #[serde(default)]
    pub typing: RoomExtension,
}

impl Extensions {
    fn is_bounded(&self) -> bool {
        let length = |names: &Option<Vec<String>>| names.as_ref().map_or(0, Vec::len);
        [&self.account_data, &self.receipts, &self.typing]
            .into_iter()
            .all(|asked| length(&asked.lists) <= LISTS_MAX && length(&asked.rooms) <= SUBSCRIPTIONS_MAX)
    }
}

/// An extension that is on or off.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct Extension {
    /// Whether it is on.
    #[serde(default)]
    pub enabled: bool,
}

/// An extension that tells of rooms: those of some lists and of some subscriptions. Absent: of all of them; so does `*`.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct RoomExtension {
    /// Whether it is on.
    #[serde(default)]
    pub enabled: bool,
    /// Names of lists.
    #[serde(default)]
    pub lists: Option<Vec<String>>,
    /// Room ids among the subscriptions.
    #[serde(default)]
    pub rooms: Option<Vec<String>>,
}

impl RoomExtension {
    /// Whether it tells of the rooms of a list.
    pub(crate) fn wants_list(&self, name: &str) -> bool {
        names(self.lists.as_deref(), name)
    }

    /// Whether it tells of a room because of its subscription.
    pub(crate) fn wants_subscription(&self, room_id: &str) -> bool {
        names(self.rooms.as_deref(), room_id)
    }
}

fn names(names: Option<&[String]>, name: &str) -> bool {
    names.is_none_or(|names| names.iter().any(|one| one == "*" || one == name))
}

/// The extension for messages to the device: it has a token of its own.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct ToDevice {
    /// Whether it is on.
    #[serde(default)]
    pub enabled: bool,
    /// The `next_batch` of the extension's last answer.
    #[serde(default)]
    pub since: Option<String>,
    /// Most messages.
    #[serde(default)]
    pub limit: Option<usize>,
}
