//! Looks for updates of a box where its operator said, and hands what is found to the updater, which checks all of it.
//! Ends with the runtime.

use super::wiring::Parts;
use lamchat_api_admin::update::{self, Offer};
use lamchat_appliance::pull::{Look, PullError, Puller, Source};
use lamchat_config::Config;
use lamchat_http::client::Trust;
use lamchat_release::Version;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// After the start, which has other things to do.
const FIRST: Duration = Duration::from_secs(30);
/// How often it is looked whether it is time, or the configuration is another.
const TICK: Duration = Duration::from_secs(5);
/// After a look that failed.
const AGAIN: Duration = Duration::from_secs(30 * 60);

/// What the configuration says of it; it may change while the server runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    url: String,
    updates: lamchat_config::Updates,
    authorities: Vec<std::path::PathBuf>,
    may_be_private: bool,
}

/// `None`: nobody is asked.
pub fn wanted(config: &Config) -> Option<Wanted> {
    config.admin.updates.as_ref()?;
    Some(Wanted {
        url: config.updates.url.clone()?,
        updates: config.updates.clone(),
        authorities: config.outbound.extra_ca_certificates.clone(),
        may_be_private: !config.outbound.deny_private_addresses,
    })
}

/// Looks, again and again.
pub async fn look_forever(parts: Arc<Parts>) {
    let mut looked = parts.pull.load_full();
    let mut due = Instant::now() + FIRST.min(first(&parts));
    // Why the file that lies there is not taken; it is judged once.
    let mut verdict = None;
    offer_what_is_staged(&parts).await;
    loop {
        sleep(TICK.min(first(&parts))).await;
        let Some(wanted) = parts.pull.load_full() else {
            looked = None;
            continue;
        };
        if Instant::now() < due && looked.as_ref() == Some(&wanted) {
            continue;
        }
        looked = Some(Arc::clone(&wanted));
        let mut wait = wanted.updates.interval;
        match look(&parts, &wanted).await {
            Ok(Found::Same) => parts.admin.offer.problem(verdict.clone()),
            Ok(Found::Judged(refused)) => {
                if let Some(reason) = &refused {
                    tracing::warn!(reason, "an update was found and cannot be installed");
                }
                verdict.clone_from(&refused);
                parts.admin.offer.problem(refused);
            }
            Err(reason) => {
                tracing::warn!(reason, "no update could be looked for");
                parts.admin.offer.problem(Some(reason));
                wait = wait.min(AGAIN);
            }
        }
        due = Instant::now() + wait;
    }
}

/// What a look came to.
enum Found {
    /// Nothing that was not known.
    Same,
    /// Another file; why it is refused, if it is.
    Judged(Option<String>),
}

/// A short interval is one of a test's.
fn first(parts: &Parts) -> Duration {
    parts
        .pull
        .load()
        .as_ref()
        .map_or(FIRST, |wanted| wanted.updates.interval)
}

/// What an earlier run staged can still be installed.
async fn offer_what_is_staged(parts: &Arc<Parts>) {
    match update::staged(&parts.admin).await {
        Ok(Some(offer)) => parts.admin.offer.set(Some(offer)),
        Ok(None) => {}
        Err(error) => tracing::debug!(%error, "what is staged is not known"),
    }
}

async fn look(parts: &Arc<Parts>, wanted: &Wanted) -> Result<Found, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let running = update::running(&parts.admin).await.map_err(|error| text(&error))?;
    let running = Version::try_from(running).map_err(|error| text(&error))?;
    let source = source(wanted)?;
    let folder = parts.pull_folder.clone();
    let (puller, found) = tokio::task::spawn_blocking(move || {
        let puller = Puller::new(&folder)?;
        let found = puller.look(&source, running)?;
        Ok::<(Puller, Look), PullError>((puller, found))
    })
    .await
    .map_err(|error| text(&error))?
    .map_err(|error| text(&error))?;
    let found = match found {
        Look::Same => {
            // It may have had to wait until the release that runs was marked good.
            if let Some(offer) = parts.admin.offer.current().filter(|_| wanted.updates.automatic) {
                install(parts, &offer).await?;
            }
            return Ok(Found::Same);
        }
        Look::NotNewer => return Ok(Found::Judged(None)),
        Look::Newer(found) => found,
    };
    tracing::info!(version = %found.version, "an update was found; it is checked now");
    let staged = update::stage_file(&parts.admin, &found.path, &wanted.url).await;
    // An updater that is busy or away says nothing about the file.
    if staged.as_ref().err().is_none_or(update::OfferError::is_verdict) {
        puller.judged(&wanted.url, &found).map_err(|error| text(&error))?;
    }
    let offer = match staged {
        Ok(offer) => offer,
        Err(error) if error.is_verdict() => {
            return Ok(Found::Judged(Some(format!("release {}: {error}", found.version))));
        }
        Err(error) => return Err(text(&error)),
    };
    parts.admin.offer.set(Some(offer.clone()));
    if wanted.updates.automatic {
        install(parts, &offer).await?;
    }
    Ok(Found::Judged(None))
}

async fn install(parts: &Arc<Parts>, offer: &Offer) -> Result<(), String> {
    tracing::info!(
        version = offer.version,
        "the update is installed without an operator's word, as configured"
    );
    let applied = update::install(&parts.admin, &offer.id).await;
    applied.map_err(|error| format!("{}: {error}", offer.version))
}

fn source(wanted: &Wanted) -> Result<Source, String> {
    let updates = &wanted.updates;
    let trust = match &updates.pin {
        Some(pin) => Trust::Pins(vec![
            pin.parse()
                .map_err(|error: lamchat_http::client::DialError| error.to_string())?,
        ]),
        None => {
            let mut authorities = updates.authorities.clone().unwrap_or_default().into_bytes();
            for file in &wanted.authorities {
                let read = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
                authorities.push(b'\n');
                authorities.extend(read);
            }
            Trust::Authority(authorities)
        }
    };
    Ok(Source {
        url: wanted
            .url
            .parse()
            .map_err(|_| format!("{:?} is no address", wanted.url))?,
        at: updates.address,
        trust,
        may_be_private: wanted.may_be_private,
    })
}
