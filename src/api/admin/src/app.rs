//! What the handlers of this crate are given, wired once in `serve.rs`.

use crate::anchoring::Anchoring;
use crate::attestation::Attestation;
use crate::certificate::Certificates;
use crate::distance::Distance;
use crate::hardware::{Latest, Told};
use crate::nonce::Nonces;
use crate::signing_key::SigningKeys;
use crate::standing::Standing;
use arc_swap::ArcSwapOption;
use lamchat_accounts::device::RemovedDevice;
use lamchat_audit::AuditLog;
use lamchat_base::{Clock, Entropy, SecretBytes, UserNum};
use lamchat_connections::FederationGate;
use lamchat_holder::Client;
use lamchat_http::{BoxFuture, Metrics};
use lamchat_identity::Passwords;
use lamchat_media::Media;
use lamchat_seal::{DataKeys, SlotKind};
use lamchat_store::{ReadError, Store, WriteTxn};
use ruma::{OwnedServerName, OwnedUserId};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use tokio::sync::Notify;

/// What other parts of the exchange do when an administrator changes an account.
pub trait Exchange: Send + Sync + 'static {
    /// Inside the write that removed devices: removes what is kept elsewhere for them (keys, waiting messages, pushers)
    /// and wakes everybody who saw them.
    fn forget_devices(&self, txn: &mut WriteTxn<'_>, user: UserNum, removed: &[RemovedDevice])
    -> Result<(), ReadError>;
    /// How many registrations on their way have shown this registration token.
    fn pending_registrations(&self, token: &str) -> u32;
    /// Makes a user leave every room and turn down every invitation; the error is for the log.
    fn leave_rooms(&self, user: UserNum, user_id: OwnedUserId) -> BoxFuture<Result<(), String>>;
}

/// The exchange as an administrator sees it. Made once.
pub struct Admin {
    /// The store.
    pub store: Store,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// The name behind the colon of every user id here.
    pub server_name: OwnedServerName,
    /// Version and commit of the program, for `health`.
    pub version: String,
    /// Hashes passwords.
    pub passwords: Passwords,
    /// The data keys.
    pub keys: Arc<DataKeys>,
    /// Whoever has the keyring and the TPM.
    pub holder: Arc<Client>,
    /// What opened the keys at this start.
    pub unlocked_by: SlotKind,
    /// Whether other servers are let in.
    pub federation: Arc<FederationGate>,
    /// Files of users, for backups.
    pub media: Media,
    /// Evidence for auditors.
    pub attestation: Attestation,
    /// The log of administrative acts.
    pub audit: Arc<AuditLog>,
    /// How its anchor is.
    pub anchoring: Arc<Anchoring>,
    /// The rest of the exchange.
    pub exchange: Arc<dyn Exchange>,
    /// The server's signing key, and those of before.
    pub signing_keys: Arc<dyn SigningKeys>,
    /// `registration.shared_secret`; `None` switches that route off. Reloadable.
    pub shared_secret: ArcSwapOption<SecretBytes>,
    /// How the hardware is; empty until it was read.
    pub hardware: Latest,
    /// What process 1 of a box told of the hardware that only root may ask.
    pub told: ArcSwapOption<Told>,
    /// It has told something.
    pub told_news: Notify,
    /// What `/metrics` shows; set once the router that counts is there.
    pub metrics: OnceLock<Arc<Metrics>>,
    /// Nonces of registration by shared secret.
    pub nonces: Nonces,
    /// The same commands from a distance.
    pub distance: Distance,
    /// The certificates of the listeners.
    pub certificates: Arc<dyn Certificates>,
    /// After how many days without a backup that is told; 0: never.
    pub backup_days: u32,
    /// How the release that runs came here.
    pub standing: Standing,
    /// The socket of the box's updater; `None`: this is no box with images.
    pub updates: Option<PathBuf>,
    /// An update that was found and waits.
    pub offer: crate::update::Offered,
    /// The socket of the box's process 1; `None`: this is no box.
    pub box_socket: Option<PathBuf>,
}

impl Admin {
    /// Milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }
}
