//! Registration tokens: who has one may make an account (Matrix 1.16, "Token-authenticated registration").
//!
//! Sessions of user-interactive authentication that have shown a token and did not finish yet count as *pending*;
//! they live in memory ([`crate::UiaSessions::pending`]). What decides is [`consume`], in the commit that makes the
//! account.

use lamchat_accounts::account;
use lamchat_base::Entropy;
use lamchat_store::{KeyRange, Order, Read, ReadError, ReadExt, Table, WriteTxn};

/// token, as text → the token as JSON.
pub(crate) const REGISTRATION_TOKEN: Table = Table::new(40, "identity.registration_token");

/// "The token … must be a maximum of 64 characters" (Matrix 1.16, opaque identifier of a token).
pub const TOKEN_CHARS_MAX: usize = 64;
/// Most tokens that are kept; expired and used ones make room.
pub const TOKENS_MAX: usize = 10_000;
/// Characters of a token that the exchange makes up: 142 bits.
const MADE_UP_CHARS: usize = 24;

/// A token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistrationToken {
    /// What people type.
    pub token: String,
    /// How many accounts it may make; `None`: any number.
    pub uses_allowed: Option<u32>,
    /// How many it has made.
    pub completed: u32,
    /// When it ends, ms; `None`: never.
    pub expires_at_ms: Option<u64>,
    /// When it was made, ms.
    pub created_ms: u64,
    /// Whether the very first account becomes administrator when it is made with this token.
    pub is_for_first_admin: bool,
}

impl RegistrationToken {
    /// Whether it can make one more account while `pending` others are on their way.
    pub fn is_valid(&self, pending: u32, now_ms: u64) -> bool {
        self.expires_at_ms.is_none_or(|end| now_ms < end)
            && self
                .uses_allowed
                .is_none_or(|uses| self.completed.saturating_add(pending) < uses)
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
struct TokenRow {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    uses_allowed: Option<u32>,
    #[serde(default)]
    completed: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at_ms: Option<u64>,
    #[serde(default)]
    created_ms: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    is_for_first_admin: bool,
}

impl TokenRow {
    fn into_token(self, token: &str) -> RegistrationToken {
        RegistrationToken {
            token: token.to_owned(),
            uses_allowed: self.uses_allowed,
            completed: self.completed,
            expires_at_ms: self.expires_at_ms,
            created_ms: self.created_ms,
            is_for_first_admin: self.is_for_first_admin,
        }
    }
}

/// What [`create`] needs to know.
#[derive(Debug, Clone)]
pub struct NewRegistrationToken {
    /// What people type; [`generate`] makes one up.
    pub token: String,
    /// How many accounts it may make; `None`: any number.
    pub uses_allowed: Option<u32>,
    /// When it ends, ms; `None`: never.
    pub expires_at_ms: Option<u64>,
    /// The time.
    pub now_ms: u64,
}

/// Why a token was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateTokenError {
    /// The text is empty, too long or has other characters: `M_INVALID_PARAM`.
    #[error("a registration token has 1 to {TOKEN_CHARS_MAX} characters of A-Z, a-z, 0-9, '.', '_', '~' and '-'")]
    Malformed,
    /// There is such a token: `M_INVALID_PARAM`.
    #[error("there is such a registration token already")]
    Exists,
    /// There are [`TOKENS_MAX`] tokens that are still valid.
    #[error("there are too many registration tokens; revoke some first")]
    TooMany,
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// A random token.
pub fn generate(entropy: &dyn Entropy) -> String {
    entropy.alphanumeric(MADE_UP_CHARS)
}

/// Makes a token.
pub fn create(txn: &mut WriteTxn<'_>, new: NewRegistrationToken) -> Result<RegistrationToken, CreateTokenError> {
    // "The token … consists only of characters matched by the regex [A-Za-z0-9._~-]" (Matrix 1.16)
    let is_well_formed = (1..=TOKEN_CHARS_MAX).contains(&new.token.len())
        && new
            .token
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._~-".contains(&byte));
    if !is_well_formed {
        return Err(CreateTokenError::Malformed);
    }
    if load(txn, &new.token)?.is_some() {
        return Err(CreateTokenError::Exists);
    }
    let tokens = all(txn)?;
    if tokens.len() >= TOKENS_MAX {
        let (valid, over): (Vec<_>, Vec<_>) = tokens.into_iter().partition(|token| token.is_valid(0, new.now_ms));
        if valid.len() >= TOKENS_MAX {
            return Err(CreateTokenError::TooMany);
        }
        for token in over {
            txn.delete(REGISTRATION_TOKEN, token.token.as_bytes());
        }
    }
    let row = TokenRow {
        uses_allowed: new.uses_allowed,
        completed: 0,
        expires_at_ms: new.expires_at_ms,
        created_ms: new.now_ms,
        is_for_first_admin: false,
    };
    txn.put_json(REGISTRATION_TOKEN, new.token.as_bytes(), &row)?;
    Ok(row.into_token(&new.token))
}

/// The one-time token for the first account, who becomes administrator: kept from an earlier start, or stored now
/// under the name `fresh`. `None` as soon as there is an account.
pub fn for_first_admin(
    txn: &mut WriteTxn<'_>,
    fresh: &str,
    now_ms: u64,
) -> Result<Option<RegistrationToken>, ReadError> {
    let kept = all(txn)?.into_iter().find(|token| token.is_for_first_admin);
    if !account::is_empty(txn)? {
        // Somebody was added on another way; the token must not lie around.
        if let Some(token) = kept {
            txn.delete(REGISTRATION_TOKEN, token.token.as_bytes());
        }
        return Ok(None);
    }
    if kept.is_some() {
        return Ok(kept);
    }
    let row = TokenRow {
        uses_allowed: Some(1),
        completed: 0,
        expires_at_ms: None,
        created_ms: now_ms,
        is_for_first_admin: true,
    };
    txn.put_json(REGISTRATION_TOKEN, fresh.as_bytes(), &row)?;
    Ok(Some(row.into_token(fresh)))
}

/// One token.
pub fn one(read: &dyn Read, token: &str) -> Result<Option<RegistrationToken>, ReadError> {
    Ok(load(read, token)?.map(|row| row.into_token(token)))
}

/// All tokens, used ones and expired ones too.
pub fn all(read: &dyn Read) -> Result<Vec<RegistrationToken>, ReadError> {
    let mut tokens = Vec::new();
    for (key, value) in read.rows(REGISTRATION_TOKEN, &KeyRange::all(), Order::Ascending, usize::MAX)? {
        let token = std::str::from_utf8(&key).map_err(|_| malformed("a key that is not UTF-8"))?;
        let row: TokenRow = parse(&value)?;
        tokens.push(row.into_token(token));
    }
    Ok(tokens)
}

/// Removes a token; answers whether it was there.
pub fn revoke(txn: &mut WriteTxn<'_>, token: &str) -> Result<bool, ReadError> {
    let was_there = load(txn, token)?.is_some();
    txn.delete(REGISTRATION_TOKEN, token.as_bytes());
    Ok(was_there)
}

/// What a token gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Consumed {
    /// Whether the account becomes administrator.
    pub makes_admin: bool,
}

/// Why a token gave nothing.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeTokenError {
    /// It was revoked, has expired, or has made all its accounts: `M_FORBIDDEN`.
    #[error("the registration token is not valid any more")]
    Invalid,
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Counts one use. Belongs into the write that makes the account, before it does.
pub fn consume(txn: &mut WriteTxn<'_>, token: &str, now_ms: u64) -> Result<Consumed, ConsumeTokenError> {
    let mut row = load(txn, token)?.ok_or(ConsumeTokenError::Invalid)?;
    let makes_admin = row.is_for_first_admin && account::is_empty(txn)?;
    row.completed = row.completed.saturating_add(1);
    // The row counts this use already, so it was valid if what it counts is allowed.
    let is_allowed =
        row.uses_allowed.is_none_or(|uses| row.completed <= uses) && row.expires_at_ms.is_none_or(|end| now_ms < end);
    if !is_allowed {
        return Err(ConsumeTokenError::Invalid);
    }
    if row.is_for_first_admin {
        txn.delete(REGISTRATION_TOKEN, token.as_bytes());
    } else {
        txn.put_json(REGISTRATION_TOKEN, token.as_bytes(), &row)?;
    }
    Ok(Consumed { makes_admin })
}

fn load(read: &dyn Read, token: &str) -> Result<Option<TokenRow>, ReadError> {
    if token.len() > TOKEN_CHARS_MAX {
        return Ok(None);
    }
    read.get_json(REGISTRATION_TOKEN, token.as_bytes())
}

fn parse(value: &[u8]) -> Result<TokenRow, ReadError> {
    serde_json::from_slice(value).map_err(|error| malformed(&error.to_string()))
}

fn malformed(detail: &str) -> ReadError {
    ReadError::Malformed {
        table: REGISTRATION_TOKEN.name,
        detail: detail.to_owned(),
    }
}

#[cfg(test)]
mod tests;
