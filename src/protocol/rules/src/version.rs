//! The room versions that this exchange speaks, 6 to 12, and what differs between them.
//!
//! Version 5 and earlier have no canonical JSON rules or another state resolution, and are not offered.

use ruma::room_version_rules::RoomVersionRules;

/// A room version.
#[derive(Debug)]
pub struct Version {
    id: &'static str,
    rules: RoomVersionRules,
}

/// All versions, oldest first. All of them are stable.
static VERSIONS: [Version; 7] = [
    Version {
        id: "6",
        rules: RoomVersionRules::V6,
    },
    Version {
        id: "7",
        rules: RoomVersionRules::V7,
    },
    Version {
        id: "8",
        rules: RoomVersionRules::V8,
    },
    Version {
        id: "9",
        rules: RoomVersionRules::V9,
    },
    Version {
        id: "10",
        rules: RoomVersionRules::V10,
    },
    Version {
        id: "11",
        rules: RoomVersionRules::V11,
    },
    Version {
        id: "12",
        rules: RoomVersionRules::V12,
    },
];

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for Version {}

impl Version {
    /// The version with this id, such as `"12"`; `None` if it is not supported.
    pub fn find(id: &str) -> Option<&'static Self> {
        VERSIONS.iter().find(|version| version.id == id)
    }

    /// All supported versions, oldest first.
    pub fn all() -> &'static [Self] {
        &VERSIONS
    }

    /// The id, such as `"12"`.
    pub fn id(&self) -> &'static str {
        self.id
    }

    /// Whether the specification calls it stable ("Room versions", "Complete list of room versions").
    pub fn is_stable(&self) -> bool {
        true
    }

    /// Whether one can knock (7 and later).
    pub fn has_knocking(&self) -> bool {
        self.rules.authorization.knocking
    }

    /// Whether there is the join rule `restricted` (8 and later).
    pub fn has_restricted(&self) -> bool {
        self.rules.authorization.restricted_join_rule
    }

    /// Whether there is the join rule `knock_restricted` (10 and later).
    pub fn has_knock_restricted(&self) -> bool {
        self.rules.authorization.knock_restricted_join_rule
    }

    /// Whether power levels must be integers, not strings of digits (10 and later).
    pub fn has_integer_power_levels(&self) -> bool {
        self.rules.authorization.integer_power_levels
    }

    /// Whether the content of `m.room.create` names the creator (before 11).
    pub fn has_creator_in_content(&self) -> bool {
        !self.rules.authorization.use_room_create_sender
    }

    /// Whether `redacts` is part of a redaction's content rather than of the event (11 and later).
    pub fn has_redacts_in_content(&self) -> bool {
        self.rules.redaction.content_field_redacts
    }

    /// Whether the room id is the hash of the create event, and creators have infinite power (12 and later).
    pub fn has_hashed_room_id(&self) -> bool {
        self.rules.authorization.room_create_event_id_as_room_id
    }

    pub(crate) fn rules(&self) -> &RoomVersionRules {
        &self.rules
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::Version;

    #[test]
    fn differences_start_where_the_specification_says() {
        let flags = |id| {
            let v = Version::find(id).unwrap();
            [
                v.has_knocking(),
                v.has_restricted(),
                v.has_knock_restricted(),
                v.has_integer_power_levels(),
                !v.has_creator_in_content(),
                v.has_redacts_in_content(),
                v.has_hashed_room_id(),
            ]
        };
        assert_eq!(flags("6"), [false; 7]);
        assert_eq!(flags("7"), [true, false, false, false, false, false, false]);
        assert_eq!(flags("9"), [true, true, false, false, false, false, false]);
        assert_eq!(flags("10"), [true, true, true, true, false, false, false]);
        assert_eq!(flags("11"), [true, true, true, true, true, true, false]);
        assert_eq!(flags("12"), [true; 7]);
        assert_eq!(Version::find("5"), None);
    }
}
