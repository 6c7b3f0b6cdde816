//! The rules that find mentions in the text of a message, from before clients said whom they mention.
//!
//! "As of v1.7, this rule is deprecated and should only be enabled if the event does not have an `m.mentions` property", says
//! Matrix 1.16 of each of the three. ruma lists them no more among the server's rules, as version 1.17 has dropped them; it
//! knows them where an event is judged, and skips them for one with that property.

use ruma::UserId;
use ruma::push::{
    ConditionalPushRule, EventMatchConditionData, FlattenedJson, NewPatternedPushRule, PatternedPushRule,
    PushCondition, Ruleset,
};

const BODY: &str = "content.body";
/// What mentions everybody in a room.
const ROOM: &str = "@room";

/// The server's rules for `user_id`: those of ruma, and each of the old ones behind the one that took its place.
pub(crate) fn server_default(user_id: &UserId) -> Ruleset {
    let mut rules = Ruleset::server_default(user_id);
    let mut all = Vec::new();
    for rule in std::mem::take(&mut rules.override_) {
        let old = match rule.rule_id.as_str() {
            ".m.rule.is_user_mention" => Some(contains_display_name(rule.clone())),
            ".m.rule.is_room_mention" => Some(room_notification(rule.clone())),
            _ => None,
        };
        all.push(rule);
        all.extend(old);
    }
    rules.override_ = all.into_iter().collect();
    let actions = ConditionalPushRule::is_user_mention(user_id).actions;
    let name = NewPatternedPushRule::new(
        ".m.rule.contains_user_name".to_owned(),
        user_id.localpart().to_owned(),
        actions,
    );
    let mut contains_user_name = PatternedPushRule::from(name);
    contains_user_name.default = true;
    rules.content.insert(contains_user_name);
    rules
}

/// It does the same as the rule that took its place.
fn contains_display_name(mut rule: ConditionalPushRule) -> ConditionalPushRule {
    rule.rule_id = ".m.rule.contains_display_name".to_owned();
    #[expect(deprecated, reason = "it is what the deprecated rule consists of")]
    let condition = PushCondition::ContainsDisplayName;
    rule.conditions = vec![condition];
    rule
}

/// It asks for the same power as the rule that took its place.
fn room_notification(mut rule: ConditionalPushRule) -> ConditionalPushRule {
    rule.rule_id = ".m.rule.roomnotif".to_owned();
    if let Some(condition) = rule.conditions.first_mut() {
        *condition = PushCondition::EventMatch(EventMatchConditionData::new(BODY.to_owned(), ROOM.to_owned()));
    }
    rule
}

/// Whether the old rules are asked about an event.
pub(crate) fn apply_to(event: &FlattenedJson) -> bool {
    !event.contains_mentions() && event.get_str(BODY).is_some()
}

/// Whether an event that they are asked about may mention the whole room, for which its sender needs the power.
pub(crate) fn may_mention_room(event: &FlattenedJson) -> bool {
    event
        .get_str(BODY)
        .is_some_and(|body| body.to_ascii_lowercase().contains(ROOM))
}
