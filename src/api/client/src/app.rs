//! What handlers are given: the exchange's parts, wired once in `serve.rs`, and the settings that can be reloaded.

use crate::limit::{Limiters, RateSettings};
use arc_swap::ArcSwap;
use lamchat_accounts::presence::Presences;
use lamchat_base::{Clock, Entropy};
use lamchat_identity::{LoginTokens, Passwords, UiaSessions};
use lamchat_media::Media;
use lamchat_rooms::Rooms;
use lamchat_rooms::delayed::DelayedEvents;
use lamchat_store::Store;
use ruma::{OwnedServerName, OwnedUserId, RoomVersionId};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::sync::Semaphore;

/// The exchange as the client API sees it. Made once, shared by every handler.
pub struct App {
    /// The store.
    pub store: Store,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The name behind the colon of every user id here.
    pub server_name: OwnedServerName,
    /// What the configuration says and SIGHUP may change. Load it once a request, so that a request sees one state.
    pub settings: ArcSwap<Settings>,
    /// The token buckets of all rate limits.
    pub limiters: Limiters,
    /// The operations on rooms.
    pub rooms: Rooms,
    /// Events that are sent later.
    pub delayed: Arc<DelayedEvents>,
    /// Who is typing.
    pub typing: Arc<lamchat_rooms::typing::Typing>,
    /// Answers `/sync`.
    pub syncer: Arc<lamchat_sync::Syncer>,
    /// Hashes and compares passwords.
    pub passwords: Passwords,
    /// The sessions of user-interactive authentication.
    pub uia: UiaSessions,
    /// What lets another client of somebody in who is logged in.
    pub login_tokens: LoginTokens,
    /// Answers queries for keys.
    pub key_queries: lamchat_keys::QueryCache,
    /// Who is there.
    pub presence: Arc<Presences>,
    /// Files and thumbnails.
    pub media: Media,
    /// Whether the keys open on this machine only, by its TPM.
    pub hardware_sealed: Arc<AtomicBool>,
    /// What other servers are told of this one's signing keys.
    pub server_keys: Arc<dyn crate::server_keys::ServerKeys>,
    /// Searches that run at the same time; each reads some thousand events. See [`SEARCHES_MAX`].
    pub searches: Arc<Semaphore>,
}

/// Most searches that run at the same time; others wait their turn.
pub const SEARCHES_MAX: usize = 2;

impl App {
    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }
}

/// Who may make an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegistrationMode {
    /// Nobody over this API.
    Closed,
    /// Who has a registration token.
    Token,
    /// Everybody.
    Open,
}

/// The reloadable settings. The configuration crate fills them from the file.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who may make an account.
    pub registration_mode: RegistrationMode,
    /// Whether guests may have accounts. They are refused everywhere as long as this is off.
    pub guests: bool,
    /// A guest of whom nothing was seen for so many days loses the account; 0: never.
    pub guest_days: u64,
    /// Rate limits.
    pub rates: RateSettings,
    /// Largest upload in bytes.
    pub upload_bytes_max: u64,
    /// Where clients reach this server from outside, with scheme and a slash at the end.
    pub public_baseurl: Option<String>,
    /// The version of new rooms.
    pub default_room_version: RoomVersionId,
    /// Whether the room directory answers without an access token.
    pub public_list_without_auth: bool,
    /// Whether users are told who is there.
    pub presence: bool,
    /// Whether the configuration wants other servers to find this one.
    pub federation: bool,
    /// Whether there is a room in which the server tells its administrators.
    pub admins_room: bool,
    /// Whom users turn to.
    pub support: Support,
}

/// Whom users turn to, as `/.well-known/matrix/support` tells it.
#[derive(Debug, Clone, Default)]
pub struct Support {
    /// The administrator's user id.
    pub matrix_id: Option<OwnedUserId>,
    /// The administrator's email address.
    pub email_address: Option<String>,
    /// A page with help.
    pub page: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            registration_mode: RegistrationMode::Token,
            guests: false,
            guest_days: 30,
            rates: RateSettings::default(),
            upload_bytes_max: 100 << 20,
            public_baseurl: None,
            default_room_version: RoomVersionId::V12,
            public_list_without_auth: false,
            presence: true,
            federation: true,
            admins_room: true,
            support: Support::default(),
        }
    }
}
