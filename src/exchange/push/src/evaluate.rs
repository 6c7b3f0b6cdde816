//! What the push rules say about one event for one member. Pure.

use ruma::push::{Action, FlattenedJson, PushCondition, PushConditionRoomCtx, Ruleset};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// What the rules say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    /// The event counts as a notification.
    pub notify: bool,
    /// And as a highlight.
    pub highlight: bool,
}

impl Verdict {
    /// What a list of actions means.
    pub fn of(actions: &[Action]) -> Self {
        let notify = actions.iter().any(Action::should_notify);
        Self {
            notify,
            highlight: notify && actions.iter().any(Action::is_highlight),
        }
    }
}

/// The verdict of the first rule that matches; none for events of the member itself.
pub fn notify_actions(rules: &Ruleset, event: &FlattenedJson, context: &PushConditionRoomCtx) -> Verdict {
    Verdict::of(actions(rules, event, context))
}

/// The actions of the first rule that matches.
pub fn actions<'r>(rules: &'r Ruleset, event: &FlattenedJson, context: &PushConditionRoomCtx) -> &'r [Action] {
    for rule in rules {
        if ready(rule.applies(event, context)) {
            return rule.actions();
        }
    }
    &[]
}

/// ruma's conditions are async only for subscriptions to threads, which are not used here: the first poll answers.
fn ready(matching: impl Future<Output = bool>) -> bool {
    match pin!(matching).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(matches) => matches,
        Poll::Pending => false,
    }
}

/// What rules of the user's own making ask about a room, beyond what the server's defaults do.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wants {
    /// The member's display name.
    pub display_name: bool,
    /// The power levels.
    pub power_levels: bool,
}

impl Wants {
    pub fn of(rules: &Ruleset) -> Self {
        let mut wants = Self::default();
        for rule in rules.override_.iter().chain(&rules.underride) {
            for condition in &rule.conditions {
                match condition {
                    PushCondition::SenderNotificationPermission(_) => wants.power_levels |= !rule.default,
                    condition => wants.display_name |= !rule.default && condition.kind() == "contains_display_name",
                }
            }
        }
        wants
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::{Verdict, Wants, notify_actions};
    use ruma::push::{FlattenedJson, PushConditionRoomCtx};
    use ruma::serde::Raw;
    use ruma::{room_id, user_id};
    use serde_json::json;

    fn verdict(event: serde_json::Value, members: u32) -> Verdict {
        let me = user_id!("@me:example.org");
        let rules = crate::legacy::server_default(me);
        let wants = Wants::of(&rules);
        assert!(!wants.power_levels && !wants.display_name);
        let context = PushConditionRoomCtx::new(
            room_id!("!r:example.org").to_owned(),
            members.into(),
            me.to_owned(),
            "Me Myself".into(),
        );
        let raw = Raw::<serde_json::Value>::from_json_string(event.to_string()).unwrap();
        notify_actions(&rules, &FlattenedJson::from_raw(&raw), &context)
    }

    #[test]
    fn default_rules() {
        let from = |sender: &str, kind: &str, content: serde_json::Value| {
            verdict(json!({"sender": sender, "type": kind, "content": content}), 3)
        };
        let quiet = Verdict::default();
        let notify = Verdict {
            notify: true,
            highlight: false,
        };
        assert_eq!(
            from(
                "@you:example.org",
                "m.room.message",
                json!({"msgtype": "m.text", "body": "hello"})
            ),
            notify
        );
        assert_eq!(
            from(
                "@you:example.org",
                "m.room.encrypted",
                json!({"algorithm": "m.megolm.v1"})
            ),
            notify
        );
        assert_eq!(
            from("@me:example.org", "m.room.message", json!({"body": "hello"})),
            quiet
        );
        assert_eq!(
            from(
                "@you:example.org",
                "m.room.message",
                json!({"msgtype": "m.notice", "body": "hello"})
            ),
            quiet
        );
        assert_eq!(from("@you:example.org", "m.reaction", json!({})), quiet);
        let highlight = Verdict {
            notify: true,
            highlight: true,
        };
        let mention = json!({"body": "hello", "m.mentions": {"user_ids": ["@me:example.org"]}});
        assert_eq!(from("@you:example.org", "m.room.message", mention), highlight);
        // The text mentions only where the sender did not say whom they mention: by display name (here "Me Myself") and by
        // localpart. For the whole room it takes power, which is not known here.
        for (body, says) in [
            ("hello me myself!", highlight),
            ("hello me", highlight),
            ("hello meme", notify),
            ("hello @room", notify),
        ] {
            let told = |content| from("@you:example.org", "m.room.message", content);
            assert_eq!(told(json!({"body": body})), says, "{body}");
            assert_eq!(told(json!({"body": body, "m.mentions": {}})), notify, "{body}");
        }
    }
}
