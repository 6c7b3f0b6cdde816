//! A user's push rules, kept as the account data `m.push_rules` so that `/sync` shows their changes.
//!
//! Nothing is stored for a user who never changed a rule: the server's default rules stand for it. Rules that are
//! stored are brought up to date with the defaults whenever they are read.

use lamchat_accounts::account_data::{self, PutAccountDataError, Scope};
use lamchat_base::UserNum;
use lamchat_store::{Bytes, CommitError, Read, ReadError, WriteTxn};
use ruma::push::{
    Action, InsertPushRuleError, NewConditionalPushRule, NewPushRule, NewSimplePushRule, PushCondition,
    RemovePushRuleError, RuleKind, Ruleset,
};
use ruma::{RoomId, UserId};
use serde_json::Value;

/// The type of the account data.
pub const ACCOUNT_DATA_TYPE: &str = "m.push_rules";
/// Largest rules of a user, as JSON.
pub const RULES_BYTES_MAX: usize = 256 * 1024;
/// Longest id of a rule that users make.
pub const RULE_ID_BYTES_MAX: usize = 512;

/// Why a change of push rules was refused.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// There is no such rule.
    #[error("there is no such push rule")]
    NotFound,
    /// The rule cannot be put there.
    #[error(transparent)]
    Insert(#[from] InsertPushRuleError),
    /// A rule of the server cannot be deleted.
    #[error("the server's own push rules cannot be deleted, only disabled")]
    ServerDefault,
    /// All rules together exceed [`RULES_BYTES_MAX`], or the id [`RULE_ID_BYTES_MAX`].
    #[error("too many push rules, or a rule that is too large")]
    TooLarge,
    /// They could not be stored as account data.
    #[error(transparent)]
    AccountData(#[from] PutAccountDataError),
    /// Reading failed.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The commit failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// The rules of a user, up to date with the defaults.
pub fn of(read: &dyn Read, user: UserNum, user_id: &UserId) -> Result<Ruleset, ReadError> {
    parse(stored(read, user)?.as_deref(), user_id)
}

/// What is stored, if anything: compare it to know whether rules have changed.
pub(crate) fn stored(read: &dyn Read, user: UserNum) -> Result<Option<Bytes>, ReadError> {
    account_data::content(read, user, Scope::Global, ACCOUNT_DATA_TYPE)
}

/// Rules from what is stored.
pub(crate) fn parse(stored: Option<&[u8]>, user_id: &UserId) -> Result<Ruleset, ReadError> {
    #[derive(serde::Deserialize)]
    struct Content {
        global: Ruleset,
    }
    let defaults = crate::legacy::server_default(user_id);
    let Some(bytes) = stored else { return Ok(defaults) };
    let Content { mut global } = serde_json::from_slice(bytes).map_err(|error| ReadError::Malformed {
        table: "accounts.account_data",
        detail: error.to_string(),
    })?;
    global.update_with_server_default(defaults);
    Ok(global)
}

/// The content of the account data event: `{"global": …}` with all five kinds.
///
/// An initial `/sync` shows it even if nothing is stored; later ones show it when it is among the changes of account
/// data, as it is then.
pub fn content(ruleset: &Ruleset) -> Result<Value, RuleError> {
    let mut global = serde_json::to_value(ruleset).map_err(malformed)?;
    if let Some(kinds) = global.as_object_mut() {
        // ruma leaves out kinds without rules; clients iterate over all five.
        for kind in ["override", "content", "room", "sender", "underride"] {
            kinds.entry(kind).or_insert_with(|| Value::Array(Vec::new()));
        }
    }
    Ok(serde_json::json!({ "global": global }))
}

/// [`content`] of a user's rules as JSON bytes, for an initial `/sync`.
pub fn account_data_content(read: &dyn Read, user: UserNum, user_id: &UserId) -> Result<Bytes, ReadError> {
    let content = content(&of(read, user, user_id)?).map_err(|error| match error {
        RuleError::Read(error) => error,
        other => ReadError::Malformed {
            table: "accounts.account_data",
            detail: other.to_string(),
        },
    })?;
    Ok(Bytes::from(content.to_string()))
}

/// Adds or changes a rule of the user's own.
///
/// "`after`: makes the new rule the next-less important rule relative to the given user defined rule. If both are
/// provided, the new or updated rule must be the next most important rule with respect to the rule identified by
/// `before`."
pub fn put(
    txn: &mut WriteTxn<'_>,
    user: UserNum,
    user_id: &UserId,
    rule: NewPushRule,
    after: Option<&str>,
    before: Option<&str>,
) -> Result<(), RuleError> {
    if rule.rule_id().len() > RULE_ID_BYTES_MAX {
        return Err(RuleError::TooLarge);
    }
    change(txn, user, user_id, |rules| Ok(rules.insert(rule, after, before)?))
}

/// Deletes a rule of the user's own.
pub fn delete(
    txn: &mut WriteTxn<'_>,
    user: UserNum,
    user_id: &UserId,
    kind: RuleKind,
    rule_id: &str,
) -> Result<(), RuleError> {
    change(txn, user, user_id, |rules| {
        rules.remove(kind, rule_id).map_err(|error| match error {
            RemovePushRuleError::ServerDefault => RuleError::ServerDefault,
            _ => RuleError::NotFound,
        })
    })
}

/// Switches a rule on or off; the server's own too.
pub fn set_enabled(
    txn: &mut WriteTxn<'_>,
    user: UserNum,
    user_id: &UserId,
    kind: RuleKind,
    rule_id: &str,
    enabled: bool,
) -> Result<(), RuleError> {
    change(txn, user, user_id, |rules| {
        rules
            .set_enabled(kind, rule_id, enabled)
            .map_err(|_| RuleError::NotFound)
    })
}

/// Changes the actions of a rule; of the server's own too.
pub fn set_actions(
    txn: &mut WriteTxn<'_>,
    user: UserNum,
    user_id: &UserId,
    kind: RuleKind,
    rule_id: &str,
    actions: Vec<Action>,
) -> Result<(), RuleError> {
    change(txn, user, user_id, |rules| {
        rules
            .set_actions(kind, rule_id, actions)
            .map_err(|_| RuleError::NotFound)
    })
}

/// Makes for the room `new` what the user made for `old`: the rule about all of the room, and the one that mutes it, which
/// clients put above all others and name after it. What is there for `new` stays.
pub fn copy_room(
    txn: &mut WriteTxn<'_>,
    user: UserNum,
    user_id: &UserId,
    old: &RoomId,
    new: &RoomId,
) -> Result<(), RuleError> {
    let rules = of(txn, user, user_id)?;
    let of_room = rules
        .room
        .get(old.as_str())
        .filter(|_| rules.room.get(new.as_str()).is_none())
        .cloned();
    let muting = rules
        .override_
        .get(old.as_str())
        .filter(|_| rules.override_.get(new.as_str()).is_none())
        .cloned();
    if of_room.is_none() && muting.is_none() {
        return Ok(());
    }
    change(txn, user, user_id, |rules| {
        if let Some(rule) = of_room {
            rules.insert(
                NewPushRule::Room(NewSimplePushRule::new(new.to_owned(), rule.actions)),
                None,
                None,
            )?;
            rules
                .set_enabled(RuleKind::Room, new, rule.enabled)
                .map_err(|_| RuleError::NotFound)?;
        }
        if let Some(rule) = muting {
            let conditions = rule.conditions.into_iter().map(|condition| match condition {
                PushCondition::EventMatch(mut condition) if condition.pattern == old.as_str() => {
                    condition.pattern = new.to_string();
                    PushCondition::EventMatch(condition)
                }
                condition => condition,
            });
            let copy = NewConditionalPushRule::new(new.to_string(), conditions.collect(), rule.actions);
            rules.insert(NewPushRule::Override(copy), None, None)?;
            rules
                .set_enabled(RuleKind::Override, new, rule.enabled)
                .map_err(|_| RuleError::NotFound)?;
        }
        Ok(())
    })
}

fn change(
    txn: &mut WriteTxn<'_>,
    user: UserNum,
    user_id: &UserId,
    change: impl FnOnce(&mut Ruleset) -> Result<(), RuleError>,
) -> Result<(), RuleError> {
    let mut rules = of(txn, user, user_id)?;
    change(&mut rules)?;
    let content = content(&rules)?.to_string();
    if content.len() > RULES_BYTES_MAX {
        return Err(RuleError::TooLarge);
    }
    account_data::put(txn, user, Scope::Global, ACCOUNT_DATA_TYPE, content.as_bytes())?;
    Ok(())
}

fn malformed(error: serde_json::Error) -> RuleError {
    RuleError::Read(ReadError::Malformed {
        table: "accounts.account_data",
        detail: error.to_string(),
    })
}

#[cfg(test)]
mod tests;
