//! What has to happen from time to time while the server runs. Ends with the runtime.

use super::wiring::Parts;
use lamchat_config::Config;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};

/// Typing notices end within this time after their timeout.
const TYPING: Duration = Duration::from_secs(1);
/// Leftovers of uploads that a crash cut off are removed at start, and media ids that were never used this often.
const SWEEP: Duration = Duration::from_secs(6 * 3600);
/// Old transaction ids are removed at start and this often.
const TRANSACTIONS: Duration = Duration::from_secs(6 * 3600);
/// Guests who did not come back are looked for at start and this often.
const GUESTS: Duration = Duration::from_secs(6 * 3600);

/// Starts all of it.
pub fn start(parts: &Arc<Parts>, config: &Config) {
    tokio::spawn(expire_typing(Arc::clone(parts)));
    tokio::spawn(sweep_media(Arc::clone(parts)));
    tokio::spawn(super::audit::sign_forever(Arc::clone(parts)));
    tokio::spawn(super::anchor::anchor_forever(Arc::clone(parts)));
    tokio::spawn(sweep_transactions(Arc::clone(parts)));
    tokio::spawn(send_delayed(Arc::clone(parts)));
    tokio::spawn(expire_guests(Arc::clone(parts)));
    tokio::spawn(super::federation::follow_forever(Arc::clone(parts)));
    tokio::spawn(super::pull::look_forever(Arc::clone(parts)));
    tokio::spawn(super::hardware::survey_forever(
        Arc::clone(parts),
        config.notices.hardware.clone(),
    ));
    tokio::spawn(super::notices::tell_forever(
        Arc::clone(parts),
        config.notices.admins_room,
    ));
}

async fn expire_typing(parts: Arc<Parts>) {
    let mut ticks = interval(TYPING);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        parts.app.typing.expire(&parts.store, parts.clock.now_ms());
    }
}

async fn expire_guests(parts: Arc<Parts>) {
    let mut ticks = interval(GUESTS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match lamchat_api_client::guest_expiry::expire(&parts.app, parts.clock.now_ms()).await {
            Ok(0) => {}
            Ok(expired) => tracing::info!(expired, "accounts of guests who did not come back were closed"),
            Err(error) => {
                tracing::warn!(%error.message, "accounts of guests could not be closed; it is tried again later")
            }
        }
    }
}

async fn send_delayed(parts: Arc<Parts>) {
    parts.app.delayed.send_forever().await;
}

async fn sweep_media(parts: Arc<Parts>) {
    let mut ticks = interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let media = parts.app.media.clone();
        match tokio::task::spawn_blocking(move || media.sweep()).await {
            Ok(Ok(swept)) if swept.contents_missing > 0 => {
                tracing::error!(?swept, "files of users are missing on disk: restore them from a backup");
            }
            Ok(Ok(swept)) => tracing::debug!(?swept, "media was swept"),
            Ok(Err(error)) => tracing::warn!(%error, "media could not be swept; it is tried again later"),
            // The runtime ends.
            Err(_) => return,
        }
    }
}

async fn sweep_transactions(parts: Arc<Parts>) {
    let mut ticks = interval(TRANSACTIONS);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let rooms = parts.app.rooms.clone();
        match tokio::task::spawn_blocking(move || rooms.sweep_transactions()).await {
            Ok(Ok(swept)) => tracing::debug!(swept, "old transaction ids were removed"),
            Ok(Err(error)) => tracing::warn!(%error, "transaction ids could not be removed; it is tried again later"),
            // The runtime ends.
            Err(_) => return,
        }
    }
}
