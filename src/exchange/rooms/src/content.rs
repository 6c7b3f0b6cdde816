//! Contents that the exchange itself writes.

use crate::membership::Membership;
use lamchat_accounts::{profile, user};
use lamchat_rules::{Object, Value};
use lamchat_store::{Read, ReadError};
use ruma::UserId;

/// An object of these members.
pub(crate) fn object<const N: usize>(members: [(&str, Value); N]) -> Object {
    members
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The content of a membership event: what the profile of `target` says goes with an invitation, a join and a knock only.
pub(crate) fn member(
    read: &dyn Read,
    target: &UserId,
    membership: Membership,
    reason: Option<&str>,
) -> Result<Object, ReadError> {
    let mut content = object([("membership", membership.as_str().into())]);
    if let Some(reason) = reason {
        content.insert("reason".to_owned(), reason.into());
    }
    let is_shown = matches!(membership, Membership::Invite | Membership::Join | Membership::Knock);
    if let (true, Some(user)) = (is_shown, user::num(read, target)?) {
        let profile = profile::display(read, user)?;
        if let Some(name) = profile.displayname {
            content.insert("displayname".to_owned(), name.into());
        }
        if let Some(avatar) = profile.avatar_url {
            content.insert("avatar_url".to_owned(), avatar.into());
        }
    }
    Ok(content)
}
