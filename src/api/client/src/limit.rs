//! Rate limits: one bucket table for each kind of request, all behind one switch.

use crate::{ApiError, App};
use lamchat_http::{Rate, RateLimit};

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// Logins from one address.
    LoginByAddress,
    /// Failing logins to one account: the key is the user id.
    LoginByAccount,
    /// New accounts from one address.
    Registration,
    /// Events of one user.
    Message,
    /// Joins, knocks and new rooms of one user.
    Join,
    /// Invites by one user.
    Invite,
    /// Uploads of one user.
    Upload,
    /// Everything else that is dear, by user or address.
    Other,
}

/// The rate of each kind. Each has its own key in the configuration.
#[derive(Debug, Clone)]
pub struct RateSettings {
    /// The one switch for all.
    pub enabled: bool,
    /// See [`Limited::LoginByAddress`].
    pub login_by_address: Rate,
    /// See [`Limited::LoginByAccount`].
    pub login_by_account: Rate,
    /// See [`Limited::Registration`].
    pub registration: Rate,
    /// See [`Limited::Message`].
    pub message: Rate,
    /// See [`Limited::Join`].
    pub join: Rate,
    /// See [`Limited::Invite`].
    pub invite: Rate,
    /// See [`Limited::Upload`].
    pub upload: Rate,
    /// See [`Limited::Other`].
    pub other: Rate,
}

impl Default for RateSettings {
    fn default() -> Self {
        let rate = |per_second, burst| Rate { per_second, burst };
        Self {
            enabled: true,
            login_by_address: rate(0.5, 20),
            login_by_account: rate(0.1, 5),
            registration: rate(0.1, 10),
            message: rate(10.0, 100),
            join: rate(1.0, 30),
            invite: rate(1.0, 30),
            upload: rate(2.0, 50),
            other: rate(10.0, 100),
        }
    }
}

impl RateSettings {
    fn rate(&self, limited: Limited) -> Rate {
        match limited {
            Limited::LoginByAddress => self.login_by_address,
            Limited::LoginByAccount => self.login_by_account,
            Limited::Registration => self.registration,
            Limited::Message => self.message,
            Limited::Join => self.join,
            Limited::Invite => self.invite,
            Limited::Upload => self.upload,
            Limited::Other => self.other,
        }
    }
}

/// The buckets of all kinds.
#[derive(Debug, Default)]
pub struct Limiters {
    login_by_address: RateLimit,
    login_by_account: RateLimit,
    registration: RateLimit,
    message: RateLimit,
    join: RateLimit,
    invite: RateLimit,
    upload: RateLimit,
    other: RateLimit,
}

impl Limiters {
    fn buckets(&self, limited: Limited) -> &RateLimit {
        match limited {
            Limited::LoginByAddress => &self.login_by_address,
            Limited::LoginByAccount => &self.login_by_account,
            Limited::Registration => &self.registration,
            Limited::Message => &self.message,
            Limited::Join => &self.join,
            Limited::Invite => &self.invite,
            Limited::Upload => &self.upload,
            Limited::Other => &self.other,
        }
    }
}

impl App {
    /// Takes one token from the bucket of `key`: a user's number, a user id, an address.
    /// 429 `M_LIMIT_EXCEEDED` when there is none left; always fine while limits are switched off.
    pub fn limit(&self, limited: Limited, key: impl std::hash::Hash) -> Result<(), ApiError> {
        let settings = self.settings.load();
        if !settings.rates.enabled {
            return Ok(());
        }
        let checked = self
            .limiters
            .buckets(limited)
            .check(key, settings.rates.rate(limited), self.now_ms());
        checked.map_err(ApiError::limit_exceeded)
    }

    /// Puts a token back that [`App::limit`] took: of the limits on failures, when there was none.
    pub fn give_back(&self, limited: Limited, key: impl std::hash::Hash) {
        let settings = self.settings.load();
        if settings.rates.enabled {
            self.limiters
                .buckets(limited)
                .give_back(key, settings.rates.rate(limited));
        }
    }
}
